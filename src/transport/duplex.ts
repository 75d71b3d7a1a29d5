import type { ClientDuplexStream, StatusObject } from "@grpc/grpc-js";
import { Code } from "../errors.js";
import { limits } from "../limits.js";
import type { Channel } from "./channel.js";
import { type Direct, takeOver } from "./direct.js";
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
export const openDuplex = <Request, Answer>(
  channel: Channel,
  codec: MethodCodec<Request, Answer>,
  events: DuplexEvents<Answer>,
): Duplex<Request> => new GrpcDuplex(channel, codec, events);

/** A call of grpc-js; past the first answers its messages go without its layers. */
class GrpcDuplex<Request, Answer> implements Duplex<Request> {
  readonly #call: ClientDuplexStream<Request, Answer>;
  readonly #codec: MethodCodec<Request, Answer>;
  readonly #events: DuplexEvents<Answer>;
  #direct: Direct | undefined;
  #trying = false;
  #writable = true;
  #closed = false;
  #ended = false;

  constructor(channel: Channel, codec: MethodCodec<Request, Answer>, events: DuplexEvents<Answer>) {
    const { path, serialize, deserialize } = codec;
    const metadata = channel.metadata();
    this.#codec = codec;
    this.#events = events;
    this.#call = channel.client.makeBidiStreamRequest(path, serialize, deserialize, metadata);
    this.#call.on("data", (answer: Answer) => this.#answered(answer));
    this.#call.on("drain", () => this.#drained());
    // Every error comes as a status too; without a listener it would end the process.
    this.#call.on("error", () => undefined);
    this.#call.on("status", (status: StatusObject) => {
      if (this.#closed) return;
      this.#closed = true;
      events.onClose(status.code === 0 ? undefined : refusalOfStatus(status));
    });
  }

  get writable(): boolean {
    return this.#writable && !this.#closed && !this.#ended;
  }

  get closed(): boolean {
    return this.#closed;
  }

  write(request: Request): void {
    if (this.#closed || this.#ended) return;
    if (this.#direct) this.#writeDirect(this.#direct, request);
    else this.#writable = this.#call.write(request);
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#call.end();
  }

  cancel(): void {
    this.#call.cancel();
  }

  #answered(answer: Answer): void {
    if (this.#closed) return;
    this.#events.onAnswer(answer);
    if (this.#direct || this.#trying) return;
    this.#trying = true;
    // By then it waits for the next one.
    setImmediate(() => this.#tryDirect());
  }

  #drained(): void {
    this.#writable = true;
    if (!this.#closed) this.#events.onWritable();
  }

  #tryDirect(): void {
    this.#trying = false;
    if (this.#closed || this.#ended) return;
    this.#direct = takeOver(this.#call, {
      onMessage: (bytes) => this.#read(bytes),
      onWritable: () => this.#drained(),
    });
  }

  #read(bytes: Buffer): void {
    if (this.#closed) return;
    let answer: Answer;
    try {
      answer = this.#codec.deserialize(bytes);
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      this.#direct?.cancel(Code.internal, `Response message parsing error: ${text}`);
      return;
    }
    this.#events.onAnswer(answer);
  }

  #writeDirect(direct: Direct, request: Request): void {
    const bytes = this.#codec.serialize(request);
    const most = limits.messageBytes;
    if (bytes.length <= most) {
      this.#writable = direct.write(bytes);
      return;
    }
    const details = `Attempted to send message with a size larger than ${most}`;
    direct.cancel(Code.resourceExhausted, details);
  }
}
