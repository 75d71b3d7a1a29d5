import { systemClock } from "../../src/clock.js";

/**
 * Things that came, in order, and those who wait for one of them. A wait takes what came before
 * it was asked, too.
 */
export interface Inbox<T> {
  readonly all: readonly T[];
  push(item: T): void;
  /**
   * The next item that fits; each item is given once. Rejects after `ms`, naming what came
   * instead.
   */
  next(what: string, fits?: (item: T) => boolean, ms?: number): Promise<T>;
  /** Items nobody has taken yet. */
  readonly waiting: readonly T[];
}

interface Waiter<T> {
  readonly fits: (item: T) => boolean;
  readonly resolve: (item: T) => void;
}

const patienceMs = 10_000;

export function createInbox<T>(show: (item: T) => string = String): Inbox<T> {
  const all: T[] = [];
  const untaken: T[] = [];
  const waiters = new Set<Waiter<T>>();
  return {
    all,
    push(item) {
      all.push(item);
      for (const waiter of waiters) {
        if (!waiter.fits(item)) continue;
        waiters.delete(waiter);
        return waiter.resolve(item);
      }
      untaken.push(item);
    },
    next(what, fits = () => true, ms = patienceMs) {
      const index = untaken.findIndex(fits);
      if (index >= 0) return Promise.resolve(untaken.splice(index, 1)[0]!);
      return new Promise((resolve, reject) => {
        const timer = systemClock.after(ms, () => {
          waiters.delete(waiter);
          const seen = untaken.map(show).join("; ") || "nothing else";
          reject(new Error(`no ${what} within ${ms} ms; came: ${seen}`));
        });
        const waiter: Waiter<T> = {
          fits,
          resolve(item) {
            timer.cancel();
            resolve(item);
          },
        };
        waiters.add(waiter);
      });
    },
    get waiting() {
      return untaken;
    },
  };
}
