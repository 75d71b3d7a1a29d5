/*
 * Prints how many bytes grow old while 300,000 entries of a ChurnMap come and go, a
 * thousand at a time. A process of its own, with --expose-gc: a test runner keeps objects alive.
 */
import { getHeapSpaceStatistics } from "node:v8";
import { ChurnMap } from "../../src/churn.js";

const oldBytes = (): number =>
  getHeapSpaceStatistics().find(({ space_name }) => space_name === "old_space")!.space_used_size;

const atOnce = 1_000;

function agedBy(add: (nth: number) => void, remove: (nth: number) => void): number {
  for (let nth = 0; nth < atOnce; nth += 1) add(nth);
  globalThis.gc!();
  const before = oldBytes();
  let most = before;
  for (let nth = atOnce; nth < 300_000; nth += 1) {
    add(nth);
    remove(nth - atOnce);
    if (nth % 1_000 === 0) most = Math.max(most, oldBytes());
  }
  return most - before;
}

const map = new ChurnMap<number, object>();
const ofMap = agedBy(
  (nth) => map.set(nth, { nth, of: [nth, nth, nth] }),
  (nth) => map.delete(nth),
);
process.stdout.write(String(ofMap));
