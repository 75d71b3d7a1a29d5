import { codeAt } from "../short-text.js";

/** Whether what stands at this place is of this task. */
export type IsAt = (place: number, taskId: string) => boolean;

/** The last letters of an id, which its hash is made of: the part that nobody can foresee. */
const hashedLetters = 8;
/** Of slots. A power of two. */
const least = 256;

/**
 * Finds by the id of a task the place, a number of holders.ts, where something of it stands. Does
 * what a Map of numbers would, for tasks that come and go by the ten thousand a second: it keeps no
 * ids, as they stand at the places, and so leaves nothing to collect; and an id that is asked about
 * here needs no hash of its own.
 */
export class Places {
  readonly #isAt: IsAt;
  readonly #seed: number;
  #size = 0;
  #mask = least - 1;
  /** By slots, which begin where the hash says: the hash, and the place plus 1, or 0 for none. */
  #hashes = new Int32Array(least);
  #places = new Int32Array(least);

  /** `seed`: any whole number; whoever chooses ids must not know it. */
  constructor(isAt: IsAt, seed: number) {
    this.#isAt = isAt;
    this.#seed = seed;
  }

  get size(): number {
    return this.#size;
  }

  /** Of memory. */
  get bytes(): number {
    return this.#hashes.byteLength + this.#places.byteLength;
  }

  /** Undefined: nothing stands anywhere. */
  get(taskId: string): number | undefined {
    const slot = this.#slotOf(taskId, this.#hashOf(taskId));
    const place = this.#places[slot]! - 1;
    return place < 0 ? undefined : place;
  }

  /** Returns where it stood before, if anywhere. */
  set(taskId: string, place: number): number | undefined {
    const hash = this.#hashOf(taskId);
    const slot = this.#slotOf(taskId, hash);
    const before = this.#places[slot]! - 1;
    this.#hashes[slot] = hash;
    this.#places[slot] = place + 1;
    if (before >= 0) return before;
    this.#size += 1;
    if (2 * this.#size > this.#mask) this.#resize(2 * (this.#mask + 1));
    return undefined;
  }

  /** Whether it stands there still, where it once was set to. */
  stands(taskId: string, place: number): boolean {
    return this.#places[this.#slotWith(taskId, place)] !== 0;
  }

  /** The same; false: it did not. */
  delete(taskId: string, place: number): boolean {
    return this.#free(this.#slotWith(taskId, place));
  }

  /** Where it stood; undefined: nowhere. */
  take(taskId: string): number | undefined {
    const slot = this.#slotOf(taskId, this.#hashOf(taskId));
    const place = this.#places[slot]! - 1;
    return this.#free(slot) ? place : undefined;
  }

  #free(slot: number): boolean {
    if (this.#places[slot] === 0) return false;
    this.#size -= 1;
    this.#close(slot);
    const slots = this.#mask + 1;
    if (slots > least && 8 * this.#size < slots) this.#resize(slots / 2);
    return true;
  }

  clear(): void {
    this.#size = 0;
    this.#begin(least);
  }

  /** Where it stands, or the free slot where it would. */
  #slotOf(taskId: string, hash: number): number {
    let slot = hash & this.#mask;
    for (; this.#places[slot] !== 0; slot = (slot + 1) & this.#mask) {
      if (this.#hashes[slot] === hash && this.#isAt(this.#places[slot]! - 1, taskId)) break;
    }
    return slot;
  }

  /** Where that place stands, or a free slot. */
  #slotWith(taskId: string, place: number): number {
    let slot = this.#hashOf(taskId) & this.#mask;
    while (this.#places[slot] !== 0 && this.#places[slot] !== place + 1) {
      slot = (slot + 1) & this.#mask;
    }
    return slot;
  }

  /** What follows moves up, so that no search ends before it. */
  #close(slot: number): void {
    let hole = slot;
    for (let at = this.#next(hole); this.#places[at] !== 0; at = this.#next(at)) {
      const way = (at - this.#hashes[at]!) & this.#mask;
      if (way < ((at - hole) & this.#mask)) continue;
      this.#hashes[hole] = this.#hashes[at]!;
      this.#places[hole] = this.#places[at]!;
      hole = at;
    }
    this.#places[hole] = 0;
  }

  #next(slot: number): number {
    return (slot + 1) & this.#mask;
  }

  #begin(slots: number): void {
    this.#mask = slots - 1;
    this.#hashes = new Int32Array(slots);
    this.#places = new Int32Array(slots);
  }

  #resize(slots: number): void {
    const [hashes, places] = [this.#hashes, this.#places];
    this.#begin(slots);
    for (let from = 0; from < places.length; from += 1) {
      if (places[from] === 0) continue;
      let slot = hashes[from]! & this.#mask;
      while (this.#places[slot] !== 0) slot = this.#next(slot);
      this.#hashes[slot] = hashes[from]!;
      this.#places[slot] = places[from]!;
    }
  }

  #hashOf(taskId: string): number {
    let hash = this.#seed;
    for (let n = Math.max(0, taskId.length - hashedLetters); n < taskId.length; n += 1) {
      hash = Math.imul(hash ^ codeAt(taskId, n), 0x0100_0193);
    }
    return hash ^ (hash >>> 15);
  }
}
