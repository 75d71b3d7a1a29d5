import { bytesTag, giveUp, type Reader, varintTag } from "./reader.js";

/* Messages that stand in others again and again. Each gives up on what is not plain. */

/** Shared by all messages without entries; never written to. */
export const noEntries: Readonly<Record<string, string>> = Object.freeze({});

/** Beyond these the general way says what is wrong. */
const secondsMax = 100_000_000_000;
const nanosMax = 999_999_999;

const exactly = (ms: number): number => ms;

/** A Duration or Timestamp that is not negative, in ms; `round` decides about parts of one. */
export function readMs(reader: Reader, round: (ms: number) => number = exactly): number {
  let seconds = 0;
  let nanos = 0;
  const outer = reader.enter();
  while (reader.more) {
    const tag = reader.uint32();
    if (tag === varintTag(1)) seconds = reader.int64();
    else if (tag === varintTag(2)) nanos = reader.int32();
    else giveUp();
  }
  reader.leave(outer);
  if (seconds > secondsMax || nanos > nanosMax) giveUp();
  return seconds * 1_000 + round(nanos / 1e6);
}

/** One entry of a map of texts; returns `map` with it, or a new one in place of `noEntries`. */
export function readEntry(
  reader: Reader,
  map: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  let key = "";
  let value = "";
  const outer = reader.enter();
  while (reader.more) {
    const tag = reader.uint32();
    if (tag === bytesTag(1)) key = reader.name();
    else if (tag === bytesTag(2)) value = reader.text();
    else giveUp();
  }
  reader.leave(outer);
  // An object would take it for something else.
  if (key === "__proto__") giveUp();
  const filled = map === noEntries ? {} : map;
  (filled as Record<string, string>)[key] = value;
  return filled;
}
