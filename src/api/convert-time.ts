import { create } from "@bufbuild/protobuf";
import {
  DurationSchema,
  TimestampSchema,
  type Duration,
  type Timestamp,
} from "@bufbuild/protobuf/wkt";
import { refuse } from "../task/rules.js";

/** Times and durations between the wire (seconds and nanoseconds) and milliseconds. */

/** Year 1 and year 10000, in seconds: the bounds of google.protobuf.Timestamp. */
const firstSecond = -62_135_596_800n;
const endSecond = 253_402_300_800n;
const durationSecondsMax = 315_576_000_000n;
const nanosMax = 999_999_999;

export function toTimestamp(ms: number): Timestamp {
  const seconds = Math.floor(ms / 1000);
  const nanos = Math.round((ms - seconds * 1000) * 1e6);
  return create(TimestampSchema, { seconds: BigInt(seconds), nanos });
}

export const toTimestampIf = (ms: number | undefined): Timestamp | undefined =>
  ms === undefined ? undefined : toTimestamp(ms);

export function toDuration(ms: number): Duration {
  const seconds = Math.trunc(ms / 1000);
  const nanos = Math.round((ms - seconds * 1000) * 1e6);
  return create(DurationSchema, { seconds: BigInt(seconds), nanos });
}

export const toDurationIf = (ms: number | undefined): Duration | undefined =>
  ms === undefined ? undefined : toDuration(ms);

/** Milliseconds since 1970, rounded up: nothing starts before its time. */
export function timestampMs(time: Timestamp, field: string): number {
  const { seconds, nanos } = time;
  if (seconds < firstSecond || seconds >= endSecond || nanos < 0 || nanos > nanosMax) {
    refuse(field, "a time of the years 1 to 9999", `${seconds} s and ${nanos} ns`);
  }
  return Number(seconds) * 1000 + Math.ceil(nanos / 1e6);
}

const lastMs = Number(endSecond) * 1000 - 1;

/**
 * Milliseconds since 1970 of a time that must not fail what came with it: of one that nobody could
 * show, the nearest of the years 1970 to 9999.
 */
export const nearestMs = ({ seconds, nanos }: Timestamp): number =>
  Math.min(lastMs, Math.max(0, Number(seconds) * 1000 + Math.trunc(nanos / 1e6)));

/** Milliseconds, fractions included. */
export function durationMs(duration: Duration, field: string): number {
  const { seconds, nanos } = duration;
  const sameSign = seconds === 0n || nanos === 0 || seconds > 0n === nanos > 0;
  const inRange = seconds <= durationSecondsMax && seconds >= -durationSecondsMax;
  if (!sameSign || !inRange || Math.abs(nanos) > nanosMax) {
    refuse(field, "a duration with one sign, below 10,000 years", `${seconds} s and ${nanos} ns`);
  }
  return Number(seconds) * 1000 + nanos / 1e6;
}

export const durationMsIf = (duration: Duration | undefined, field: string): number | undefined =>
  duration ? durationMs(duration, field) : undefined;
