import { NameMemory, writeText } from "../../short-text.js";
import { writeUuid } from "../../task/uuid.js";

const viewOf = (bytes: Buffer): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/**
 * A growing buffer for packing; one per module is enough, as nothing is awaited between `reset` and
 * `take`.
 */
export class Packer {
  private buffer = Buffer.allocUnsafe(4_096);
  /** Of the buffer: its writers of numbers cost a fraction of Buffer's. */
  private view = viewOf(this.buffer);
  private at = 0;

  get length(): number {
    return this.at;
  }

  reset(): this {
    this.at = 0;
    return this;
  }

  /** A copy of what was packed. */
  take(): Buffer {
    return Buffer.from(this.buffer.subarray(0, this.at));
  }

  /** A copy of what was packed from there on. */
  since(from: number): Buffer {
    return Buffer.from(this.buffer.subarray(from, this.at));
  }

  skip(length: number): void {
    this.room(length);
    this.buffer.fill(0, this.at, this.at + length);
    this.at += length;
  }

  byte(value: number): void {
    this.room(1);
    this.buffer[this.at++] = value;
  }

  /** Unsigned, up to 2^53, seven bits a byte. */
  number(value: number): void {
    this.room(8);
    let rest = value;
    while (rest > 0x7f) {
      this.buffer[this.at++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    this.buffer[this.at++] = rest;
  }

  double(value: number): void {
    this.room(8);
    this.view.setFloat64(this.at, value);
    this.at += 8;
  }

  uint16(value: number): void {
    this.room(2);
    this.view.setUint16(this.at, value);
    this.at += 2;
  }

  /** Up to 2^48. */
  uint48(value: number): void {
    this.room(6);
    this.uint48At(this.at, value);
    this.at += 6;
  }

  uint32(value: number): void {
    this.room(4);
    this.view.setUint32(this.at, value);
    this.at += 4;
  }

  /** From a place in it on. */
  raw(data: Uint8Array, from = 0): void {
    const length = data.length - from;
    this.room(length);
    // Few bytes are cheaper one by one than a call out of JavaScript.
    if (length > 64) this.buffer.set(from === 0 ? data : data.subarray(from), this.at);
    else for (let n = 0; n < length; n += 1) this.buffer[this.at + n] = data[from + n]!;
    this.at += length;
  }

  /** The few bytes between two places. */
  part(data: Uint8Array, from: number, to: number): void {
    this.room(to - from);
    for (let n = from; n < to; n += 1) this.buffer[this.at++] = data[n]!;
  }

  /** The bytes between two places. */
  stretch(data: Buffer, from: number, to: number): void {
    this.room(to - from);
    // Makes no view of it, as `set` would need.
    this.at += data.copy(this.buffer, this.at, from, to);
  }

  /** The 16 bytes of a UUID. */
  uuid(text: string): void {
    this.room(16);
    writeUuid(text, this.buffer, this.at);
    this.at += 16;
  }

  /** Without its length. Returns its bytes. */
  rawText(text: string): number {
    this.room(text.length * 3);
    const written = writeText(this.buffer, text, this.at);
    this.at += written;
    return written;
  }

  text(text: string): void {
    // Its length takes one byte then.
    if (text.length > 42) {
      this.number(Buffer.byteLength(text));
      this.rawText(text);
      return;
    }
    const lengthAt = this.at;
    this.byte(0);
    // Before the buffer is named: a text may be what makes it grow.
    const written = this.rawText(text);
    this.buffer[lengthAt] = written;
  }

  /* What was skipped is filled in once it is known: numbers at a place packed before. */

  uuidAt(at: number, text: string): void {
    writeUuid(text, this.buffer, at);
  }

  byteAt(at: number, value: number): void {
    this.buffer[at] = value;
  }

  uint16At(at: number, value: number): void {
    this.view.setUint16(at, value);
  }

  uint32At(at: number, value: number): void {
    this.view.setUint32(at, value);
  }

  uint48At(at: number, value: number): void {
    this.view.setUint16(at, Math.floor(value / 0x1_0000_0000));
    this.view.setUint32(at + 2, value);
  }

  doubleAt(at: number, value: number): void {
    this.view.setFloat64(at, value);
  }

  private room(length: number): void {
    if (this.at + length <= this.buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.buffer.length * 2, this.at + length));
    this.buffer.copy(grown, 0, 0, this.at);
    this.buffer = grown;
    this.view = viewOf(grown);
  }
}

const names = new NameMemory();

/** Reads what a Packer wrote. */
export class Unpacker {
  readonly buffer: Buffer;
  at: number;

