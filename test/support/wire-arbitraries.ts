import { create, ScalarType, toBinary, type DescField, type DescMessage } from "@bufbuild/protobuf";
import { fc } from "@fast-check/vitest";
import type { Random } from "../../src/clock.js";
import { createSeededRandom } from "./seeded-random.js";

/**
 * Messages of a description, and the many ways in which their bytes may lie on the wire: what
 * hand-written codecs are held equal to protobuf-es over.
 */

const text = fc.oneof(
  fc.constantFrom("", "default", "noop", "application/json", "x".repeat(64), "x".repeat(65)),
  fc.stringMatching(/^[A-Za-z0-9._-]{1,70}$/),
  fc.string({ unit: "grapheme", maxLength: 140 }),
);
const small = fc.oneof(fc.constantFrom(0, 1, 2, 3, 127, 128, 999_999_999), fc.nat());
const int64 = fc.oneof(
  small.map(BigInt),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.constantFrom(2n ** 53n - 1n, 2n ** 53n, -1n),
);
const bytes = fc.uint8Array({ maxLength: 200 });

function scalar(type: ScalarType): fc.Arbitrary<unknown> {
  switch (type) {
    case ScalarType.STRING:
      return text;
    case ScalarType.BYTES:
      return bytes;
    case ScalarType.BOOL:
      return fc.boolean();
    case ScalarType.DOUBLE:
      return fc.double();
    case ScalarType.INT64:
      return int64;
    case ScalarType.UINT32:
      return fc.oneof(small, fc.nat(2 ** 32 - 1));
    default:
      return fc.oneof(small, fc.integer());
  }
}

function valueOf(field: DescField, rates: FieldRates): fc.Arbitrary<unknown> {
  switch (field.fieldKind) {
    case "scalar":
      return scalar(field.scalar);
    case "enum":
      return fc.nat(6);
    case "message":
      return messageInit(field.message, rates);
    case "list":
      return fc.array(
        field.listKind === "message"
          ? messageInit(field.message, rates)
          : scalar(field.listKind === "enum" ? ScalarType.INT32 : field.scalar),
        { maxLength: 3 },
      );
    case "map":
      return fc.dictionary(text, text, { maxKeys: 3, noNullPrototype: true });
  }
}

/** By message: the fields that most have, the others being rare. A message not named has all. */
export type FieldRates = Readonly<Record<string, readonly string[]>>;

function messageInit(desc: DescMessage, rates: FieldRates): fc.Arbitrary<Record<string, unknown>> {
  // It holds itself; what is in it is nobody's concern here.
  if (desc.typeName === "google.protobuf.Value") {
    return fc.boolean().map((value) => ({ kind: { case: "boolValue", value } }));
  }
  const likely = rates[desc.typeName];
  const parts = desc.fields.map((field): fc.Arbitrary<[DescField, unknown]> => {
    const often = likely === undefined || likely.includes(field.name);
    const absent = { weight: often ? 1 : 60, arbitrary: fc.constant(undefined) };
    return fc.oneof(absent, valueOf(field, rates)).map((it) => [field, it]);
  });
  return fc.tuple(...parts).map((all) => {
    const init: Record<string, unknown> = {};
    for (const [field, value] of all) {
      if (value === undefined) continue;
      if (field.oneof) init[field.oneof.localName] = { case: field.localName, value };
      else init[field.localName] = value;
    }
    return init;
  });
}

/** Encoded messages, as protobuf-es writes them. */
export const encoded = (desc: DescMessage, rates: FieldRates = {}): fc.Arbitrary<Buffer> =>
  messageInit(desc, rates).map((init) => Buffer.from(toBinary(desc, create(desc, init))));

/**
 * The same message otherwise: fields in another order, parts split in two, unknown fields between,
 * and, one time in three, damaged.
 */
export const rewritten = (desc: DescMessage, source: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> =>
  fc
    .tuple(source, fc.nat(), fc.constantFrom("plain", "mixed", "damaged"))
    .map(([it, seed, how]) => {
      const random = createSeededRandom(seed);
      const mixed = how === "plain" ? it : mix(desc, it, random);
      return how === "damaged" ? damage(mixed, random) : mixed;
    });

const pick = (random: Random, below: number): number => Math.floor(random.next() * below);

interface Part {
  readonly field: DescField | undefined;
  readonly bytes: Buffer;
}

function mix(desc: DescMessage, bytes: Buffer, random: Random): Buffer {
  const parts = split(desc, bytes).flatMap((part) => {
    const child = part.field?.fieldKind === "message" || part.field?.fieldKind === "list";
    const message = child ? part.field.message : undefined;
    if (!message || random.next() < 0.5) return [part];
    const body = mix(message, bodyOf(part.bytes), random);
    const tag = tagOf(part.bytes);
    if (part.field!.fieldKind === "message" && random.next() < 0.3) {
      const halves = split(message, body);
      const at = pick(random, halves.length + 1);
      const join = (some: Part[]) => lengthed(tag, Buffer.concat(some.map((it) => it.bytes)));
      return [halves.slice(0, at), halves.slice(at)].map((it) => ({ ...part, bytes: join(it) }));
    }
    return [{ ...part, bytes: lengthed(tag, body) }];
  });
  if (random.next() < 0.1) parts.push({ field: undefined, bytes: Buffer.from([0xfa, 0x7f, 1, 7]) });
  if (random.next() < 0.1 && parts.length > 0) parts.push(parts[pick(random, parts.length)]!);
  if (random.next() < 0.5) shuffle(parts, random);
  return Buffer.concat(parts.map((it) => it.bytes));
}

function damage(bytes: Buffer, random: Random): Buffer {
  const copy = Buffer.from(bytes);
  if (random.next() < 0.3) return copy.subarray(0, pick(random, copy.length + 1));
  for (let count = 1 + pick(random, 3); count > 0 && copy.length > 0; count -= 1) {
    copy[pick(random, copy.length)] = pick(random, 256);
  }
  return copy;
}

function shuffle(parts: Part[], random: Random): void {
  for (let index = parts.length - 1; index > 0; index -= 1) {
    const other = pick(random, index + 1);
    [parts[index], parts[other]] = [parts[other]!, parts[index]!];
  }
}

/** Of sound bytes only. */
function split(desc: DescMessage, bytes: Buffer): Part[] {
  const parts: Part[] = [];
  let at = 0;
  while (at < bytes.length) {
    const [tag, body] = varint(bytes, at);
    let stop = body + 8;
    if ((tag & 7) === 0) stop = varint(bytes, body)[1];
    if ((tag & 7) === 2) stop = varint(bytes, body).reduce((length, from) => length + from);
    const field = desc.fields.find((it) => it.number === tag >>> 3);
    parts.push({ field, bytes: bytes.subarray(at, stop) });
    at = stop;
  }
  return parts;
}

function varint(bytes: Buffer, at: number): [value: number, next: number] {
  let value = 0;
  for (let next = at, factor = 1; ; next += 1, factor *= 128) {
    value += (bytes[next]! & 0x7f) * factor;
    if (bytes[next]! < 0x80) return [value, next + 1];
  }
}

const tagOf = (part: Buffer): number => varint(part, 0)[0];
const bodyOf = (part: Buffer): Buffer => part.subarray(varint(part, varint(part, 0)[1])[1]);

/** A length-delimited field with this tag. */
export function lengthed(tag: number, body: Buffer): Buffer {
  const head: number[] = [];
  for (let value of [tag, body.length]) {
    for (; value > 0x7f; value >>>= 7) head.push((value & 0x7f) | 0x80);
    head.push(value);
  }
  return Buffer.concat([Buffer.from(head), body]);
}
