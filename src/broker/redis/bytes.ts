import { writeUuid } from "../../task/uuid.js";

/**
 * A growing buffer for packing; one per module is enough, as nothing is awaited between `reset` and
 * `take`.
 */
export class Packer {
  private buffer = Buffer.allocUnsafe(4_096);
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
    this.at = this.buffer.writeDoubleBE(value, this.at);
  }

  uint16(value: number): void {
    this.room(2);
    this.at = this.buffer.writeUInt16BE(value, this.at);
  }

  /** Up to 2^48. */
  uint48(value: number): void {
    this.room(6);
    this.at = this.buffer.writeUIntBE(value, this.at, 6);
  }

  uint32(value: number): void {
    this.room(4);
    this.at = this.buffer.writeUInt32BE(value, this.at);
  }

  raw(data: Uint8Array): void {
    this.room(data.length);
    this.buffer.set(data, this.at);
    this.at += data.length;
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
    const written = this.buffer.write(text, this.at, "utf8");
    this.at += written;
    return written;
  }

  text(text: string): void {
    this.number(Buffer.byteLength(text));
    this.rawText(text);
  }

  /** What was packed from there on, to fill in a header once the lengths are known. */
  since(start: number): Buffer {
    return this.buffer.subarray(start, this.at);
  }

  private room(length: number): void {
    if (this.at + length <= this.buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.buffer.length * 2, this.at + length));
    this.buffer.copy(grown, 0, 0, this.at);
    this.buffer = grown;
  }
}

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
    const text = this.buffer.toString("utf8", this.at, this.at + length);
    this.at += length;
    return text;
  }

  text(): string {
    return this.rawText(this.number());
  }

  /** A block with its length in 4 bytes before it. */
  block(): Buffer {
    const length = this.buffer.readUInt32BE(this.at);
    const start = this.at + 4;
    this.at = start + length;
    return this.buffer.subarray(start, this.at);
  }

  rest(): Buffer {
    return this.buffer.subarray(this.at);
  }
}