  constructor(buffer: Buffer, at = 0) {
    this.buffer = buffer;
    this.at = at;
  }

  byte(): number {
    return this.buffer[this.at++]!;
  }

  number(): number {
    let value = 0;
    for (let unit = 1; ; unit *= 128) {
      const byte = this.buffer[this.at++]!;
      value += (byte & 0x7f) * unit;
      if (byte < 0x80) return value;
    }
  }

  double(): number {
    const value = this.buffer.readDoubleBE(this.at);
    this.at += 8;
    return value;
  }

  rawText(length: number): string {
    const from = this.at;
    this.at += length;
    return length === 0 ? "" : names.read(this.buffer, from, this.at);
  }

  text(): string {
    return this.rawText(this.number());
  }

  /** Of a block, with its length in 4 bytes before it; undefined if it is empty. */
  block<T>(unpack: (block: Buffer) => T): T | undefined {
    const length = this.buffer.readUInt32BE(this.at);
    const start = this.at + 4;
    this.at = start + length;
    return length === 0 ? undefined : unpack(this.buffer.subarray(start, this.at));
  }

  blockText(): string {
    const length = this.buffer.readUInt32BE(this.at);
    this.at += 4;
    return this.rawText(length);
  }

  rest(): Buffer {
    return this.buffer.subarray(this.at);
  }
}

/** Bytes among others, and how their numbers are read: a view of its own for each would be dear. */
export interface Stretch {
  readonly packed: Buffer;
  /** Of `packed`, all of it. */
  readonly view: DataView;
  readonly from: number;
  readonly to: number;
}

export const stretchOf = (packed: Buffer, from = 0): Stretch => ({
  packed,
  view: viewOf(packed),
  from,
  to: packed.length,
});

/**
 * The strings of a list as Redis's cmsgpack packs it (the MessagePack specification, str and
 * array).
 */
export class PackedStrings implements Stretch {
  readonly count: number;
  readonly packed: Buffer;
  readonly view: DataView;
  /** Where the string stands that `step` came to. */
  from = 0;
  to: number;

  constructor(packed: Buffer) {
    this.packed = packed;
    this.view = viewOf(packed);
    const kind = packed[0]!;
    if (kind === 0xdc) {
      this.count = this.view.getUint16(1);
      this.to = 3;
    } else {
      this.count = kind === 0xdd ? this.view.getUint32(1) : kind & 0x0f;
      this.to = kind === 0xdd ? 5 : 1;
    }
  }

  /** To the next string, which is not copied, nor made a Buffer of its own. */
  step(): void {
    const start = this.to + 1;
    const kind = this.packed[start - 1]!;
    if (kind === 0xd9) this.#set(start + 1, this.packed[start]!);
    else if (kind === 0xda) this.#set(start + 2, this.view.getUint16(start));
    else if (kind === 0xdb) this.#set(start + 4, this.view.getUint32(start));
    else this.#set(start, kind & 0x1f);
  }

  /** The string that `step` came to. */
  here(): Buffer {
    return this.packed.subarray(this.from, this.to);
  }

  next(): Buffer {
    this.step();
    return this.here();
  }

  #set(from: number, length: number): void {
    this.from = from;
    this.to = from + length;
  }
}

/** All strings of such a list. */
export function stringsOf(packed: Buffer): Buffer[] {
  const strings = new PackedStrings(packed);
  return Array.from({ length: strings.count }, () => strings.next());
}
