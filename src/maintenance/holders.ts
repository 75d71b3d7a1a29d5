import { ChurnMap } from "../churn.js";

/*
 * A place says which holder something of a task stands in, and where there, in 30 bits: V8 keeps
 * such a number without an object.
 */

const nthBits = 10;
/** What one of them holds, at most. */
export const heldMost = 2 ** nthBits;
/** A power of two. More than there is room for at a time. */
const numbers = 2 ** 20;

export const placeOf = (holder: number, nth: number): number => holder * heldMost + nth;
export const nthOf = (place: number): number => place & (heldMost - 1);
export const holderOf = (place: number): number => place >> nthBits;

/** What holds tasks side by side, by numbers that are given again once they are free. */
export class Holders<T> implements Iterable<[number, T]> {
  readonly #holders = new ChurnMap<number, T>();
  #next = 0;

  /** Returns its number. */
  add(holder: T): number {
    while (this.#holders.has(this.#next)) this.#next = (this.#next + 1) % numbers;
    const number = this.#next;
    this.#holders.set(number, holder);
    this.#next = (number + 1) % numbers;
    return number;
  }

  get(number: number): T | undefined {
    return this.#holders.get(number);
  }

  /** The one that this place is in. */
  of(place: number): T {
    return this.#holders.get(holderOf(place))!;
  }

  /** It holds nothing any more. */
  delete(number: number): void {
    this.#holders.delete(number);
  }

  clear(): void {
    this.#holders.clear();
  }

  /** With their numbers, the oldest first. */
  [Symbol.iterator](): MapIterator<[number, T]> {
    return this.#holders[Symbol.iterator]();
  }
}
