import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { limits } from "../limits.js";
import { inspectValue } from "../task/value-bytes.js";

/**
 * JSON to the wire bytes of a google.protobuf.Value and back: for the JSON doors, and to compare
 * payloads.
 */

export class NotAValue extends Error {}

/** Throws NotAValue for what a Value cannot hold: over 64 levels, numbers that are not finite. */
export function encodeValue(json: unknown): Uint8Array {
  const writer = new BinaryWriter();
  writeValue(writer, json, 0);
  return writer.finish();
}

function writeValue(writer: BinaryWriter, json: unknown, depth: number): void {
  if (depth > limits.payloadDepth) throw new NotAValue(`at most ${limits.payloadDepth} levels`);
  if (json === null) writer.tag(1, WireType.Varint).int32(0);
  else if (typeof json === "number") {
    if (!Number.isFinite(json)) throw new NotAValue("finite numbers");
    writer.tag(2, WireType.Bit64).double(json);
  } else if (typeof json === "string") {
    if (/\p{Surrogate}/u.test(json)) throw new NotAValue("well-formed Unicode text");
    writer.tag(3, WireType.LengthDelimited).string(json);
  } else if (typeof json === "boolean") writer.tag(4, WireType.Varint).bool(json);
  else if (Array.isArray(json)) writeList(writer, json, depth + 1);
  else writeStruct(writer, json as object, depth + 1);
}

function writeStruct(writer: BinaryWriter, json: object, depth: number): void {
  writer.tag(5, WireType.LengthDelimited).fork();
  for (const [key, value] of Object.entries(json)) {
    writer.tag(1, WireType.LengthDelimited).fork();
    if (/\p{Surrogate}/u.test(key)) throw new NotAValue("well-formed Unicode text");
    writer.tag(1, WireType.LengthDelimited).string(key);
    writer.tag(2, WireType.LengthDelimited).fork();
    writeValue(writer, value, depth);
    writer.join().join();
  }
  writer.join();
}

function writeList(writer: BinaryWriter, json: readonly unknown[], depth: number): void {
  writer.tag(6, WireType.LengthDelimited).fork();
  for (const value of json) {
    writer.tag(1, WireType.LengthDelimited).fork();
    writeValue(writer, value, depth);
    writer.join();
  }
  writer.join();
}

/** Undefined if the bytes are no readable Value. */
export function decodeValue(bytes: Uint8Array): unknown {
  if (inspectValue(bytes) !== "ok") return undefined;
  return readValue(new BinaryReader(bytes), bytes.length);
}

// The bytes were inspected: depth is bounded, and every tag is one of these.
function readValue(reader: BinaryReader, end: number): unknown {
  let value: unknown = null;
  while (reader.pos < end) {
    const [field] = reader.tag();
    if (field === 1) value = (reader.int32(), null);
    else if (field === 2) value = reader.double();
    else if (field === 3) value = reader.string();
    else if (field === 4) value = reader.bool();
    else {
      const stop = reader.uint32() + reader.pos;
      value = field === 5 ? readStruct(reader, stop) : readList(reader, stop);
    }
  }
  return value;
}

function readStruct(reader: BinaryReader, end: number): object {
  const struct = {};
  while (reader.pos < end) {
    reader.tag();
    const stop = reader.uint32() + reader.pos;
    let key = "";
    let value: unknown = null;
    while (reader.pos < stop) {
      const [field] = reader.tag();
      if (field === 1) key = reader.string();
      else value = readValue(reader, reader.uint32() + reader.pos);
    }
    setOwn(struct, key, value);
  }
  return struct;
}

function readList(reader: BinaryReader, end: number): unknown[] {
  const list: unknown[] = [];
  while (reader.pos < end) {
    reader.tag();
    list.push(readValue(reader, reader.uint32() + reader.pos));
  }
  return list;
}

/** Keys come from callers: `__proto__` must become a key like any other. */
export function setOwn(target: object, key: string, value: unknown): void {
  Object.defineProperty(target, key, {
    value,
    enumerable: true,
    configurable: true,
    writable: true,
  });
}
