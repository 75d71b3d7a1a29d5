import type { ConnectError } from "@connectrpc/connect";
import type { Clock, Timer } from "../clock.js";
import type { CoordinatorFrame, SessionPort } from "../coordinator/frames.js";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { FrameQueue, sizeOf } from "./frame-queue.js";
import { writeFrame } from "./hot/write-work.js";
import { toConnectError } from "./interceptors/errors.js";
import type { RawStream } from "./raw-stream.js";

export interface StreamPortOptions {
  readonly clock: Clock;
  readonly stream: RawStream;
  /** Breaks the stream off, even if what was written waits for a peer that does not read. */
  abort(reason: ConnectError): void;
  /** The peer reads again after `writable` was false. */
  onWritable(): void;
  /** All is written and the port was closed, with this error if any. Once. */
  onOver(error: unknown): void;
}

/**
 * Acks wait so long for other parts to ride with: under load the leases for the slots that these
 * results have freed. Nobody waits for them meanwhile: a worker's slots are free once it has said
 * its results.
 */
const companyMs = 20;

/**
 * How a session speaks to its stream. What is sent in one tick, or while the peer does not read, is
 * merged into as few frames of at most 1 MiB as it takes (so 64 of them are never reached before
 * the bytes are).
 */
export class StreamPort implements SessionPort {
  readonly #options: StreamPortOptions;
  readonly #unsent = new FrameQueue();
  /** Encoded, and not taken by the stream yet. */
  #encoded: Buffer[] = [];
  #scheduled = false;
  /** Acks alone wait for company. */
  #late: Timer | undefined;
  #held = false;
  #heldBytes = 0;
  #closed = false;
  #over = false;
  #error: unknown;

  constructor(options: StreamPortOptions) {
    this.#options = options;
  }

  get writable(): boolean {
    return !this.#held && !this.#closed;
  }

  get closed(): boolean {
    return this.#closed;
  }

  send(frame: CoordinatorFrame, atOnce = false): void {
    if (this.#closed) return;
    this.#unsent.add(frame);
    if (this.#held) {
      this.#heldBytes += sizeOf(frame);
      if (this.#heldBytes > limits.outboundBytes) this.#breakOff();
    } else if (atOnce) this.#flush();
    else if (!onlyAcks(frame)) this.#schedule();
    else this.#late ??= this.#options.clock.after(companyMs, () => this.#flush());
  }

  close(error?: DroverError): void {
    this.fail(error && toConnectError(error));
  }

  /** As `close`, with any error: of the reading side, say. */
  fail(error: unknown): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#error = error;
    this.#schedule();
  }

  /** The stream takes more. */
  drained(): void {
    this.#flush();
    if (!this.#held || !this.#options.stream.writable) return;
    this.#held = false;
    if (!this.#closed) this.#options.onWritable();
  }

  #breakOff(): void {
    const message = `over ${limits.outboundBytes} bytes wait for a worker that does not read`;
    const error = toConnectError(new DroverError("slow_consumer", message));
    this.fail(error);
    this.#options.abort(error);
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // After everything that was settled by what has just come in.
    process.nextTick(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    const { stream } = this.#options;
    this.#late?.cancel();
    this.#late = undefined;
    while (stream.writable) {
      const bytes = this.#encoded.shift();
      if (bytes) {
        stream.write(bytes);
        continue;
      }
      const frame = this.#unsent.take();
      if (!frame) return this.#endIfClosed();
      this.#encoded = writeFrame(frame);
    }
    this.#watch();
  }

  #endIfClosed(): void {
    if (!this.#closed || this.#over) return;
    this.#over = true;
    this.#options.onOver(this.#error);
  }

  /** What is not taken within its tick is held back by the peer. */
  #watch(): void {
    setImmediate(() => {
      if (this.#held || this.#options.stream.writable) return;
      this.#held = true;
      this.#heldBytes = 0;
    });
  }
}

const onlyAcks = (frame: CoordinatorFrame): boolean => {
  for (const part in frame) if (part !== "acks") return false;
  return true;
};
