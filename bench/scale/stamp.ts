/** Payloads that tell when they were submitted: 100 bytes of JSON, as in bench/peer.ts. */
export interface Payload {
  readonly p: string;
}

const payloadBytes = 100;
const frame = JSON.stringify({ p: "" }).length;

/** Microseconds of CLOCK_MONOTONIC, which all processes of this machine share. */
export const now = (): number => Number(process.hrtime.bigint()) / 1_000;

/** `mark`: any short text without "|". */
export function stamped(mark = ""): Payload {
  return { p: `${Math.round(now())}|${mark}|`.padEnd(payloadBytes - frame, "x") };
}
export const stampOf = ({ p }: Payload): number => Number.parseInt(p, 10);
export const markOf = ({ p }: Payload): string => p.split("|", 2)[1] ?? "";
