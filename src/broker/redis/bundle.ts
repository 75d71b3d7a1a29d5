import { leaseTokenProofAt } from "../../task/ids.js";
import { uuidText } from "../../task/uuid.js";
import type { Task } from "../../task/task.js";
import { type Stretch, stretchOf } from "./bytes.js";
import { at, packedSize, readAlike, readTask, tokenOf } from "./record.js";
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

/** The record that an item of a slice would have alone. */
export function bundledRecord(head: Buffer, item: Buffer, nth: number): Buffer {
  const size = packedSize(item, itemStart);
  const record = Buffer.allocUnsafe(size + head.length - restAt);
  head.copy(record, 0, 0, restAt);
  record.writeDoubleBE(record.readDoubleBE(at.token) + nth, at.token);
  item.copy(record, restAt, itemStart + restAt, itemStart + size);
  head.copy(record, size, restAt);
  return record;
}

const nothingApart: Apart = Object.freeze({});

/** The tasks of a slice that was just leased, each with its lease token. */
export function readSlice(
  head: Buffer,
  items: Buffer,
  take: (task: Task, token: Buffer) => void,
): void {
  const record = stretchOf(bundledRecord(head, items, 0));
  const first = readTask(uuidText(items, idAt), record, nothingApart);
  take(first, tokenOf(items, idAt, record));
  const { view } = stretchOf(items);
  let from = itemStart + packedSize(items, itemStart);
  for (let nth = 1; from < items.length; nth += 1) {
    const start = from + itemStart;
    const to = start + packedSize(items, start);
    const item: Stretch = { packed: items, view, from: start, to };
    const fencingToken = first.fencingToken + nth;
    const token = tokenOf(items, from + idAt, record);
    token.writeDoubleBE(fencingToken, leaseTokenProofAt);
    take(readAlike(uuidText(items, from + idAt), item, fencingToken, first), token);
    from = to;
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

const sameParts = [
  [-itemStart, idAt - itemStart],
  [0, at.priority + 1],
  [at.version, at.specBytes],
] as const;

/** Whether two new items, whose records start there, differ in id, spec and payload at most. */
export const areAlike = (packed: Buffer, a: number, b: number): boolean =>
  sameParts.every(([from, to]) => packed.compare(packed, a + from, a + to, b + from, b + to) === 0);
