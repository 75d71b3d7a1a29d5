import { codeAt } from "../short-text.js";

/*
 * UUIDs between their 16 bytes and their one written form. Every task passes here a dozen times on
 * its way, so digits come from tables: Buffer's own "hex" costs five times as much, the hyphens
 * included. `test/task/ids.test.ts` holds both ways to it.
 */

const noDigit = 0xff;
const values = new Uint8Array(256).fill(noDigit);
const highs = new Uint8Array(256);
const lows = new Uint8Array(256);
for (let byte = 0; byte < 256; byte += 1) {
  const hex = byte.toString(16).padStart(2, "0");
  highs[byte] = hex.charCodeAt(0);
  lows[byte] = hex.charCodeAt(1);
  if (byte >= 16) continue;
  values[hex.charCodeAt(1)] = byte;
  values[hex.toUpperCase().charCodeAt(1)] = byte;
}
const hyphen = 0x2d;

/** Of the 16 bytes from `at` on: lower case, with hyphens. */
// One call, so that the text is whole at once and not a rope of pieces.
// oxfmt-ignore
export const uuidText = (bytes: Uint8Array, at = 0): string => {
  const a = bytes[at]!, b = bytes[at + 1]!, c = bytes[at + 2]!, d = bytes[at + 3]!;
  const e = bytes[at + 4]!, f = bytes[at + 5]!, g = bytes[at + 6]!, h = bytes[at + 7]!;
  const i = bytes[at + 8]!, j = bytes[at + 9]!, k = bytes[at + 10]!, l = bytes[at + 11]!;
  const m = bytes[at + 12]!, n = bytes[at + 13]!, o = bytes[at + 14]!, p = bytes[at + 15]!;
  return String.fromCharCode(
    highs[a]!, lows[a]!, highs[b]!, lows[b]!, highs[c]!, lows[c]!, highs[d]!, lows[d]!, hyphen,
    highs[e]!, lows[e]!, highs[f]!, lows[f]!, hyphen,
    highs[g]!, lows[g]!, highs[h]!, lows[h]!, hyphen,
    highs[i]!, lows[i]!, highs[j]!, lows[j]!, hyphen,
    highs[k]!, lows[k]!, highs[l]!, lows[l]!, highs[m]!, lows[m]!,
    highs[n]!, lows[n]!, highs[o]!, lows[o]!, highs[p]!, lows[p]!,
  );
};

/**
 * Writes the 16 bytes of a UUID in either case to `at`. False: it is none, and what was written
 * means nothing.
 */
export function writeUuid(text: string, target: Uint8Array, at: number): boolean {
  let seen = 0;
  let codes = 0;
  for (let byte = 0, from = 0; byte < 16; byte += 1, from += 2) {
    if (from === 8 || from === 13 || from === 18 || from === 23) from += 1;
    const high = codeAt(text, from);
    const low = codeAt(text, from + 1);
    const highValue = values[high & 0xff]!;
    const lowValue = values[low & 0xff]!;
    codes |= high | low;
    seen |= highValue | lowValue;
    target[at + byte] = (highValue << 4) | lowValue;
  }
  return seen < 16 && codes < 256 && text.length === 36;
}

/** The 16 bytes of a UUID. */
export function uuidBytes(text: string): Uint8Array {
  const bytes = Buffer.allocUnsafe(16);
  writeUuid(text, bytes, 0);
  return bytes;
}

/**
 * The time of a UUIDv7 whose 36 letters start at `at`, in unix ms; undefined if no UUID in its one
 * written form stands there.
 */
export function uuidTimeAt(bytes: Uint8Array, at: number): number | undefined {
  let seen = 0;
  let time = 0;
  for (let nth = 0; nth < 36; nth += 1) {
    const byte = bytes[at + nth]!;
    if (nth === 8 || nth === 13 || nth === 18 || nth === 23) {
      if (byte !== hyphen) return undefined;
      continue;
    }
    // In lower case, which upper case letters lack the bit of.
    const value = byte > 0x39 && byte < 0x61 ? noDigit : values[byte]!;
    seen |= value;
    if (nth < 13) time = time * 16 + value;
  }
  return seen < 16 ? time : undefined;
}
