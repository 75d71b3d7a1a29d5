import type { Clock, Timer } from "../clock.js";

/**
 * Calls back what runs past its time, with one timer for all: nearly every attempt ends long before
 * its own, and a timer for each would cost more than the attempt does here.
 */
export class Deadlines<Item extends object> {
  readonly #clock: Clock;
  readonly #items = new Map<Item, Due>();
  #timer: Timer | undefined;
  /** When the timer fires, on the monotonic clock. */
  #armedAt = Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(item: Item, afterMs: number, onDue: () => void): void {
    const at = this.#clock.monotonic() + afterMs;
    this.#items.set(item, { at, onDue });
    if (at < this.#armedAt) this.#arm(at);
  }

  /** The timer stays: when it fires it finds what is due next, if anything. */
  delete(item: Item): void {
    this.#items.delete(item);
  }

  #arm(at: number): void {
    this.#timer?.cancel();
    this.#armedAt = at;
    const ms = Math.min(longestMs, Math.max(0, at - this.#clock.monotonic()));
    this.#timer = this.#clock.after(ms, () => this.#fire());
  }

  #fire(): void {
    this.#armedAt = Infinity;
    const now = this.#clock.monotonic();
    let next = Infinity;
    for (const [item, { at, onDue }] of this.#items) {
      if (at > now) {
        next = Math.min(next, at);
        continue;
      }
      this.#items.delete(item);
      onDue();
    }
    if (next < this.#armedAt) this.#arm(next);
  }
}

interface Due {
  readonly at: number;
  readonly onDue: () => void;
}

/** Timers take no more. */
const longestMs = 2 ** 31 - 1;
