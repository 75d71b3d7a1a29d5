import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { limits } from "../limits.js";
import { inspectValue } from "../task/value-bytes.js";
import { readValue } from "../wire/value.js";

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
  return inspectValue(bytes) === "ok" ? readValue(bytes, Number.POSITIVE_INFINITY) : undefined;
}
