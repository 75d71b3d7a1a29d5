import { sleepOn, type Clock, type Timer } from "../../src/clock.js";

export interface ManualClock extends Clock {
  /**
   * Moves time on, firing timers in their order, each at its own time; microtasks run in between.
   */
  advance(ms: number): Promise<void>;
  /** Steps the wall clock alone, as an operator or NTP would: durations are not touched. */
  stepWall(ms: number): void;
  /** Timers that wait. */
  readonly pending: number;
}

interface Waiting {
  readonly at: number;
  readonly order: number;
  readonly fn: () => void;
}

/**
 * A clock that stands still until it is moved: a simulated hour takes a millisecond. Starts in
 * 2026.
 */
export function createManualClock(startMs = Date.UTC(2026, 0, 1)): ManualClock {
  const timers = new Set<Waiting>();
  let elapsed = 0;
  let wallOffset = startMs;
  let order = 0;

  function earliest(until: number): Waiting | undefined {
    let first: Waiting | undefined;
    for (const timer of timers) {
      if (timer.at > until) continue;
      if (!first || timer.at < first.at || (timer.at === first.at && timer.order < first.order)) {
        first = timer;
      }
    }
    return first;
  }

  const clock: ManualClock = {
    now: () => wallOffset + elapsed,
    monotonic: () => elapsed,
    after(ms, fn): Timer {
      const timer = { at: elapsed + Math.max(0, ms), order: order++, fn };
      timers.add(timer);
      return { cancel: () => timers.delete(timer) };
    },
    sleep: (ms, signal) => sleepOn(clock, ms, signal),
    async advance(ms) {
      const until = elapsed + ms;
      await settleMicrotasks();
      for (let timer = earliest(until); timer; timer = earliest(until)) {
        timers.delete(timer);
        elapsed = Math.max(elapsed, timer.at);
        timer.fn();
        await settleMicrotasks();
      }
      elapsed = until;
    },
    stepWall(ms) {
      wallOffset += ms;
    },
    get pending() {
      return timers.size;
    },
  };
  return clock;
}

/**
 * Lets every promise that is ready run on. A macrotask turn drains them all, however deep they
 * chain.
 */
export const settleMicrotasks = (): Promise<void> =>
  new Promise((resolve) => setImmediate(resolve));
