import { create } from "@bufbuild/protobuf";
import {
  type Duration,
  DurationSchema,
  type Timestamp,
  TimestampSchema,
} from "@bufbuild/protobuf/wkt";

export const durationMs = (duration: Duration): number =>
  Number(duration.seconds) * 1000 + duration.nanos / 1e6;

export function toDuration(ms: number): Duration {
  const seconds = Math.trunc(ms / 1000);
  return create(DurationSchema, {
    seconds: BigInt(seconds),
    nanos: Math.min(999_999_999, Math.round((ms - seconds * 1000) * 1e6)),
  });
}

export const timestampDate = (timestamp: Timestamp): Date =>
  new Date(Number(timestamp.seconds) * 1000 + Math.floor(timestamp.nanos / 1e6));

export function toTimestamp(date: Date): Timestamp {
  const ms = date.getTime();
  const seconds = Math.floor(ms / 1000);
  return create(TimestampSchema, {
    seconds: BigInt(seconds),
    nanos: (ms - seconds * 1000) * 1_000_000,
  });
}
