import type { Births, CoveredBirths, RecordedBirths, Transition } from "../broker/broker.js";
import { ChurnMap } from "../churn.js";
import { limits } from "../limits.js";
import { Holders, holderOf, nthOf, placeOf } from "./holders.js";
import { Places } from "./places.js";

/** What came in by one call. */
interface Held {
  readonly births: Births;
  /** Monotonic ms. */
  readonly givenAt: number;
  /** Still held of them. */
  left: number;
  /** Of the others is known that their tasks have not ended. Undefined: nobody has looked. */
  ending: ReadonlySet<number> | undefined;
  /** Monotonic ms before which nobody looks again. */
  askAt: number;
}

/** A birth that is held no longer. */
export interface Birth {
  readonly births: Births;
  readonly nth: number;
  readonly givenAt: number;
}

/**
 * Which births may be taken: those of tasks known to go on, also those of which nobody has looked,
 * or also those whose ends somebody is about to record.
 */
export type Readiness = "judged" | "unjudged" | "any";

/**
 * Births that wait for their time, or for the end of their task, which says all that they do:
 * nearly all. So each is no more than a number here, its call's and its own.
 */
export class HeldBirths {
  readonly #places: Places;
  /** By their numbers, the oldest first. */
  readonly #held = new Holders<Held>();
  readonly #calls = new ChurnMap<Births, number>();
  #bytes = 0;

  /** `seed`: as of Places. */
  constructor(seed: number) {
    const idAt = (place: number): string => this.#held.of(place).births.ids[nthOf(place)]!;
    this.#places = new Places((place, taskId) => idAt(place) === taskId, seed);
  }

  get size(): number {
    return this.#places.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Monotonic ms at which the first of them was given. */
  get oldest(): number | undefined {
    for (const [, { givenAt }] of this.#held) return givenAt;
    return undefined;
  }

  /** At most `heldMost` tasks. */
  add(births: Births, givenAt: number): void {
    const { ids } = births;
    const left = ids.length;
    const call = this.#held.add({ births, givenAt, left, ending: undefined, askAt: 0 });
    for (let nth = 0; nth < left; nth += 1) this.#places.set(ids[nth]!, placeOf(call, nth));
    this.#calls.set(births, call);
    this.#bytes += births.bytes;
  }

  /** Whether it is the birth that this transition tells of. */
  has({ partition, outboxId, outboxPlace, task }: Transition): boolean {
    const place = this.#places.get(task.id);
    if (place === undefined) return false;
    const nth = nthOf(place);
    const { births } = this.#held.of(place);
    if (births.partition !== partition || births.version !== task.version) return false;
    return births.outboxIdOf(nth) === outboxId && births.outboxPlaceOf(nth) === outboxPlace;
  }

  take(taskId: string): Birth | undefined {
    const place = this.#places.take(taskId);
    if (place === undefined) return undefined;
    const held = this.#held.of(place);
    const { births, givenAt } = held;
    this.#let(holderOf(place), held, 1);
    return { births, nth: nthOf(place), givenAt };
  }

  /** The oldest, as far as they were given by `until` and are ready, at most so many. */
  takeDue(until: number, most: number, readiness: Readiness): Birth[] {
    const due: Birth[] = [];
    for (const [call, held] of this.#held) {
      if (held.givenAt > until || due.length >= most) break;
      const { births, givenAt, ending } = held;
      if (!ending && readiness === "judged") continue;
      const waiting = readiness === "any" ? undefined : ending;
      const before = due.length;
      for (const nth of this.#leftOf(call, births)) {
        if (due.length >= most) break;
        if (waiting?.has(nth)) continue;
        this.#places.delete(births.ids[nth]!, placeOf(call, nth));
        due.push({ births, nth, givenAt });
      }
      // Of one that was told twice, only the later place is known.
      const isOver = due.length < most && !waiting?.size;
      this.#let(call, held, isOver ? held.left : due.length - before);
    }
    return due;
  }

  /**
   * Of the oldest, as far as they were given by `until`, those of which it is to be seen whether
   * their tasks have ended: about as many as `most`. They are `judge`d next.
   */
  toAsk(until: number, now: number, most: number): RecordedBirths[] {
    const asked: RecordedBirths[] = [];
    let count = 0;
    for (const [call, held] of this.#held) {
      const { births, givenAt, ending } = held;
      if (givenAt > until || count >= most) break;
      if (held.askAt > now || ending?.size === 0) continue;
      if (now - givenAt > limits.outboxIdleMs) {
        // Whoever was to record the ends did not: an outbox drain will.
        held.ending = none;
        continue;
      }
      const left = this.#leftOf(call, births);
      const nths = ending ? left.filter((nth) => ending.has(nth)) : left;
      if (nths.length === 0) continue;
      count += nths.length;
      asked.push({ births, nths });
    }
    return asked;
  }

  /**
   * What was found of these births. Answers those that are let go, because history holds the ends
   * of their tasks.
   */
  judge(births: Births, { recorded, told }: CoveredBirths, askAgainAt: number): number[] {
    const call = this.#calls.get(births);
    if (call === undefined) return [];
    const held = this.#held.get(call)!;
    const { ids } = births;
    const over = recorded.filter((nth) => this.#places.delete(ids[nth]!, placeOf(call, nth)));
    held.ending = told.length > 0 ? new Set(told) : none;
    held.askAt = askAgainAt;
    this.#let(call, held, over.length);
    return over;
  }

  clear(): void {
    this.#places.clear();
    this.#held.clear();
    this.#calls.clear();
    this.#bytes = 0;
  }

  #leftOf(call: number, { ids }: Births): number[] {
    const left: number[] = [];
    for (let nth = 0; nth < ids.length; nth += 1) {
      if (this.#places.stands(ids[nth]!, placeOf(call, nth))) left.push(nth);
    }
    return left;
  }

  /** What they take is given back when all of a call have gone. */
  #let(call: number, held: Held, count: number): void {
    held.left -= count;
    if (held.left > 0) return;
    this.#held.delete(call);
    this.#calls.delete(held.births);
    this.#bytes -= held.births.bytes;
  }
}

const none: ReadonlySet<number> = new Set();
