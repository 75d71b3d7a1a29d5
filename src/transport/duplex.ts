import type { StatusObject } from "@grpc/grpc-js";
import type { Channel } from "./channel.js";
import type { MethodCodec } from "./methods.js";
import { type Refusal, refusalOfStatus } from "./status.js";

export interface DuplexEvents<Answer> {
  readonly onAnswer: (answer: Answer) => void;
  /** The peer reads again after it stopped to. */
  readonly onWritable: () => void;
  /** Once, when nothing more will come. Undefined: it ended in order. */
  readonly onClose: (refusal: Refusal | undefined) => void;
}

/** One bidirectional call. */
export interface Duplex<Request> {
  /** False while the peer does not read: write nothing more until onWritable. */
  readonly writable: boolean;
  readonly closed: boolean;
  write(request: Request): void;
  /** Half-closes; answers still come in. */
  end(): void;
  cancel(): void;
}

/** The channel should be connected. Answers are of the codec's output. */
export function openDuplex<Request, Answer>(
  channel: Channel,
  codec: MethodCodec<Request, Answer>,
  events: DuplexEvents<Answer>,
): Duplex<Request> {
  const call = channel.client.makeBidiStreamRequest(
    codec.path,
    codec.serialize,
    codec.deserialize,
    channel.metadata(),
  );
  let writable = true;
  let closed = false;
  let ended = false;
  call.on("data", (answer: Answer) => {
    if (!closed) events.onAnswer(answer);
  });
  call.on("drain", () => {
    writable = true;
    if (!closed) events.onWritable();
  });
  // Every error comes as a status too; without a listener it would end the process.
  call.on("error", () => undefined);
  call.on("status", (status: StatusObject) => {
    if (closed) return;
    closed = true;
    events.onClose(status.code === 0 ? undefined : refusalOfStatus(status));
  });
  return {
    get writable() {
      return writable && !closed && !ended;
    },
    get closed() {
      return closed;
    },
    write(request) {
      if (!closed && !ended) writable = call.write(request);
    },
    end() {
      if (ended) return;
      ended = true;
      call.end();
    },
    cancel: () => call.cancel(),
  };
}
