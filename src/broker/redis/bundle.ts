import { uuidText } from "../../task/uuid.js";
import type { Task } from "../../task/task.js";
import type { Stretch } from "./bytes.js";
import { at, packedSize, readTask, tokenOf } from "./record.js";
import type { Apart } from "./tail.js";

/*
 * Tasks that stand together in Redis, as lua/parts/bundle.lua keeps them: items as they came (bits,
 * lane, id, record), and of a slice that was leased the header and the tail which the record of its
 * first would have. Those behind it count on from there.
 */

const idAt = 3;
/** Where in an item its record starts. */
export const itemStart = 19;
/** Where in a record stands what a grant leaves alone. */
const restAt = 78;

/** A record's first byte is its version, which never comes that far. */
export const isBundled = (record: Uint8Array): boolean => record[0] === 0xff;

/** Bytes that the record of an item has alone. */
const sizeOf = (head: Buffer, items: Buffer, from: number): number =>
  packedSize(items, from + itemStart) + head.length - restAt;

/** Writes it; returns where the next one would start. `nth`: of the slice. */
function writeRecord(
  into: Buffer,
  to: number,
  head: Buffer,
  items: Buffer,
  from: number,
  nth: number,
): number {
  const start = from + itemStart;
  head.copy(into, to, 0, restAt);
  into.writeDoubleBE(into.readDoubleBE(to + at.token) + nth, to + at.token);
  const end = to + packedSize(items, start);
  items.copy(into, to + restAt, start + restAt, start + end - to);
  return end + head.copy(into, end, restAt);
}

/** The record that an item of a slice would have alone. */
export function bundledRecord(head: Buffer, item: Buffer, nth: number): Buffer {
  const record = Buffer.allocUnsafe(sizeOf(head, item, 0));
  writeRecord(record, 0, head, item, 0, nth);
  return record;
}

const nothingApart: Apart = Object.freeze({});

/** The tasks of a slice that was just leased, each with its lease token. */
export function readSlice(
  head: Buffer,
  items: Buffer,
  take: (task: Task, token: Buffer) => void,
): void {
  let bytes = 0;
  for (let from = 0; from < items.length; from += itemStart + packedSize(items, from + itemStart)) {
    bytes += sizeOf(head, items, from);
  }
  const packed = Buffer.allocUnsafe(bytes);
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  let to = 0;
  let nth = 0;
  for (let from = 0; from < items.length; nth += 1) {
    const start = to;
    to = writeRecord(packed, to, head, items, from, nth);
    const record: Stretch = { packed, view, from: start, to };
    const task = readTask(uuidText(items, from + idAt), record, nothingApart);
    take(task, tokenOf(items, from + idAt, record));
    from += itemStart + packedSize(items, from + itemStart);
  }
}

/** Items one behind another. */
export function itemsIn(items: Buffer): { id: string; item: Buffer }[] {
  const found: { id: string; item: Buffer }[] = [];
  for (let from = 0; from < items.length;) {
    const to = from + itemStart + packedSize(items, from + itemStart);
    found.push({ id: uuidText(items, from + idAt), item: items.subarray(from, to) });
    from = to;
  }
  return found;
}

/** Whether the first of them is the task whose id stands in these bytes. */
export function beginWith(items: Stretch, ids: Uint8Array, at: number): boolean {
  for (let n = 0; n < 16; n += 1) {
    if (items.packed[items.from + idAt + n] !== ids[at + n]) return false;
  }
  return true;
}

const sameParts = [
  [-itemStart, idAt - itemStart],
  [0, at.priority + 1],
  [at.version, at.specBytes],
] as const;

/** Whether two new items, whose records start there, differ in id, spec and payload at most. */
export const areAlike = (packed: Buffer, a: number, b: number): boolean =>
  sameParts.every(([from, to]) => packed.compare(packed, a + from, a + to, b + from, b + to) === 0);
