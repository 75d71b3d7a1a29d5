import { create, type DescField, type DescMessage, type Message } from "@bufbuild/protobuf";
import { FieldMaskSchema } from "@bufbuild/protobuf/wkt";
import { DroverError } from "../../errors.js";
import { limits } from "../../limits.js";
import { nearest } from "../../nearest.js";
import { refuse } from "../../task/rules.js";
import { inspectValue } from "../../task/value-bytes.js";
import { isValueField } from "../contract.js";
import { toDuration } from "../convert-time.js";
import { setOwn } from "../../wire/value.js";
import { encodeValue, NotAValue } from "../value-json.js";
import { described, readEnum, readScalar } from "./read-scalar.js";
import { readTimestamp } from "./times.js";

/** Fields of a message by name; what `create` takes. */
export type Init = Record<string, unknown>;

/**
 * Plain JSON as the fields of an opaque message. Names as in the proto or in canonical JSON; a name
 * that is not known is refused with the one most like it, for a misspelt `priorty` would otherwise
 * be a silent default.
 */
export function readMessage(desc: DescMessage, json: unknown, path: string): Init {
  const init: Init = {};
  if (!isObject(json)) return refuse(path || "body", "a JSON object", described(json));
  const given = new Set<DescField>();
  for (const [key, value] of Object.entries(json)) {
    const field = findField(desc, key, path);
    const fieldPath = join(path, field.name);
    if (given.has(field)) refuse(fieldPath, "it once", "two spellings of it");
    given.add(field);
    if (isValueField(field)) readValue(desc, field, value, fieldPath, init);
    else if (value !== null) putField(field, readField(field, value, fieldPath), fieldPath, init);
  }
  return init;
}

/** Puts `value` where the field's dotted path says: a path variable or a query parameter. */
export function putAt(
  desc: DescMessage,
  init: Init,
  dotted: string,
  texts: readonly string[],
): void {
  let at = init;
  let inside = desc;
  const names = dotted.split(".");
  for (const [index, name] of names.entries()) {
    const path = names.slice(0, index).join(".");
    const field = findField(inside, name, path);
    if (index === names.length - 1) {
      const json = field.fieldKind === "list" ? texts : texts.at(-1);
      return putField(field, readField(field, json, dotted), dotted, at);
    }
    if (field.fieldKind !== "message")
      return refuse(dotted, "a field", `nothing below ${field.name}`);
    at = (at[field.localName] ??= {}) as Init;
    inside = field.message;
  }
}

export function findField(desc: DescMessage, name: string, path: string): DescField {
  const found = desc.fields.find((it) => it.name === name || it.jsonName === name);
  if (found) return found;
  const at = join(path, name.slice(0, 64));
  const like = nearest(
    name,
    desc.fields.map((it) => it.name),
  );
  throw new DroverError("invalid_field", `${at}: there is no such field`, {
    field: at,
    hint: like
      ? `Did you mean ${like}?`
      : `Known are ${desc.fields.map((it) => it.name).join(", ")}.`,
  });
}

const join = (path: string, name: string): string => (path === "" ? name : `${path}.${name}`);

const isObject = (json: unknown): json is Record<string, unknown> =>
  typeof json === "object" && json !== null && !Array.isArray(json);

function putField(field: DescField, value: unknown, path: string, init: Init): void {
  const { oneof } = field;
  if (!oneof) {
    init[field.localName] = value;
    return;
  }
  if (init[oneof.localName] !== undefined) {
    refuse(path, `one of ${oneof.fields.map((it) => it.name).join(", ")}`, "two of them");
  }
  init[oneof.localName] = { case: field.localName, value };
}

function readField(field: DescField, json: unknown, path: string): unknown {
  switch (field.fieldKind) {
    case "scalar":
      return readScalar(field.scalar, json, path);
    case "enum":
      return readEnum(field.enum, json, path);
    case "message":
      return readKnown(field.message, json, path);
    case "list":
      return readList(field, json, path);
    case "map":
      return readMap(field, json, path);
  }
}

function readList(
  field: DescField & { fieldKind: "list" },
  json: unknown,
  path: string,
): unknown[] {
  if (!Array.isArray(json)) return refuse(path, "a list", described(json));
  return json.map((item: unknown, index) => {
    const at = `${path}[${index}]`;
    if (field.listKind === "scalar") return readScalar(field.scalar, item, at);
    if (field.listKind === "enum") return readEnum(field.enum, item, at);
    return readKnown(field.message, item, at);
  });
}

function readMap(field: DescField & { fieldKind: "map" }, json: unknown, path: string): object {
  if (!isObject(json)) return refuse(path, "an object", described(json));
  const map = {};
  for (const [key, item] of Object.entries(json)) {
    const at = `${path}[${key.slice(0, 60)}]`;
    if (field.mapKind === "scalar") setOwn(map, key, readScalar(field.scalar, item, at));
    else if (field.mapKind === "enum") setOwn(map, key, readEnum(field.enum, item, at));
    else setOwn(map, key, readKnown(field.message, item, at));
  }
  return map;
}

/** Messages with a JSON form of their own, then any other. */
function readKnown(desc: DescMessage, json: unknown, path: string): Message | Init {
  switch (desc.typeName) {
    case "google.protobuf.Timestamp":
      return readTimestamp(json, path);
    case "google.protobuf.Duration":
      return toDuration(readDuration(json, path));
    case "google.protobuf.FieldMask":
      return create(FieldMaskSchema, { paths: readMask(json, path) });
    default:
      return create(desc, readMessage(desc, json, path));
  }
}

const units: Readonly<Record<string, number>> = { ms: 1, s: 1e3, m: 6e4, h: 3.6e6, d: 8.64e7 };

/** `1.5s` as canonical JSON has it; ms, m, h and d as well. */
function readDuration(json: unknown, path: string): number {
  const match =
    typeof json === "string" ? /^(-?\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h|d)$/.exec(json) : null;
  if (!match) return refuse(path, 'a duration such as "1.5s", "500ms" or "15m"', described(json));
  return Number(match[1]) * units[match[2]!]!;
}

/** Comma-separated; canonical JSON has lowerCamelCase names. */
function readMask(json: unknown, path: string): string[] {
  if (typeof json !== "string") return refuse(path, "names with commas between", described(json));
  const names = json.split(",").map((name) => name.trim());
  return names.map((name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
}

/**
 * Any JSON. What is too deep for a Value in every language's protobuf library, yet within our own
 * 64 levels, travels as the JSON text it is.
 */
function readValue(
  desc: DescMessage,
  field: DescField,
  json: unknown,
  path: string,
  init: Init,
): void {
  try {
    const bytes = encodeValue(json);
    const blob = desc.fields.find((it) => it.name === `${field.name}_blob`);
    if (!blob || inspectValue(bytes) !== "too_deep") {
      init[field.localName] = bytes;
      return;
    }
    const data = Buffer.from(JSON.stringify(json), "utf8");
    init[blob.localName] = { contentType: "application/json", data };
  } catch (error) {
    if (!(error instanceof NotAValue)) throw error;
    const message = `${path}: expected ${error.message}, got others`;
    const hint = `At most ${limits.payloadDepth} levels of JSON with finite numbers.`;
    throw new DroverError("invalid_field", message, { field: path, hint });
  }
}
