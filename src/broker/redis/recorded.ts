import type { RecordedBirths, RecordedItem } from "../broker.js";
import { PackedBirths } from "./births.js";
import { Packer } from "./bytes.js";
import type { Argument } from "./connection.js";
import { partsOfEntry, tellsBirths, tellsEnds } from "./keys.js";
import type { Store } from "./store.js";

/** Records that a script reads at once: some 2 ms of a busy Redis. */
const tasksMost = 200;
/** Places in the outbox that it marks at once: a tenth of that. */
const placesMost = 2_000;

const packer = new Packer();

export async function recorded(
  store: Store,
  items: readonly RecordedItem[],
  born: readonly RecordedBirths[] = [],
): Promise<void> {
  const calls: Promise<unknown>[] = [];
  for (const partition of partitionsOf(items, born)) {
    const base = store.base(partition);
    const call = (args: Argument[]): void =>
      void calls.push(store.scripts.run("recorded", base, args));
    const telling = new Telling(call);
    for (const { births, nths } of born) {
      if (births.partition === partition) telling.born({ births, nths });
    }
    for (const item of items) if (item.partition === partition) telling.item(item);
    telling.end();
  }
  await Promise.all(calls);
}

function partitionsOf(
  items: readonly RecordedItem[],
  born: readonly RecordedBirths[],
): Iterable<number> {
  const found = new Set<number>();
  for (const { births } of born) found.add(births.partition);
  let last = -1;
  for (const { partition } of items) {
    if (partition !== last) found.add(partition);
    last = partition;
  }
  return found;
}

/** What recorded.lua is told of one partition, in as many calls as it takes. */
class Telling {
  readonly #call: (args: Argument[]) => void;
  /** Places by the entry of the outbox that tells of them. */
  readonly #told = new Map<string, number[]>();
  #entry = "";
  #places: number[] = [];
  #count = 0;
  #tasks = 0;

  constructor(call: (args: Argument[]) => void) {
    this.#call = call;
    packer.reset();
  }

  born({ births, nths }: RecordedBirths): void {
    const { partition, version, ids } = births;
    if (births instanceof PackedBirths && tellsBirths(births.entry)) {
      const places = this.#placesOf(births.entry);
      for (const nth of nths) places.push(nth);
      this.#count += nths.length;
      return;
    }
    for (const nth of nths) {
      const [outboxId, outboxPlace] = [births.outboxIdOf(nth), births.outboxPlaceOf(nth)];
      this.item({ partition, outboxId, outboxPlace, taskId: ids[nth]!, version });
    }
  }

  /** One without outbox id only tells of its task. */
  item({ outboxId, outboxPlace, taskId, version }: RecordedItem): void {
    if (outboxId !== "") {
      // Most are of the entry before them.
      if (outboxId !== this.#entry) {
        this.#entry = outboxId;
        this.#places = this.#placesOf(outboxId);
      }
      this.#places.push(outboxPlace);
      this.#count += 1;
    }
    if (outboxId === "" || !isToldBy(outboxId, version)) {
      packer.uuid(taskId);
      packer.uint32(version);
      this.#tasks += 1;
    }
    if (this.#tasks >= tasksMost || this.#count >= placesMost) this.end();
  }

  end(): void {
    if (this.#count === 0 && this.#tasks === 0) return;
    const tasks = packer.take();
    const args: Argument[] = [String(this.#told.size)];
    for (const [entry, places] of this.#told) args.push(...partsOfEntry(entry), packRuns(places));
    args.push(tasks);
    packer.reset();
    this.#told.clear();
    this.#entry = "";
    this.#count = this.#tasks = 0;
    this.#call(args);
  }

  #placesOf(entry: string): number[] {
    const known = this.#told.get(entry);
    if (known) return known;
    const places: number[] = [];
    this.#told.set(entry, places);
    return places;
  }
}

/** Whether its record need not learn of it. */
const isToldBy = (entry: string, version: number): boolean =>
  tellsEnds(entry) || (version === 1 && tellsBirths(entry));

/** Runs of neighbours, each its first and their number; nearly all of an entry are one. */
function packRuns(places: readonly number[]): Buffer {
  const sorted = isAscending(places) ? places : [...new Set(places)].toSorted((a, b) => a - b);
  packer.reset();
  for (let from = 0; from < sorted.length;) {
    let to = from + 1;
    while (to < sorted.length && sorted[to] === sorted[to - 1]! + 1) to += 1;
    packer.uint16(sorted[from]!);
    packer.uint16(to - from);
    from = to;
  }
  return packer.take();
}

function isAscending(places: readonly number[]): boolean {
  for (let nth = 1; nth < places.length; nth += 1) {
    if (places[nth]! <= places[nth - 1]!) return false;
  }
  return true;
}
