import {
  ScalarType,
  type DescEnum,
  type DescField,
  type DescMessage,
  type Message,
} from "@bufbuild/protobuf";
import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";
import { isValueField } from "../contract.js";
import { isJsonType, jsonText } from "../payload.js";
import { decodeValue } from "../value-json.js";
import { wordOf } from "./read-scalar.js";
import { writeDuration, writeTimestamp } from "./times.js";

/**
 * An opaque message as plain JSON text: snake_case, enum words in lower case, RFC 3339 times,
 * 64-bit numbers as numbers, every field written, null where nothing is set. Text rather than a
 * tree, so that JSON a client sent stays as it sent it.
 */
export function writeMessage(desc: DescMessage, message: Message): string {
  const fields = message as unknown as Readonly<Record<string, unknown>>;
  const parts: string[] = [];
  for (const field of desc.fields) {
    const text = isValueField(field)
      ? writeValueField(desc, field, fields)
      : writeOther(desc, field, fields);
    if (text !== undefined) parts.push(`${JSON.stringify(plainName(field))}:${text}`);
  }
  return `{${parts.join(",")}}`;
}

/** Text that holds JSON itself: shown as that JSON, under the name without `_json`. */
export const isJsonText = (field: DescField): boolean => field.name.endsWith("_json");

/** What a field is called in plain JSON. */
export const plainName = (field: DescField): string =>
  isJsonText(field) ? field.name.slice(0, -"_json".length) : field.name;

/** One field of a message, as its text: for response_body. */
export const writeOnly = (field: DescField, message: Message): string =>
  writeField(field, (message as unknown as Readonly<Record<string, unknown>>)[field.localName]);

interface BlobInit {
  readonly contentType: string;
  readonly data: Uint8Array;
}
type Fields = Readonly<Record<string, unknown>>;

/** The Value, or the JSON in the blob beside it: to people they are the same. */
function writeValueField(desc: DescMessage, field: DescField, fields: Fields): string {
  const bytes = fields[field.localName] as Uint8Array | undefined;
  if (bytes) {
    const value = decodeValue(bytes);
    return value === undefined ? "null" : JSON.stringify(value);
  }
  const blobField = desc.fields.find((it) => it.name === `${field.name}_blob`);
  const blob = blobField && (fields[blobField.localName] as BlobInit | undefined);
  return (blob && shownJson(blob)) ?? "null";
}

const shownJson = ({ contentType, data }: BlobInit): string | undefined =>
  isJsonType(contentType) ? jsonText(data) : undefined;

function writeOther(desc: DescMessage, field: DescField, fields: Fields): string | undefined {
  const value = fields[field.localName];
  const { oneof } = field;
  if (oneof) {
    const chosen = fields[oneof.localName] as { case: string | undefined; value: unknown };
    return chosen.case === field.localName ? writeField(field, chosen.value) : undefined;
  }
  if (isJsonText(field)) return (value as string) || "null";
  const besideValue = field.name.endsWith("_blob") && hasValueBeside(desc, field);
  if (besideValue && (value === undefined || shownJson(value as BlobInit) !== undefined)) {
    return undefined;
  }
  return writeField(field, value);
}

const hasValueBeside = (desc: DescMessage, field: DescField): boolean =>
  desc.fields.some((it) => `${it.name}_blob` === field.name && isValueField(it));

function writeField(field: DescField, value: unknown): string {
  if (value === undefined) return "null";
  switch (field.fieldKind) {
    case "scalar":
      return writeScalar(field.scalar, value);
    case "enum":
      return writeEnum(field.enum, value as number);
    case "message":
      return writeKnown(field.message, value as Message);
    case "list":
      return `[${(value as unknown[]).map((item) => writeItem(field, item)).join(",")}]`;
    case "map": {
      const entries = Object.entries(value as object);
      const texts = entries.map(
        ([key, item]) => `${JSON.stringify(key)}:${writeItem(field, item)}`,
      );
      return `{${texts.join(",")}}`;
    }
  }
}

function writeItem(field: DescField & { fieldKind: "list" | "map" }, item: unknown): string {
  if (field.message) return writeKnown(field.message, item as Message);
  if (field.enum) return writeEnum(field.enum, item as number);
  return writeScalar(field.scalar, item);
}

function writeKnown(desc: DescMessage, message: Message): string {
  switch (desc.typeName) {
    case "google.protobuf.Timestamp":
      return JSON.stringify(writeTimestamp(message as Timestamp));
    case "google.protobuf.Duration":
      return JSON.stringify(writeDuration(message as Duration));
    default:
      return writeMessage(desc, message);
  }
}

/** The zero value says "none". A number of a newer contract stays a number. */
function writeEnum(desc: DescEnum, number: number): string {
  if (number === 0) return "null";
  const value = desc.value[number];
  return value ? JSON.stringify(wordOf(desc, value.name)) : String(number);
}

function writeScalar(type: ScalarType, value: unknown): string {
  if (typeof value === "bigint") {
    const number = Number(value);
    return Number.isSafeInteger(number) ? String(number) : JSON.stringify(String(value));
  }
  if (type === ScalarType.BYTES) {
    return JSON.stringify(Buffer.from(value as Uint8Array).toString("base64"));
  }
  // NaN and the infinities have no JSON number; the canonical form has them as strings.
  if (typeof value === "number" && !Number.isFinite(value)) return JSON.stringify(String(value));
  return JSON.stringify(value);
}
