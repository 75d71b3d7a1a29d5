import type { EventEmitter } from "node:events";

/** Before each message of a gRPC stream: a byte of flags, and its length in four. */
const prefixBytes = 5;
const plain = 0;

/** A message as it stands in a stream. */
export function framed(message: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(prefixBytes + message.length);
  out[0] = plain;
  out.writeUInt32BE(message.length, 1);
  out.set(message, prefixBytes);
  return out;
}

/** Cuts what arrives on a gRPC stream into its messages, wherever HTTP/2 has cut it before. */
export class MessageCutter {
  readonly #most: number;
  readonly #marks: "heeded" | "ignored";
  /** Of a message that has begun and is not here yet. */
  #parts: Buffer[] = [];
  #bytes = 0;
  /** With its prefix; 0: that is not here yet. */
  #whole = 0;

  /** `most`: bytes of a message. `marks`: of compression; they mean nothing if no way is agreed. */
  constructor(most: number, marks: "heeded" | "ignored") {
    this.#most = most;
    this.#marks = marks;
  }

  /**
   * Calls `each` with every message that is here, as a copy: one that is kept would keep all that
   * was read from the socket with it. Returns what comes from the first message on that is marked
   * as compressed, or longer than any may be; nothing can be cut after that.
   */
  take(chunk: Buffer, each: (message: Buffer) => void): Buffer | undefined {
    const rest = this.#bytes === 0 ? chunk : this.#complete(chunk, each);
    return rest && this.#cut(rest, each);
  }

  /** Undefined: all of the chunk belongs to the message that has begun. */
  #complete(chunk: Buffer, each: (message: Buffer) => void): Buffer | undefined {
    if (this.#whole === 0) {
      const all = Buffer.concat([...this.#parts, chunk]);
      this.#clear();
      return all;
    }
    const missing = this.#whole - this.#bytes;
    if (chunk.length < missing) {
      this.#parts.push(chunk);
      this.#bytes += chunk.length;
      return undefined;
    }
    this.#parts.push(chunk);
    const message = Buffer.concat(this.#parts, this.#whole).subarray(prefixBytes);
    this.#clear();
    each(message);
    return chunk.subarray(missing);
  }

  #cut(chunk: Buffer, each: (message: Buffer) => void): Buffer | undefined {
    let at = 0;
    while (chunk.length - at >= prefixBytes) {
      const length = chunk.readUInt32BE(at + 1);
      if (length > this.#most || this.#isCompressed(chunk, at)) return chunk.subarray(at);
      const end = at + prefixBytes + length;
      if (end > chunk.length) {
        this.#whole = end - at;
        break;
      }
      each(Buffer.from(chunk.subarray(at + prefixBytes, end)));
      at = end;
    }
    if (at < chunk.length) {
      this.#parts.push(chunk.subarray(at));
      this.#bytes = chunk.length - at;
    }
    return undefined;
  }

  #isCompressed(chunk: Buffer, at: number): boolean {
    return this.#marks === "heeded" && chunk[at] !== plain;
  }

  #clear(): void {
    this.#parts = [];
    this.#bytes = 0;
    this.#whole = 0;
  }
}

type OnData = (chunk: Buffer) => void;

/**
 * Takes the place of the only one who reads a stream: calls `each` with its messages, until one
 * comes that the cutter leaves alone, which the reader before gets, and all behind it. False: there
 * is not just one, and nothing has changed.
 */
export function readInstead(
  stream: EventEmitter,
  cutter: MessageCutter,
  each: (message: Buffer) => void,
): boolean {
  const listeners = stream.listeners("data") as OnData[];
  const [theirs] = listeners;
  if (listeners.length !== 1 || !theirs) return false;
  const readDirectly: OnData = (chunk) => {
    const odd = cutter.take(chunk, each);
    if (!odd) return;
    stream.removeListener("data", readDirectly);
    stream.on("data", theirs);
    theirs(odd);
  };
  stream.removeListener("data", theirs);
  stream.on("data", readDirectly);
  return true;
}
