import { ScalarType, type DescEnum } from "@bufbuild/protobuf";
import { refuse, type Shown } from "../../task/rules.js";

/** One JSON value (or one query parameter) as the value of a scalar or enum field. */
export function readScalar(type: ScalarType, json: unknown, path: string): unknown {
  switch (type) {
    case ScalarType.STRING:
      return readText(json, path);
    case ScalarType.BOOL:
      return readBool(json, path);
    case ScalarType.BYTES:
      return readBytes(json, path);
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return readNumber(json, path);
    case ScalarType.INT32:
    case ScalarType.SINT32:
    case ScalarType.SFIXED32:
      return readWhole(json, path, -(2 ** 31), 2 ** 31 - 1);
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return readWhole(json, path, 0, 2 ** 32 - 1);
    default:
      return readLong(json, path);
  }
}

function readText(json: unknown, path: string): string {
  if (typeof json !== "string") refuse(path, "a string", described(json));
  if (/\p{Surrogate}/u.test(json)) refuse(path, "well-formed Unicode text", "half a character");
  return json;
}

function readBool(json: unknown, path: string): boolean {
  if (json === true || json === "true") return true;
  if (json === false || json === "false") return false;
  return refuse(path, "true or false", described(json));
}

function readBytes(json: unknown, path: string): Uint8Array {
  const text = typeof json === "string" ? json.replaceAll("-", "+").replaceAll("_", "/") : "?";
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) refuse(path, "base64 text", described(json));
  return Buffer.from(text, "base64");
}

/** The canonical form allows numbers as strings. */
function readNumber(json: unknown, path: string): number {
  if (typeof json === "number") return json;
  const isText = typeof json === "string" && json.trim() !== "";
  const value = isText ? Number(json) : Number.NaN;
  if (Number.isNaN(value)) refuse(path, "a number", described(json));
  return value;
}

function readWhole(json: unknown, path: string, min: number, max: number): number {
  const value = readNumber(json, path);
  if (!Number.isInteger(value) || value < min || value > max) {
    refuse(path, `a whole number from ${min} to ${max}`, described(json));
  }
  return value;
}

function readLong(json: unknown, path: string): bigint {
  if (typeof json === "number" && Number.isSafeInteger(json)) return BigInt(json);
  if (typeof json === "string" && /^-?\d{1,19}$/.test(json)) {
    const value = BigInt(json);
    if (BigInt.asIntN(64, value) === value) return value;
  }
  return refuse(path, "a whole number of 64 bits", described(json));
}

/** Short words in lower case, the contract's names, or numbers. */
export function readEnum(desc: DescEnum, json: unknown, path: string): number {
  if (typeof json === "number" && desc.value[json]) return json;
  if (typeof json === "string") {
    const found = desc.values.find(
      (it) => it.name === json || wordOf(desc, it.name) === json || String(it.number) === json,
    );
    if (found) return found.number;
  }
  const words = desc.values.filter((it) => it.number !== 0).map((it) => wordOf(desc, it.name));
  return refuse(path, `one of ${words.join(", ")}`, described(json));
}

/** TASK_STATUS_COMPLETED is written `completed`. */
export const wordOf = (desc: DescEnum, name: string): string =>
  name.slice(desc.sharedPrefix?.length ?? 0).toLowerCase();

/** What came, for an error: kinds rather than contents of anything large. */
export function described(json: unknown): Shown {
  if (Array.isArray(json)) return "a list";
  if (typeof json === "object" && json !== null) return "an object";
  return json as Shown;
}
