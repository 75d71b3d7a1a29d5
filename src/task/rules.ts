import { DroverError } from "../errors.js";
import { limits } from "../limits.js";

/**
 * What single values may be. Each rule throws `invalid_field` naming the path, what was expected
 * and what came.
 */

const namePattern = /^[A-Za-z0-9._-]{1,128}$/;

/** The same few names come again and again. */
let known = "";
let knownBefore = "";

export function isName(text: string): boolean {
  if (text === known || text === knownBefore) return text !== "";
  if (!namePattern.test(text)) return false;
  knownBefore = known;
  known = text;
  return true;
}

/** What an error can show of a value. */
export type Shown = string | number | bigint | boolean | null | undefined | Uint8Array;

/** For people: at most 60 characters, so that an error never carries a payload. */
export function shown(value: Shown): string {
  if (value === undefined) return "nothing";
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  const text = typeof value === "string" ? JSON.stringify(value) : `${value}`;
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}

export function refuse(field: string, expected: string, came: Shown): never {
  throw new DroverError("invalid_field", `${field}: expected ${expected}, got ${shown(came)}`, {
    field,
  });
}

export function checkName(field: string, text: string): void {
  if (!isName(text)) {
    refuse(field, `1 to ${limits.nameLength} characters of A-Z, a-z, 0-9, ".", "_" and "-"`, text);
  }
}

export function checkWhole(field: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max) {
    refuse(field, `a whole number from ${min} to ${max}`, value);
  }
}

export function checkNumber(field: string, value: number, min: number, max: number): void {
  // Written so that NaN fails.
  if (!(value >= min && value <= max)) refuse(field, `a number from ${min} to ${max}`, value);
}

/** `value` in ms, fractions included. */
export function checkDuration(field: string, value: number, min: number, max: number): void {
  if (!(value >= min && value <= max)) {
    refuse(field, `a duration from ${min} ms to ${spell(max)}`, spell(value));
  }
}

/**
 * Characters are Unicode code points, as protovalidate counts them; NUL is none, Postgres cannot
 * store it.
 */
export function checkLength(field: string, text: string, min: number, max: number): void {
  if (text.includes("\0")) refuse(field, "text without NUL characters", text);
  if (text.length >= min && text.length <= max) return;
  const length = codePoints(text);
  if (length < min || length > max) {
    refuse(field, `${min === 0 ? "at most" : `${min} to`} ${max} characters`, `${length} of them`);
  }
}

function codePoints(text: string): number {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

function spell(ms: number): string {
  const days = ms / 86_400_000;
  return Number.isInteger(days) && days !== 0 ? `${days} days` : `${ms} ms`;
}
