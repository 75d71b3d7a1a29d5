import { randomBytes, randomFillSync } from "node:crypto";

/** The only door to time: a simulated hour then takes a millisecond. */
export interface Clock {
  /**
   * Wall time in milliseconds since 1970. Decides nothing between processes: their clocks differ.
   */
  now(): number;
  /** Milliseconds that only grow; for durations. */
  monotonic(): number;
  /** Calls `fn` once after `ms`. The timer never keeps the process alive. */
  after(ms: number, fn: () => void): Timer;
  /** Resolves after `ms`; rejects with the signal's reason when it is aborted first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** Timers take no more, in ms: some 24.8 days. */
export const timerMaxMs = 2 ** 31 - 1;

export interface Timer {
  cancel(): void;
}

/** The only door to chance. */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** Bytes nobody can guess. */
  bytes(length: number): Uint8Array;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (ms, fn) => {
    const timer = setTimeout(fn, ms);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
  sleep: (ms, signal) => sleepOn(systemClock, ms, signal),
};

export const systemRandom: Random = {
  next: () => Math.random(),
  bytes(length) {
    if (length > drawn.length / 16) return randomBytes(length);
    if (used + length > drawn.length) {
      randomFillSync(drawn);
      used = 0;
    }
    used += length;
    return drawn.slice(used - length, used);
  },
};

/** Drawn ahead: asking the system for every id costs it a call each. */
const drawn = new Uint8Array(65_536);
let used = drawn.length;

/** Builds `sleep` from `after`; clocks share it so that they abort alike. */
export function sleepOn(
  clock: Pick<Clock, "after">,
  ms: number,
  signal?: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error);
    const onAbort = () => {
      timer.cancel();
      reject(signal?.reason as Error);
    };
    const timer = clock.after(ms, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
