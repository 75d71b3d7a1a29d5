import type { ConnectError } from "@connectrpc/connect";
import type { Lease } from "../broker/broker.js";
import type { CoordinatorFrame, SessionPort } from "../coordinator/frames.js";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { toConnectError } from "./interceptors/errors.js";
import { Mailbox } from "./mailbox.js";

/** Leaves room for what `sizeOf` rounds. */
const frameBytes = limits.frameBytes - 16 * 1024;

export interface StreamPortOptions {
  /** Breaks the stream off, even if its writer waits for a peer that does not read. */
  abort(reason: ConnectError): void;
  /** The peer reads again after `writable` was false. */
  onWritable(): void;
}

/**
 * How a session speaks to its stream. What is sent in one tick, or while the peer does not read, is
 * merged into as few frames of at most 1 MiB as it takes (so 64 of them are never reached before
 * the bytes are).
 */
export class StreamPort implements SessionPort {
  readonly #options: StreamPortOptions;
  readonly #unsent = new Mailbox<CoordinatorFrame>();
  #held = false;
  #heldBytes = 0;

  constructor(options: StreamPortOptions) {
    this.#options = options;
  }

  get writable(): boolean {
    return !this.#held && !this.#unsent.closed;
  }

  get closed(): boolean {
    return this.#unsent.closed;
  }

  send(frame: CoordinatorFrame): void {
    if (this.#unsent.closed) return;
    for (const part of splitLeases(frame)) this.#unsent.put(part);
    if (!this.#held) return;
    this.#heldBytes += sizeOf(frame);
    if (this.#heldBytes > limits.outboundBytes) this.#breakOff();
  }

  close(error?: DroverError): void {
    this.fail(error && toConnectError(error));
  }

  /** As `close`, with any error: of the reading side, say. */
  fail(error: unknown): void {
    this.#unsent.close(error);
  }

  #breakOff(): void {
    const message = `over ${limits.outboundBytes} bytes wait for a worker that does not read`;
    const error = toConnectError(new DroverError("slow_consumer", message));
    this.#unsent.close(error);
    this.#options.abort(error);
  }

  /** The frames to write, one at a time. Ends, or throws, as the port was closed. */
  async *frames(signal: AbortSignal): AsyncGenerator<CoordinatorFrame> {
    for (;;) {
      const parts = await this.#unsent.take(signal);
      if (!parts) return;
      // The rest of the tick rides along.
      await tick();
      if (this.#unsent.size > 0) parts.push(...(await this.#unsent.take(signal))!);
      for (const frame of merge(parts)) {
        const released = this.#watch();
        yield frame;
        released();
      }
    }
  }

  /** A frame that is not taken within its tick is held back by the peer. */
  #watch(): () => void {
    let waiting = true;
    setImmediate(() => {
      if (!waiting) return;
      this.#held = true;
      this.#heldBytes = 0;
    });
    return () => {
      waiting = false;
      if (!this.#held) return;
      this.#held = false;
      this.#options.onWritable();
    };
  }
}

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export function* merge(parts: readonly CoordinatorFrame[]): Generator<CoordinatorFrame> {
  let frame: Merged = {};
  let bytes = 0;
  for (const part of parts) {
    const size = sizeOf(part);
    if (bytes > 0 && (bytes + size > frameBytes || collides(frame, part))) {
      yield frame;
      frame = {};
      bytes = 0;
    }
    frame = join(frame, part);
    bytes += size;
  }
  if (bytes > 0) yield frame;
}

type Merged = CoordinatorFrame;

/** Single parts cannot ride twice in a frame. */
const collides = (a: CoordinatorFrame, b: CoordinatorFrame): boolean =>
  (a.welcome !== undefined && b.welcome !== undefined) ||
  (a.heartbeatAck !== undefined && b.heartbeatAck !== undefined) ||
  (a.goAway !== undefined && b.goAway !== undefined);

function join(a: CoordinatorFrame, b: CoordinatorFrame): Merged {
  return {
    ...a,
    ...b,
    ...(a.leases && b.leases && { leases: [...a.leases, ...b.leases] }),
    ...(a.acks && b.acks && { acks: [...a.acks, ...b.acks] }),
    ...(a.commands && b.commands && { commands: [...a.commands, ...b.commands] }),
  };
}

export function splitLeases(frame: CoordinatorFrame): CoordinatorFrame[] {
  if (!frame.leases || sizeOf(frame) <= frameBytes) return [frame];
  const { leases, ...rest } = frame;
  const parts: CoordinatorFrame[] = Object.keys(rest).length > 0 ? [rest] : [];
  let chunk: Lease[] = [];
  let bytes = 0;
  for (const lease of leases) {
    const size = leaseSize(lease);
    if (bytes + size > frameBytes && chunk.length > 0) {
      parts.push({ leases: chunk });
      chunk = [];
      bytes = 0;
    }
    chunk.push(lease);
    bytes += size;
  }
  parts.push({ leases: chunk });
  return parts;
}

/** Upper bounds of encoded sizes: cheap, and never below the truth. */
export function sizeOf(frame: CoordinatorFrame): number {
  let size = 64;
  if (frame.welcome) size += 512 + 48 * frame.welcome.revokedTokens.length;
  for (const lease of frame.leases ?? []) size += leaseSize(lease);
  for (const ack of frame.acks ?? []) size += 64 + 3 * ack.message.length;
  for (const command of frame.commands ?? []) {
    size += 80 + (command.kind === "revoke" ? 3 * command.reason.length : 0);
  }
  if (frame.heartbeatAck) size += 64 + 48 * frame.heartbeatAck.unknownTokens.length;
  return size;
}

function leaseSize({ task, traceContext = task.traceContext }: Lease): number {
  let texts = task.type.length + task.queue.length + task.groupKey.length;
  texts += task.idempotencyKey.length;
  for (const tag of task.tags) texts += tag.length + 4;
  for (const [name, value] of Object.entries(traceContext)) {
    texts += name.length + value.length + 8;
  }
  const { error, payload } = task;
  if (error) texts += error.code.length + error.message.length + (error.stack?.length ?? 0);
  return 512 + 3 * texts + (payload ? payload.data.length + 3 * payload.contentType.length : 0);
}
