/*
 * Short texts into and out of bytes. Most texts on a task's way are names of ASCII, and the same
 * few again and again; a call out of JavaScript costs more than their letters.
 */

/**
 * `text.charCodeAt(index)`. A loop that meets texts of many kinds (literals, slices, ropes, what
 * was parsed) would look the method up anew for each letter, a call of some 15 ns; here it is
 * known.
 */
export const codeAt: (text: string, index: number) => number = Function.prototype.call.bind(
  // oxlint-disable-next-line typescript/unbound-method
  String.prototype.charCodeAt,
);

/** A longer text costs more by the letter than in one call out of JavaScript. A UUID is none. */
export const shortMax = 36;

/** Writes UTF-8 at `at`, where three bytes a letter must fit; returns how many it took. */
export function writeText(target: Buffer, text: string, at: number): number {
  const { length } = text;
  if (length > shortMax) return target.write(text, at, "utf8");
  for (let index = 0; index < length; index += 1) {
    const code = codeAt(text, index);
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

/** What `bytesKey` has made a key of. */
export const bytesOfKey = (key: string): Buffer => Buffer.from(key, "latin1");

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

/** Whether exactly those bytes stand there; of few bytes cheaper than a call out of JavaScript. */
export function isAt(known: Uint8Array, bytes: Uint8Array, from: number, length: number): boolean {
  if (known.length !== length) return false;
  for (let index = 0; index < length; index += 1) {
    if (known[index] !== bytes[from + index]) return false;
  }
  return true;
}
