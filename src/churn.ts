/*
 * Maps for what comes and goes: a task under way, a call without its answer.
 *
 * V8 keeps the entries of a Map in a table that is replaced when it is full of deleted ones, and
 * the old table points to its successor, for the sake of iterators. Once one of them has grown old
 * and died, that pointer keeps its successor from being collected young, which then grows old, dies
 * and keeps the next: until a full collection, whatever stood in any of them is dragged along, and
 * collecting costs many times as much. A fresh Map now and then ends the chain.
 */

/** So many deletions at least before a fresh one is worth its copy. */
const renewAfter = 256;

/**
 * A Map for entries that live briefly, a great many of them in turn. Nothing may be added while
 * someone iterates.
 */
export class ChurnMap<Key, Value> implements Iterable<[Key, Value]> {
  #entries = new Map<Key, Value>();
  #deleted = 0;

  get size(): number {
    return this.#entries.size;
  }

  has(key: Key): boolean {
    return this.#entries.has(key);
  }

  get(key: Key): Value | undefined {
    return this.#entries.get(key);
  }

  set(key: Key, value: Value): this {
    if (this.#deleted >= renewAfter && this.#deleted >= 2 * this.#entries.size) {
      this.#deleted = 0;
      this.#entries = new Map(this.#entries);
    }
    this.#entries.set(key, value);
    return this;
  }

  delete(key: Key): boolean {
    const entries = this.#entries;
    if (!entries.delete(key)) return false;
    this.#deleted += 1;
    return true;
  }

  clear(): void {
    this.#deleted = 0;
    this.#entries = new Map();
  }

  keys(): MapIterator<Key> {
    return this.#entries.keys();
  }

  values(): MapIterator<Value> {
    return this.#entries.values();
  }

  [Symbol.iterator](): MapIterator<[Key, Value]> {
    return this.#entries.entries();
  }
}
