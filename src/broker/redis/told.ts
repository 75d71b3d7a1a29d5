import { uuidText } from "../../task/uuid.js";
import { bundledRecord, recordsOf } from "./bundle.js";
import { at as place, completedCode, flag } from "./record.js";

/*
 * What scripts tell history about transitions, by turns: outcome, whether the payload is omitted,
 * task id; and the task's record after the transition. Of a completion that leaves no record in the
 * store it is the one before, as changing it there would cost more than all else: what changes is
 * known, but for the result, which stands behind the id. Of one that stood in a bundle it is its
 * body; behind the id stand the number of its slice and its place there. Several that follow one
 * another are told as one: number and place of the first, how many, their results if any has one;
 * and the id of the first. Their ids and their bodies stand beside all this, in the same order. The
 * head and the mould of each such slice follow all that is told.
 */

/** Marks the outcome of an end that leaves no record: the snapshot is of the moment before it. */
const toApply = 64;
const fromBundle = 128;
const ofRun = 32;
const outcomeBits = 31;
const aboutBytes = 18;
const aboutBundledBytes = 20;
const aboutRunBytes = 6;

/* By the first byte of what is told. */

/** The snapshot is of the moment before the transition. */
export const isBefore = (outcome: number): boolean => (outcome & toApply) !== 0;
/** It is no record. */
export const isFromBundle = (outcome: number): boolean => (outcome & fromBundle) !== 0;
/** It is of several. */
export const isOfRun = (outcome: number): boolean => (outcome & ofRun) !== 0;

export interface ToldPart {
  readonly id: string;
  /** 0: no attempt ended by it. */
  readonly outcome: number;
  readonly payloadOmitted: boolean;
  /** The record after the transition. */
  readonly snapshot: Buffer;
}

/**
 * All that one script told at `at`, as a list of strings; they may be changed. `beside`: by turns
 * the ids and the bodies of those told as one; where these are empty, they are left out.
 */
export function partsTold(
  strings: readonly Buffer[],
  total: number,
  at: number,
  beside: readonly Buffer[],
): ToldPart[] {
  const parts: ToldPart[] = [];
  let next = 0;
  let runs = 0;
  const heads: Buffer[] = [];
  // How many strings tell of transitions is known only behind them.
  for (let count = 0; count < total; next += 2) count += countTold(strings[next]!);
  heads.push(...strings.slice(next));
  for (let n = 0; n < next; n += 2) {
    const about = strings[n]!;
    if (!isOfRun(about[0]!)) addPart(parts, about, strings[n + 1]!, at, heads);
    else {
      addRun(parts, about, beside.slice(runs, runs + 2), at, heads);
      runs += 2;
    }
  }
  return parts;
}

const countTold = (about: Buffer): number => (isOfRun(about[0]!) ? about.readUInt16BE(4) : 1);

function addPart(
  parts: ToldPart[],
  about: Buffer,
  snapshot: Buffer,
  at: number,
  heads: readonly Buffer[],
): void {
  const outcome = about[0]! & outcomeBits;
  const payloadOmitted = about[1] === 1;
  const id = uuidText(about, 2);
  parts.push({ id, outcome, payloadOmitted, snapshot: snapshotTold(about, snapshot, at, heads) });
}

function addRun(
  parts: ToldPart[],
  about: Buffer,
  [ids, bodies]: readonly Buffer[],
  at: number,
  heads: readonly Buffer[],
): void {
  if (!ids || !bodies || ids.length === 0) {
    parts.length += countTold(about);
    return;
  }
  const outcome = about[0]! & outcomeBits;
  const payloadOmitted = about[1] === 1;
  const results = about.subarray(aboutRunBytes);
  let resultAt = 0;
  const [head, mould] = headAndMould(heads, about[2]!);
  for (const { id, record } of recordsOf({ mould, ids, bodies }, head, about[3]!)) {
    const from = resultAt + 4;
    if (results.length > 0) resultAt = from + results.readUInt32BE(resultAt);
    const after = completed(record, at, payloadOmitted, results.subarray(from, resultAt));
    parts.push({ id, outcome, payloadOmitted, snapshot: after });
  }
}

const headAndMould = (heads: readonly Buffer[], slice: number): [Buffer, Buffer] => [
  heads[slice * 2]!,
  heads[slice * 2 + 1]!,
];

function snapshotTold(
  about: Buffer,
  snapshot: Buffer,
  at: number,
  heads: readonly Buffer[],
): Buffer {
  if (isFromBundle(about[0]!)) {
    const record = bundledRecord(...headAndMould(heads, about[18]!), snapshot, about[19]!);
    return completed(record, at, about[1] === 1, about.subarray(aboutBundledBytes));
  }
  if (!isBefore(about[0]!)) return snapshot;
  return completed(snapshot, at, about[1] === 1, about.subarray(aboutBytes));
}

/** The record of a running task after it has completed: changed in place if it has no result. */
function completed(
  record: Buffer,
  completedAt: number,
  inHistory: boolean,
  result: Buffer,
): Buffer {
  const version = record.readUInt32BE(place.version) + 1;
  record[place.status] = completedCode;
  if (inHistory) record[place.flags]! |= flag.inHistory;
  record.writeUInt32BE(version, place.version);
  record[place.settledBy] = 1;
  record.writeUIntBE(completedAt, place.completed, 6);
  record.writeUInt16BE(0, place.releases);
  record.writeUInt32BE(version, place.settledAt);
  if (result.length === 0) return record;
  record.writeUInt32BE(record.readUInt32BE(place.tailBytes) + result.length, place.tailBytes);
  // Behind it stand the lengths of cancellation and checkpoint, which are none.
  const size = Buffer.alloc(4);
  size.writeUInt32BE(result.length);
  return Buffer.concat([record.subarray(0, -12), size, result, Buffer.alloc(8)]);
}
