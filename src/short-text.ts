/*
 * Short texts into and out of bytes. Most texts on a task's way are names of ASCII, and the same
 * few again and again; a call out of JavaScript costs more than their letters.
 */

/** Longer texts are left to Buffer. */
const shortMax = 48;

/** Writes UTF-8 at `at`, where three bytes a letter must fit; returns how many it took. */
export function writeText(target: Buffer, text: string, at: number): number {
  const { length } = text;
  if (length > shortMax) return target.write(text, at, "utf8");
  for (let index = 0; index < length; index += 1) {
    const code = text.charCodeAt(index);
    if (code > 0x7f) return target.write(text, at, "utf8");
    target[at + index] = code;
  }
  return length;
}

/** Bytes as a key of maps: one letter each. */
export function bytesKey(bytes: Uint8Array): string {
  const { buffer, byteOffset, byteLength } = bytes;
  const own = Buffer.isBuffer(bytes) ? bytes : Buffer.from(buffer, byteOffset, byteLength);
  return own.toString("latin1");
}

type Decode = (bytes: Buffer, from: number, to: number) => string;

interface Known {
  readonly bytes: Uint8Array;
  readonly text: string;
}

/** Longer texts are no names, and not remembered. */
const nameMax = 64;
/** A power of two. */
const places = 64;

/** Reads texts that come again and again, such as names: most then cost no new string. */
export class NameMemory {
  readonly #decode: Decode;
  readonly #known: (Known | undefined)[] = Array.from({ length: places }, () => undefined);

  /** What `decode` refuses by throwing is not remembered. */
  constructor(decode: Decode = (bytes, from, to) => bytes.toString("utf8", from, to)) {
    this.#decode = decode;
  }

  read(bytes: Buffer, from: number, to: number): string {
    const length = to - from;
    if (length === 0 || length > nameMax) return this.#decode(bytes, from, to);
    const place = (bytes[from]! * 31 + bytes[to - 1]! * 7 + length) & (places - 1);
    const known = this.#known[place];
    if (known !== undefined && isAt(known.bytes, bytes, from, length)) return known.text;
    const text = this.#decode(bytes, from, to);
    this.#known[place] = { bytes: Uint8Array.from(bytes.subarray(from, to)), text };
    return text;
  }
}

function isAt(known: Uint8Array, bytes: Buffer, from: number, length: number): boolean {
  if (known.length !== length) return false;
  for (let index = 0; index < length; index += 1) {
    if (known[index] !== bytes[from + index]) return false;
  }
  return true;
}
