import { create } from "@bufbuild/protobuf";
import { TimestampSchema, type Duration, type Timestamp } from "@bufbuild/protobuf/wkt";
import { refuse } from "../../task/rules.js";
import { described } from "./read-scalar.js";

/** Times as people write them: RFC 3339, and seconds for durations. */

const rfc3339 = /^(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)$/;

export function readTimestamp(json: unknown, path: string): Timestamp {
  const match = typeof json === "string" ? rfc3339.exec(json) : null;
  const ms = match
    ? Date.parse(`${match[1]!.toUpperCase()}${match[3]!.toUpperCase()}`)
    : Number.NaN;
  if (Number.isNaN(ms)) {
    return refuse(path, 'an RFC 3339 time such as "2026-11-22T08:30:00Z"', described(json));
  }
  const nanos = Number((match![2] ?? "").padEnd(9, "0"));
  return create(TimestampSchema, { seconds: BigInt(Math.floor(ms / 1000)), nanos });
}

/** Milliseconds always, finer only if there is something finer. */
export function writeTimestamp({ seconds, nanos }: Timestamp): string {
  const ms = Number(seconds) * 1000 + Math.floor(nanos / 1e6);
  const text = new Date(ms).toISOString();
  const rest = nanos % 1_000_000;
  return rest === 0 ? text : `${text.slice(0, -1)}${String(rest).padStart(6, "0")}Z`;
}

export function writeDuration({ seconds, nanos }: Duration): string {
  if (nanos === 0) return `${seconds}s`;
  const negative = seconds < 0n || nanos < 0;
  const fraction = String(Math.abs(nanos)).padStart(9, "0").replace(/0+$/, "");
  const whole = seconds < 0n ? -seconds : seconds;
  return `${negative ? "-" : ""}${whole}.${fraction}s`;
}
