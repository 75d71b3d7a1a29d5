import { limits } from "../../limits.js";
import type { Schedule, TickCounts } from "./schedule.js";
import { dueOf, nextTick } from "./timing.js";

export interface PlannedTick {
  readonly at: number;
  readonly outcome: "taken" | "skipped" | "waiting";
}

/** What to do with a schedule now. */
export interface Plan {
  readonly ticks: readonly PlannedTick[];
  readonly cursor: number;
  readonly dueAt: number | undefined;
  readonly waiting: readonly number[];
  /** With these ticks counted. */
  readonly counts: TickCounts;
  /** A tick waits only for tasks that this one is to cancel. */
  readonly cancels: boolean;
}

/**
 * Deals with the ticks that are due, in the order of their times: pure, so that two coordinators
 * that see the same decide the same. `busy`: a task of an earlier tick lives. Ticks of which there
 * is no room in one plan are due at once again.
 */
export function planTicks(schedule: Schedule, now: number, busy: boolean): Plan {
  return new Planning(schedule, now, busy).plan();
}

class Planning {
  readonly #schedule: Schedule;
  readonly #now: number;
  readonly #ticks: PlannedTick[] = [];
  #busy: boolean;
  #cursor: number;
  #waiting: readonly number[];
  #missed = 0;

  constructor(schedule: Schedule, now: number, busy: boolean) {
    this.#schedule = schedule;
    this.#now = now;
    this.#busy = busy;
    this.#cursor = schedule.cursor;
    this.#waiting = schedule.waiting;
  }

  plan(): Plan {
    this.#serveWaiting();
    this.#passMissed();
    this.#meetDue();
    const next = this.#next();
    const waits = this.#waiting.length > 0;
    return {
      ticks: this.#ticks,
      cursor: this.#cursor,
      dueAt: earliest(next && this.#dueOf(next), waits ? this.#lookAgainAt() : undefined),
      waiting: this.#waiting,
      counts: this.#counts(),
      cancels: waits && this.#schedule.overlap === "cancel_other",
    };
  }

  #next(): number | undefined {
    return nextTick(this.#schedule.timing, this.#cursor);
  }

  #dueOf(tick: number): number {
    return dueOf(this.#schedule, tick);
  }

  #hasRoom(): boolean {
    return this.#ticks.length < limits.ticksAtOnce;
  }

  #serveWaiting(): void {
    const [first, ...rest] = this.#waiting;
    if (first === undefined || this.#busy) return;
    this.#put(first, "taken");
    this.#waiting = rest;
    this.#busy = true;
  }

  /**
   * Ticks of before the window, which is counted from the end of a tick's jitter, as earlier ones
   * may hold it up so long. They are counted one by one up to a bound; what an outage of a year
   * leaves beyond it is passed over uncounted.
   */
  #passMissed(): void {
    const { catchUpMs, jitterMs } = this.#schedule;
    const oldest = this.#now - catchUpMs - jitterMs;
    for (let next = this.#next(); next !== undefined && next < oldest; next = this.#next()) {
      if (this.#missed === limits.missedTicksCounted) {
        this.#cursor = oldest - 1;
        return;
      }
      this.#missed += 1;
      this.#cursor = next;
    }
  }

  #meetDue(): void {
    let next = this.#next();
    while (next !== undefined && this.#dueOf(next) <= this.#now && this.#hasRoom()) {
      if (!this.#isDealtWith(next)) this.#meet(next);
      this.#cursor = next;
      next = this.#next();
    }
  }

  /** By a backfill, which may be ahead of the cursor. */
  #isDealtWith(tick: number): boolean {
    return this.#waiting.includes(tick) || this.#ticks.some(({ at }) => at === tick);
  }

  #meet(tick: number): void {
    const { overlap } = this.#schedule;
    if (overlap === "allow_all") return this.#put(tick, "taken");
    if (!this.#busy && this.#waiting.length === 0) {
      this.#busy = true;
      return this.#put(tick, "taken");
    }
    if (overlap === "cancel_other") {
      for (const replaced of this.#waiting) this.#put(replaced, "skipped");
      this.#waiting = [tick];
      return this.#put(tick, "waiting");
    }
    const room = { skip: 0, buffer_one: 1, buffer_all: limits.waitingTicks }[overlap];
    if (this.#waiting.length >= room) return this.#put(tick, "skipped");
    this.#waiting = [...this.#waiting, tick];
    this.#put(tick, "waiting");
  }

  #put(at: number, outcome: PlannedTick["outcome"]): void {
    const before = this.#ticks.findIndex((tick) => tick.at === at);
    if (before < 0) this.#ticks.push({ at, outcome });
    else this.#ticks[before] = { at, outcome };
  }

  /**
   * The end of a task is announced, but that may be lost: the longer a tick waits already, the more
   * seldom it is looked for.
   */
  #lookAgainAt(): number {
    const waitedMs = this.#now - this.#waiting[0]!;
    const { waitingLookMs, waitingLookMaxMs } = limits;
    return this.#now + Math.min(waitingLookMaxMs, Math.max(waitingLookMs, waitedMs / 10));
  }

  #counts(): TickCounts {
    const { taken, skipped, missed, refused } = this.#schedule.counts;
    const of = (outcome: PlannedTick["outcome"]) =>
      this.#ticks.filter((tick) => tick.outcome === outcome).length;
    return {
      taken: taken + of("taken"),
      skipped: skipped + of("skipped"),
      missed: missed + this.#missed,
      refused,
    };
  }
}

const earliest = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined ? b : b === undefined ? a : Math.min(a, b);
