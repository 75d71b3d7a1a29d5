import { NameMemory } from "../short-text.js";

/**
 * Reads protobuf by hand, for the few messages that come by the hundred thousand. It knows the
 * plain ways to write a message and gives up on all others with `Unplain`: whoever reads hot frames
 * then turns to the general decoder, which knows them all and says what is wrong. So nothing here
 * decides what is malformed, and a field missing here is slow, never lost.
 */
export class Unplain extends Error {}

const unplain = new Unplain("read it with the general decoder");

/** Says that this message is not for the hand-written reader. */
export function giveUp(): never {
  // One for all: nobody looks at its stack, which costs more than the message.
  throw unplain;
}

const wire = { varint: 0, fixed64: 1, bytes: 2 } as const;

/** Tags as they stand before a field: its number, and how it is written. */
export const varintTag = (field: number): number => (field << 3) | wire.varint;
export const fixed64Tag = (field: number): number => (field << 3) | wire.fixed64;
export const bytesTag = (field: number): number => (field << 3) | wire.bytes;

export class Reader {
  readonly bytes: Buffer;
  at = 0;
  /** Of the message being read. */
  end: number;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
    this.end = bytes.length;
  }

  get more(): boolean {
    return this.at < this.end;
  }

  /** Enters a message; give what it returns to `leave`. */
  enter(): number {
    const outer = this.end;
    this.end = this.stop();
    return outer;
  }

  leave(outer: number): void {
    if (this.at !== this.end) giveUp();
    this.end = outer;
  }

  /** 0 to 2^32 - 1; gives up on what needs more, negative numbers among them. */
  uint32(): number {
    const { bytes } = this;
    let byte = bytes[this.at++];
    if (byte === undefined) giveUp();
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    for (let shift = 7; shift < 28; shift += 7) {
      byte = bytes[this.at++];
      if (byte === undefined) giveUp();
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    byte = bytes[this.at++];
    if (byte === undefined || byte > 0x0f) giveUp();
    return (value | (byte << 28)) >>> 0;
  }

  /** 0 to 2^31 - 1. */
  int32(): number {
    const value = this.uint32();
    return value < 2 ** 31 ? value : giveUp();
  }

  /** 0 to 2^53 - 1. */
  int64(): number {
    let value = 0;
    let factor = 1;
    for (let count = 0; count < 8; count += 1) {
      const byte = this.bytes[this.at++];
      if (byte === undefined) giveUp();
      value += (byte & 0x7f) * factor;
      factor *= 128;
      if (byte < 0x80) return value <= Number.MAX_SAFE_INTEGER ? value : giveUp();
    }
    return giveUp();
  }

  bool(): boolean {
    const value = this.uint32();
    return value <= 1 ? value === 1 : giveUp();
  }

  double(): number {
    const at = this.at;
    this.at += 8;
    if (this.at > this.end) giveUp();
    return this.bytes.readDoubleLE(at);
  }

  /** Not copied: it keeps the whole frame in memory. */
  view(): Buffer {
    const stop = this.stop();
    const view = this.bytes.subarray(this.at, stop);
    this.at = stop;
    return view;
  }

  text(): string {
    const stop = this.stop();
    const { at } = this;
    this.at = stop;
    return textOf(this.bytes, at, stop);
  }

  /** One that was passed over. */
  textAt(at: number, stop: number): string {
    return textOf(this.bytes, at, stop);
  }

  /** Bytes as a key of maps: one letter each. */
  key(): string {
    const stop = this.stop();
    const { at } = this;
    this.at = stop;
    return this.bytes.toString("latin1", at, stop);
  }

  /** A text that comes again and again, such as a name: remembered, so that most cost no string. */
  name(): string {
    const stop = this.stop();
    const { at } = this;
    this.at = stop;
    return names.read(this.bytes, at, stop);
  }

  /** Past a field nobody here wants. */
  skip(tag: number): void {
    const type = tag & 7;
    if (tag >>> 3 === 0) giveUp();
    if (type === wire.bytes) this.at = this.stop();
    else if (type === wire.varint) this.varint();
    else if (type === wire.fixed64) this.at += 8;
    else giveUp();
    if (this.at > this.end) giveUp();
  }

  private varint(): void {
    for (let count = 0; count < 10; count += 1) {
      const byte = this.bytes[this.at++];
      if (byte === undefined) giveUp();
      if (byte < 0x80) return;
    }
    giveUp();
  }

  /** Reads the length before bytes or a message: they end there. */
  stop(): number {
    const length = this.uint32();
    const stop = this.at + length;
    return stop <= this.end ? stop : giveUp();
  }
}

function textOf(bytes: Buffer, at: number, stop: number): string {
  if (at === stop) return "";
  const text = bytes.toString("utf8", at, stop);
  // Either it stood there, or it stands for bytes that are no text.
  return text.includes("\uFFFD") ? giveUp() : text;
}

const names = new NameMemory(textOf);
