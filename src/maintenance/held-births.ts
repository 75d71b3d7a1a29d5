import type { Births, Transition } from "../broker/broker.js";

/** What came in by one call. */
interface Held {
  readonly births: Births;
  /** Monotonic ms. */
  readonly givenAt: number;
  /** Still held of them. */
  left: number;
}

/** A birth that is held no longer. */
export interface Birth {
  readonly births: Births;
  readonly nth: number;
  readonly givenAt: number;
}

/** At most so many are taken together. */
export const birthsMost = 1_024;

/**
 * Births that wait for their time, or for the end of their task, which says all that they do:
 * nearly all. So each is no more than a number here, its call's and its own.
 */
export class HeldBirths {
  readonly #places = new Map<string, number>();
  /** By their numbers, the oldest first. */
  readonly #held = new Map<number, Held>();
  #calls = 0;
  #bytes = 0;

  get size(): number {
    return this.#places.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Monotonic ms at which the first of them was given. */
  get oldest(): number | undefined {
    for (const { givenAt } of this.#held.values()) return givenAt;
    return undefined;
  }

  add(births: Births, givenAt: number): void {
    const { ids } = births;
    const first = this.#calls * birthsMost;
    for (let nth = 0; nth < ids.length; nth += 1) this.#places.set(ids[nth]!, first + nth);
    this.#held.set(this.#calls, { births, givenAt, left: ids.length });
    this.#calls += 1;
    this.#bytes += births.bytes;
  }

  /** Whether it is the birth that this transition tells of. */
  has({ partition, outboxId, task }: Transition): boolean {
    const place = this.#places.get(task.id);
    if (place === undefined) return false;
    const nth = place % birthsMost;
    const { births } = this.#held.get((place - nth) / birthsMost)!;
    if (births.partition !== partition || births.version !== task.version) return false;
    return births.outboxIdOf(nth) === outboxId;
  }

  take(taskId: string): Birth | undefined {
    const place = this.#places.get(taskId);
    if (place === undefined) return undefined;
    this.#places.delete(taskId);
    const nth = place % birthsMost;
    const call = (place - nth) / birthsMost;
    const held = this.#held.get(call)!;
    const { births, givenAt } = held;
    this.#let(call, held, 1);
    return { births, nth, givenAt };
  }

  /** The oldest, as far as they were given by `until`, at most so many. */
  takeDue(until: number, most: number): Birth[] {
    const due: Birth[] = [];
    for (const [call, held] of this.#held) {
      if (held.givenAt > until || due.length >= most) break;
      const { births, givenAt } = held;
      const before = due.length;
      for (let nth = 0; nth < births.ids.length && due.length < most; nth += 1) {
        const taskId = births.ids[nth]!;
        if (this.#places.get(taskId) !== call * birthsMost + nth) continue;
        this.#places.delete(taskId);
        due.push({ births, nth, givenAt });
      }
      // Of one that was told twice, only the later place is known.
      const isOver = due.length < most;
      this.#let(call, held, isOver ? held.left : due.length - before);
    }
    return due;
  }

  clear(): void {
    this.#places.clear();
    this.#held.clear();
    this.#bytes = 0;
  }

  /** What they take is given back when all of a call have gone. */
  #let(call: number, held: Held, count: number): void {
    held.left -= count;
    if (held.left > 0) return;
    this.#held.delete(call);
    this.#bytes -= held.births.bytes;
  }
}
