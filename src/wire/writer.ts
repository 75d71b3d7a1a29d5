import { codeAt, shortMax } from "../short-text.js";

/**
 * Writes protobuf by hand into one growing buffer: exactly the bytes that protobuf-es writes, as
 * long as fields are given in the order of their numbers. One writer serves one thread and is used
 * over and over; `finish` copies what it wrote.
 */
export class Writer {
  #bytes: Buffer;
  #at = 0;

  constructor(size = 16 * 1024) {
    this.#bytes = Buffer.allocUnsafe(size);
  }

  get length(): number {
    return this.#at;
  }

  /** A copy of all that was written; the writer is empty then. */
  finish(): Buffer {
    const copy = this.#copy(this.#at);
    this.#at = 0;
    if (this.#bytes.length > keptBytes) this.#bytes = Buffer.allocUnsafe(keptBytes);
    return copy;
  }

  /** A copy of what was written before `from`; what came after is the writer's beginning then. */
  finishBefore(from: number): Buffer {
    const copy = this.#copy(from);
    this.#bytes.copyWithin(0, from, this.#at);
    this.#at -= from;
    return copy;
  }

  /** Without a view of what is copied, which would cost as much again. */
  #copy(length: number): Buffer {
    const copy = Buffer.allocUnsafe(length);
    this.#bytes.copy(copy, 0, 0, length);
    return copy;
  }

  /** Forgets what was written, after an error. */
  reset(): this {
    this.#at = 0;
    return this;
  }

  /**
   * Begins a message; give what it returns to `end`, and the same `guess`: how many bytes its
   * length will take. A wrong one costs a move of the message.
   */
  begin(field: number, guess = 1): number {
    this.#tag(field, 2);
    this.#room(guess);
    this.#at += guess;
    return this.#at;
  }

  end(from: number, guess = 1): void {
    const length = this.#at - from;
    const width = widthOf(length);
    if (width !== guess) {
      this.#room(width);
      this.#bytes.copyWithin(from + width - guess, from, this.#at);
    }
    this.#at = from - guess;
    this.#varint(length);
    this.#at += length;
  }

  /** Begins a message whose length is known: so many bytes have to follow. */
  lead(field: number, length: number): void {
    this.#tag(field, 2);
    this.#room(5);
    this.#varint(length);
  }

  /** A copy of what was written from there on. */
  since(from: number): Uint8Array {
    return Uint8Array.from(this.#bytes.subarray(from, this.#at));
  }

  /** A whole number up to 2^53 - 1 either way. */
  varint(field: number, value: number): void {
    this.#tag(field, 0);
    this.#room(10);
    if (value < 0) this.#negative(value);
    else this.#varint(value);
  }

  double(field: number, value: number): void {
    this.#tag(field, 1);
    this.#room(8);
    this.#at = this.#bytes.writeDoubleLE(value, this.#at);
  }

  data(field: number, data: Uint8Array): void {
    this.#tag(field, 2);
    this.#room(data.length + 5);
    this.#varint(data.length);
    this.#put(data);
  }

  text(field: number, text: string): void {
    this.#tag(field, 2);
    const { length } = text;
    this.#room(3 * length + 5);
    if (length > shortMax || !this.#ascii(text, length)) this.#utf8(text, length);
  }

  /** Bytes that stand in a text, one letter each. */
  latin1(field: number, text: string): void {
    this.#tag(field, 2);
    this.#room(text.length + 5);
    this.#varint(text.length);
    this.#at += this.#bytes.write(text, this.#at, "latin1");
  }

  /** Fields that are encoded already. */
  raw(data: Uint8Array): void {
    this.#room(data.length);
    this.#put(data);
  }

  /** Few bytes are cheaper one by one than a call out of JavaScript. */
  #put(data: Uint8Array): void {
    const { length } = data;
    const at = this.#at;
    if (length > fewBytes) this.#bytes.set(data, at);
    else for (let nth = 0; nth < length; nth += 1) this.#bytes[at + nth] = data[nth]!;
    this.#at = at + length;
  }

  #tag(field: number, type: number): void {
    this.#room(5);
    this.#varint(field * 8 + type);
  }

  #varint(value: number): void {
    const bytes = this.#bytes;
    let rest = value;
    while (rest >= 2 ** 31) {
      bytes[this.#at++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    while (rest > 0x7f) {
      bytes[this.#at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    bytes[this.#at++] = rest;
  }

  /** Ten bytes, as the sign is carried through 64 bits. */
  #negative(value: number): void {
    let rest = BigInt.asUintN(64, BigInt(value));
    for (; rest > 0x7fn; rest >>= 7n) this.#bytes[this.#at++] = Number(rest & 0x7fn) | 0x80;
    this.#bytes[this.#at++] = Number(rest);
  }

  /** Short enough that its length is one byte. False: it is no ASCII. */
  #ascii(text: string, length: number): boolean {
    const bytes = this.#bytes;
    let at = this.#at;
    bytes[at++] = length;
    for (let index = 0; index < length; index += 1) {
      const code = codeAt(text, index);
      if (code > 0x7f) return false;
      bytes[at++] = code;
    }
    this.#at = at;
    return true;
  }

  #utf8(text: string, length: number): void {
    const guess = widthOf(length);
    const from = this.#at + guess;
    const written = this.#bytes.write(text, from, "utf8");
    const width = widthOf(written);
    if (width !== guess) {
      this.#bytes.copyWithin(this.#at + width, from, from + written);
    }
    this.#varint(written);
    this.#at += written;
  }

  #room(bytes: number): void {
    const needed = this.#at + bytes;
    if (needed <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, 2 * this.#bytes.length));
    this.#bytes.copy(larger, 0, 0, this.#at);
    this.#bytes = larger;
  }
}

const fewBytes = 48;

/** A larger buffer is let go once it was needed. */
const keptBytes = 256 * 1024;

/** Bytes of a length or tag. */
export const widthOf = (value: number): number =>
  value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x20_0000 ? 3 : value < 0x1000_0000 ? 4 : 5;
