import { type Clock, type Timer, timerMaxMs } from "../clock.js";

/** What may run past its time. */
interface Due {
  /** On the monotonic clock, in ms; Infinity: never. */
  readonly dueAt: number;
}

export interface DeadlineOptions<Item extends Due> {
  readonly clock: Clock;
  /** All that run now. */
  readonly running: () => readonly Item[];
  /** Called once for each that is over its time and runs still, within a timer's lateness. */
  readonly onDue: (item: Item) => void;
}

/**
 * Calls back what runs past its time, with one timer for all: nearly every attempt ends long before
 * its own, and a timer or an entry for each would cost more than the attempt does here.
 */
export class Deadlines<Item extends Due> {
  readonly #options: DeadlineOptions<Item>;
  readonly #told = new WeakSet<Item>();
  #timer: Timer | undefined;
  /** When the timer fires, on the monotonic clock. */
  #armedAt = Infinity;

  constructor(options: DeadlineOptions<Item>) {
    this.#options = options;
  }

  /** It runs from now on. The timer stays when it ends: it finds what is due next, if anything. */
  began({ dueAt }: Item): void {
    if (dueAt < this.#armedAt) this.#arm(dueAt);
  }

  #arm(at: number): void {
    const { clock } = this.#options;
    this.#timer?.cancel();
    this.#armedAt = at;
    const ms = Math.min(timerMaxMs, Math.max(0, at - clock.monotonic()));
    this.#timer = clock.after(ms, () => this.#fire());
  }

  #fire(): void {
    const { clock, running, onDue } = this.#options;
    this.#armedAt = Infinity;
    const now = clock.monotonic();
    let next = Infinity;
    for (const item of running()) {
      if (this.#told.has(item)) continue;
      if (item.dueAt > now) {
        next = Math.min(next, item.dueAt);
        continue;
      }
      this.#told.add(item);
      onDue(item);
    }
    if (next < this.#armedAt) this.#arm(next);
  }
}
