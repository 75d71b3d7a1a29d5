import { systemClock } from "../../src/clock.js";

/** All that a process said, in order, and those who wait for it to say something. */
export interface Transcript<T> {
  readonly all: T[];
  add(item: T): void;
  /** The first that fits, said already or to come; rejects after `ms`, naming what came last. */
  next(what: string, fits: (item: T) => boolean, ms?: number): Promise<T>;
}

const patienceMs = 60_000;

export function createTranscript<T>(show: (item: T) => string): Transcript<T> {
  const all: T[] = [];
  const waiting = new Set<(item: T) => void>();
  return {
    all,
    add(item) {
      all.push(item);
      for (const tell of waiting) tell(item);
    },
    next(what, fits, ms = patienceMs) {
      const found = all.find(fits);
      if (found !== undefined) return Promise.resolve(found);
      return new Promise((resolve, reject) => {
        const timer = systemClock.after(ms, () => {
          waiting.delete(tell);
          const last = all.slice(-10).map(show).join("\n");
          reject(new Error(`no ${what} within ${ms} ms; the last that came:\n${last}`));
        });
        const tell = (item: T): void => {
          if (!fits(item)) return;
          waiting.delete(tell);
          timer.cancel();
          resolve(item);
        };
        waiting.add(tell);
      });
    },
  };
}
