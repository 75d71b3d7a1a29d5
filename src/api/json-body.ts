import { isUtf8 } from "node:buffer";
import { DroverError } from "../errors.js";
import { shown } from "../task/rules.js";

/**
 * Parses a request's body. Numbers that JavaScript would round are refused, since nobody would
 * notice.
 */
export function parseJson(bytes: Buffer): unknown {
  if (!isUtf8(bytes)) throw malformed("the body is not UTF-8");
  const text = bytes.toString("utf8");
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : "";
    throw malformed(`the body is not JSON: ${why.slice(0, 120)}`);
  }
  const unsafe = findUnsafeInteger(text);
  if (unsafe !== undefined) {
    const field = pathOf(json, Number(unsafe), 0);
    const what = `the integer ${shown(unsafe)} is beyond 2^53 and would be rounded`;
    const message = `${field ?? "body"}: ${what}`;
    const hint = "Send it as a string, or the whole payload as payload_blob.";
    throw new DroverError("invalid_field", message, { hint, ...(field && { field }) });
  }
  return json;
}

const malformed = (message: string): DroverError =>
  new DroverError("malformed_message", message, { hint: "Send one JSON object in UTF-8." });

/** Strings first, so that digits inside them do not count; then numbers. */
const token = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

function findUnsafeInteger(text: string): string | undefined {
  // Almost no body has so long a run of digits; those that do are read again.
  if (!/\d{16}/.test(text)) return undefined;
  for (const [found] of text.matchAll(token)) {
    if (/^-?\d{16,}$/.test(found) && !Number.isSafeInteger(Number(found))) return found;
  }
  return undefined;
}

const pathDepth = 80;

/** Where the number stands, for people; undefined if it is too deep to say. */
function pathOf(json: unknown, value: number, depth: number): string | undefined {
  if (typeof json !== "object" || json === null || depth > pathDepth) return undefined;
  for (const [key, item] of Object.entries(json)) {
    const name = key.slice(0, 60);
    if (item === value) return name;
    const below = pathOf(item, value, depth + 1);
    if (below !== undefined) return `${name}.${below}`;
  }
  return undefined;
}
