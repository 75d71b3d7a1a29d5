import { WorkerService } from "../../gen/drover/v1/task_pb.js";
import type { Channel } from "../transport/channel.js";
import { type Duplex, openDuplex } from "../transport/duplex.js";
import { handCodec } from "../transport/methods.js";
import type { Refusal } from "../transport/status.js";
import { type OutgoingFrame, readAnswer, type WorkAnswer, writeRequest } from "./hot-frames.js";

export interface WorkStreamEvents {
  readonly onFrame: (frame: WorkAnswer) => void;
  readonly onWritable: () => void;
  readonly onClose: (refusal: Refusal | undefined) => void;
}

/** One Work stream on a connection of its own. */
export interface WorkStream extends Duplex<OutgoingFrame> {
  readonly address: string;
  readonly generation: number;
}

const codec = handCodec(WorkerService.method.work, writeRequest, readAnswer);

/** The channel belongs to the stream from now on, and is closed with it. */
export function openWorkStream(
  channel: Channel,
  generation: number,
  events: WorkStreamEvents,
): WorkStream {
  const duplex = openDuplex(channel, codec, {
    onAnswer: events.onFrame,
    onWritable: events.onWritable,
    onClose(refusal) {
      channel.close();
      events.onClose(refusal);
    },
  });
  return {
    address: channel.address,
    generation,
    get writable() {
      return duplex.writable;
    },
    get closed() {
      return duplex.closed;
    },
    write: (frame) => duplex.write(frame),
    end: () => duplex.end(),
    cancel: () => duplex.cancel(),
  };
}
