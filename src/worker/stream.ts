import type { ClientDuplexStream, StatusObject } from "@grpc/grpc-js";
import {
  type Lease,
  WorkerService,
  type WorkRequest,
  type WorkResponse,
} from "../../gen/drover/v1/task_pb.js";
import type { Channel } from "../transport/channel.js";
import { methodCodec } from "../transport/methods.js";
import { opaque, type WireTask } from "../transport/opaque.js";
import { type Refusal, refusalOfStatus } from "../transport/status.js";

export type WireLease = Omit<Lease, "task"> & { task?: WireTask };
export type WorkAnswer = Omit<WorkResponse, "leases"> & { leases: WireLease[] };

export interface WorkStreamEvents {
  onFrame(frame: WorkAnswer): void;
  /** The peer reads again after a write that answered false. */
  onWritable(): void;
  /** Once, when nothing more will come. Undefined: it ended in order. */
  onClose(refusal: Refusal | undefined): void;
}

/** One Work stream on a connection of its own. */
export interface WorkStream {
  readonly address: string;
  readonly generation: number;
  /** False while the peer does not read: write nothing more until onWritable. */
  readonly writable: boolean;
  readonly closed: boolean;
  write(frame: WorkRequest): void;
  /** Half-closes; acks still come in. */
  end(): void;
  /** Ends it and its connection now. */
  cancel(): void;
}

const work = WorkerService.method.work;
const codec = methodCodec(work, opaque(work.output));

/** The channel must be connected, and belongs to the stream from now on. */
export function openWorkStream(
  channel: Channel,
  generation: number,
  events: WorkStreamEvents,
): WorkStream {
  const call: ClientDuplexStream<WorkRequest, WorkResponse> = channel.client.makeBidiStreamRequest(
    codec.path,
    codec.serialize,
    codec.deserialize,
    channel.metadata(),
  );
  let writable = true;
  let closed = false;

  const close = (status: Partial<StatusObject>): void => {
    if (closed) return;
    closed = true;
    channel.close();
    events.onClose(status.code === 0 ? undefined : refusalOfStatus(status));
  };

  call.on("data", (frame: unknown) => {
    if (!closed) events.onFrame(frame as WorkAnswer);
  });
  call.on("drain", () => {
    writable = true;
    if (!closed) events.onWritable();
  });
  // Every error comes as a status too; without a listener it would end the process.
  call.on("error", () => undefined);
  call.on("status", close);

  return {
    address: channel.address,
    generation,
    get writable() {
      return writable && !closed;
    },
    get closed() {
      return closed;
    },
    write(frame) {
      if (!closed) writable = call.write(frame);
    },
    end: () => void call.end(),
    cancel() {
      call.cancel();
      channel.close();
    },
  };
}
