import { at as place, completedCode, flag } from "./record.js";

/*
 * What scripts tell history about a transition: outcome, whether the payload is omitted, task id.
 * Behind it stands the task's record after the transition. Of a completion that leaves no record in
 * the store it is the one before, as changing it there would cost more than all else: what changes
 * is known, but for the result, which stands behind the id.
 */

/** Marks the outcome of an end that leaves no record: the snapshot is of the moment before it. */
const toApply = 64;
const aboutBytes = 18;

export const outcomeTold = (about: Buffer): number => about[0]! & ~toApply;

/** The snapshot is of the moment before the transition; by the first byte of what is told. */
export const isBefore = (outcome: number): boolean => (outcome & toApply) !== 0;

/** The record after the transition, `at` the time of it. The buffer may be changed. */
export function snapshotTold(about: Buffer, snapshot: Buffer, at: number): Buffer {
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
