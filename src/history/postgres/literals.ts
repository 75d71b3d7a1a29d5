import { codeAt } from "../../short-text.js";

/**
 * Array literals for UNNEST, made here because the driver's own quote every number. Texts are made
 * storable first: Postgres refuses NUL and lone surrogates, and one such text must not fail a whole
 * batch.
 */

const refused = /[\0\\]|\p{Surrogate}/u;

/**
 * The text itself if Postgres takes it; else an escaped form with a backslash in it. No two texts
 * become one.
 */
export function storable(text: string): string {
  for (let at = 0; at < text.length; at += 1) {
    const code = codeAt(text, at);
    if (code === 0 || code === 0x5c || code > 0x7f) return escaped(text);
  }
  return text;
}

const escaped = (text: string): string =>
  refused.test(text) ? JSON.stringify(text).slice(1, -1) : text;

export const restored = (text: string): string =>
  text.includes("\\") ? (JSON.parse(`"${text}"`) as string) : text;

/** For smallint, int, bigint and boolean arrays, and for uuids: what never needs quotes. */
export function plainArray(values: readonly (number | string | undefined)[]): string {
  if (!values.includes(undefined)) return `{${values.join(",")}}`;
  return `{${values.map((value) => value ?? "NULL").join(",")}}`;
}

/** For texts that are storable already, json among them. */
export function textArray(values: readonly (string | undefined)[]): string {
  let text = "{";
  for (const [index, value] of values.entries()) {
    if (index > 0) text += ",";
    text += value === undefined ? "NULL" : quoted(value);
  }
  return `${text}}`;
}

const quoted = (value: string): string =>
  /["\\]/.test(value) ? `"${value.replaceAll(/["\\]/g, "\\$&")}"` : `"${value}"`;

const intMax = 2 ** 31 - 1;

/** Whole and in range, whatever came: a number that Postgres refuses would fail the whole batch. */
export const smallint = (value: number): number => clamp(value, 2 ** 15 - 1);
export const int = (value: number): number => clamp(value, intMax);
export const bigint = (value: number): number => clamp(value, Number.MAX_SAFE_INTEGER);
export const optionalBigint = (value: number | undefined): number | undefined =>
  value === undefined ? undefined : bigint(value);

const clamp = (value: number, max: number): number =>
  Number.isNaN(value) ? 0 : Math.trunc(Math.max(-max, Math.min(max, value)));
