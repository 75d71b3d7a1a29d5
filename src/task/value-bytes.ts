import { isUtf8 } from "node:buffer";
import { limits } from "../limits.js";

/**
 * Judges the wire bytes of a google.protobuf.Value without decoding them: a walk that allocates
 * nothing, so that payloads can stay opaque and yet nothing is accepted that a worker's protobuf
 * library would refuse.
 */
export type ValueVerdict = "ok" | "empty" | "malformed" | "too_deep" | "not_finite";

/**
 * Most protobuf libraries stop at 100 nested messages; a value travels at most six below the top of
 * a frame. One level of JSON costs two (array) or three (object) of them.
 */
const messageDepthMax = 94;

class Refused extends Error {
  readonly verdict: ValueVerdict;
  constructor(verdict: ValueVerdict) {
    super(verdict);
    this.verdict = verdict;
  }
}

export function inspectValue(bytes: Uint8Array): ValueVerdict {
  if (bytes.length === 0) return "empty";
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    new Walk(buffer).value(buffer.length, 0, 1);
    return "ok";
  } catch (error) {
    if (error instanceof Refused) return error.verdict;
    throw error;
  }
}

const wireVarint = 0;
const wireFixed64 = 1;
const wireLength = 2;

class Walk {
  private at = 0;
  private readonly bytes: Buffer;
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  /**
   * A Value has exactly one kind; `json` counts arrays and objects, `messages` what libraries
   * count.
   */
  value(end: number, json: number, messages: number): void {
    if (json > limits.payloadDepth || messages > messageDepthMax) throw new Refused("too_deep");
    if (this.at === end) throw new Refused("malformed");
    while (this.at < end) {
      const tag = this.varint(end);
      if (tag === ((1 << 3) | wireVarint) || tag === ((4 << 3) | wireVarint)) this.varint(end);
      else if (tag === ((2 << 3) | wireFixed64)) this.double(end);
      else if (tag === ((3 << 3) | wireLength)) this.text(end);
      else if (tag === ((5 << 3) | wireLength))
        this.struct(this.length(end), json + 1, messages + 1);
      else if (tag === ((6 << 3) | wireLength)) this.list(this.length(end), json + 1, messages + 1);
      else throw new Refused("malformed");
    }
  }

  private struct(end: number, json: number, messages: number): void {
    while (this.at < end) {
      if (this.varint(end) !== ((1 << 3) | wireLength)) throw new Refused("malformed");
      this.entry(this.length(end), json, messages + 1);
    }
  }

  private entry(end: number, json: number, messages: number): void {
    let valued = false;
    while (this.at < end) {
      const tag = this.varint(end);
      if (tag === ((1 << 3) | wireLength)) this.text(end);
      else if (tag === ((2 << 3) | wireLength)) {
        this.value(this.length(end), json, messages + 1);
        valued = true;
      } else throw new Refused("malformed");
    }
    if (!valued) throw new Refused("malformed");
  }

  private list(end: number, json: number, messages: number): void {
    while (this.at < end) {
      if (this.varint(end) !== ((1 << 3) | wireLength)) throw new Refused("malformed");
      this.value(this.length(end), json, messages + 1);
    }
  }

  private varint(end: number): number {
    let result = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (this.at >= end) throw new Refused("malformed");
      const byte = this.bytes[this.at++]!;
      // Beyond 28 bits only the presence of the bytes matters: no tag or length of a payload is
      // that large.
      if (shift <= 21) result |= (byte & 0x7f) << shift;
      else if (byte & 0x7f) result = Number.MAX_SAFE_INTEGER;
      if (byte < 0x80) return result;
    }
    throw new Refused("malformed");
  }

  private length(end: number): number {
    const stop = this.varint(end) + this.at;
    if (stop > end) throw new Refused("malformed");
    return stop;
  }

  private text(end: number): void {
    const stop = this.length(end);
    if (!isUtf8(this.bytes.subarray(this.at, stop))) throw new Refused("malformed");
    this.at = stop;
  }

  private double(end: number): void {
    if (this.at + 8 > end) throw new Refused("malformed");
    const value = this.bytes.readDoubleLE(this.at);
    if (!Number.isFinite(value)) throw new Refused("not_finite");
    this.at += 8;
  }
}
