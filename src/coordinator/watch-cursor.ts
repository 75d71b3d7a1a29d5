import { createHash } from "node:crypto";
import { DroverError } from "../errors.js";
import { type Seen, stages, unseen } from "../task/life.js";
import { firstLogPlace, type LogPlace } from "../task/log.js";
import type { Progress } from "../task/task.js";

/** How far a watch has told one task. */
export interface Position {
  readonly seen: Seen;
  readonly logs: LogPlace;
  /** Digest of the progress last told. */
  readonly progress: number;
}

export const startPosition: Position = Object.freeze({
  seen: unseen,
  logs: firstLogPlace,
  progress: 0,
});

const version = 1;
const digestBytes = 8;
const numbers = 7;

/**
 * Opaque to clients: which tasks it is of, and seven numbers a task. It holds no secret and is no
 * proof: who resumes a watch is asked for nothing but the namespace, as anybody who starts one.
 */
export function encodeCursor(scope: Buffer, positions: readonly Position[]): string {
  const bytes: number[] = [version, ...scope];
  for (const { seen, logs, progress } of positions) {
    const flags = stages.indexOf(seen.stage) * 2 + (seen.cancelRequested ? 1 : 0);
    const { version: of, run, attempt } = seen;
    const fields = [of, run, attempt, flags, logs.fencingToken, logs.sequence, progress];
    for (const field of fields) pushVarint(bytes, field);
  }
  return Buffer.from(bytes).toString("base64url");
}

/** Throws `invalid_cursor` for one of other tasks, or of nobody's. */
export function decodeCursor(scope: Buffer, count: number, cursor: string): Position[] {
  const bytes = Buffer.from(cursor, "base64url");
  if (bytes[0] !== version) throw invalid("it is not one that Drover gave");
  if (!bytes.subarray(1, 1 + digestBytes).equals(scope)) throw invalid("it is of other tasks");
  const fields = [...varints(bytes.subarray(1 + digestBytes))];
  if (fields.length !== count * numbers) throw invalid("it is cut short");
  return Array.from({ length: count }, (_, nth) => {
    const at = fields.slice(nth * numbers, (nth + 1) * numbers) as Seven;
    const [of, run, attempt, flags, fencingToken, sequence, progress] = at;
    const stage = stages[flags >> 1] ?? "waiting";
    const seen = { version: of, run, attempt, stage, cancelRequested: (flags & 1) === 1 };
    return { seen, logs: { fencingToken, sequence }, progress };
  });
}

type Seven = [number, number, number, number, number, number, number];

/** Cursors of one watch fit no other. */
export const scopeOf = (namespace: string, taskIds: readonly string[]): Buffer =>
  createHash("sha256")
    .update(JSON.stringify([namespace, ...taskIds]))
    .digest()
    .subarray(0, digestBytes);

/** Tells apart what a handler said last; 0 is none. */
export function progressDigest(attempt: number, progress: Progress | undefined): number {
  if (!progress) return 0;
  const text = JSON.stringify([attempt, progress.fraction, progress.message]);
  return createHash("sha256").update(text).digest().readUInt32BE(0) || 1;
}

const invalid = (why: string): DroverError =>
  new DroverError("invalid_cursor", `cursor: expected one of a watch of these tasks; ${why}`, {
    field: "cursor",
  });

/** Without bit operations: fencing numbers pass 32 bits. */
function pushVarint(bytes: number[], value: number): void {
  let left = value;
  while (left >= 128) {
    bytes.push((left % 128) + 128);
    left = Math.floor(left / 128);
  }
  bytes.push(left);
}

function* varints(bytes: Uint8Array): Generator<number> {
  let value = 0;
  let unit = 1;
  for (const byte of bytes) {
    value += (byte % 128) * unit;
    unit *= 128;
    if (byte >= 128) continue;
    if (!Number.isSafeInteger(value)) throw invalid("a number in it is too large");
    yield value;
    value = 0;
    unit = 1;
  }
}
