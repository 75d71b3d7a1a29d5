import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

/**
 * The wire bytes of a google.protobuf.Value as plain JavaScript, every key of it: protobuf-es loses
 * `__proto__`. `levels`: how deep it may be. Throws on what is no JSON.
 */
export function readValue(bytes: Uint8Array, levels: number): unknown {
  const reader = new BinaryReader(bytes);
  return valueIn(reader, bytes.length, levels);
}

function valueIn(reader: BinaryReader, end: number, levels: number): unknown {
  if (levels <= 0) throw new Error("a Value is too deep: the recursion limit is reached");
  let value: unknown;
  while (reader.pos < end) {
    const [field, type] = reader.tag();
    if (field === 1 && type === WireType.Varint) value = (reader.int32(), null);
    else if (field === 2 && type === WireType.Bit64) value = finite(reader.double());
    else if (field === 3 && type === WireType.LengthDelimited) value = reader.string();
    else if (field === 4 && type === WireType.Varint) value = reader.bool();
    else if (field === 5 && type === WireType.LengthDelimited) {
      value = structIn(reader, endOf(reader, end), levels);
    } else if (field === 6 && type === WireType.LengthDelimited) {
      value = listIn(reader, endOf(reader, end), levels);
    } else reader.skip(type, field);
  }
  if (reader.pos > end) throw new Error("a Value ends within one of its parts");
  if (value === undefined) throw new Error("a Value without a value");
  return value;
}

function structIn(reader: BinaryReader, end: number, levels: number): object {
  const struct = {};
  while (reader.pos < end) {
    const [field, type] = reader.tag();
    if (field === 1 && type === WireType.LengthDelimited) {
      entryIn(struct, reader, endOf(reader, end), levels);
    } else reader.skip(type, field);
  }
  return struct;
}

function entryIn(struct: object, reader: BinaryReader, end: number, levels: number): void {
  let key = "";
  let value: unknown;
  while (reader.pos < end) {
    const [field, type] = reader.tag();
    if (field === 1 && type === WireType.LengthDelimited) key = reader.string();
    else if (field === 2 && type === WireType.LengthDelimited) {
      value = valueIn(reader, endOf(reader, end), levels - 1);
    } else reader.skip(type, field);
  }
  if (value === undefined) throw new Error("a Struct has a key without a value");
  setOwn(struct, key, value);
}

function listIn(reader: BinaryReader, end: number, levels: number): unknown[] {
  const list: unknown[] = [];
  while (reader.pos < end) {
    const [field, type] = reader.tag();
    if (field === 1 && type === WireType.LengthDelimited) {
      list.push(valueIn(reader, endOf(reader, end), levels - 1));
    } else reader.skip(type, field);
  }
  return list;
}

function endOf(reader: BinaryReader, outer: number): number {
  const bytes = reader.uint32();
  if (reader.pos + bytes > outer) throw new Error("a part of a Value is longer than the Value");
  return reader.pos + bytes;
}

function finite(value: number): number {
  if (Number.isFinite(value)) return value;
  throw new Error("a Value holds a number that is not finite");
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
