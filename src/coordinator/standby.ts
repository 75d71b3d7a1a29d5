import { ChurnMap } from "../churn.js";
import type { Clock, Timer } from "../clock.js";
import type { Held } from "./worker-session.js";

/** So many results in a row, or those of all slots, have to come soon before a lease stands by. */
const fastMin = 8;
/**
 * So many may stand by, or twice a session's slots. A worker of few slots runs little between two
 * frames, and the store's calls would be for as little: with one slot it ends 4 times as many
 * tasks of no duration so, with 10 slots 2.4 times.
 */
const standbyMost = 128;
/** A result that comes so soon after the delivery of its lease, in ms, is of a fast task. */
const fastMs = 25;
/** What stands by is what the session ends in one to two of these spans, in ms. */
const spanMs = 10;
/** A lease that could not be sent for so long, in ms, goes back. */
export const standbyMs = 50;
/** After one went back none stands by for so long, in ms. */
export const restMs = 1_000;

/** Of a lease, beside its payload, about. */
const recordBytes = 512;

/** How fast a session ends its tasks, by its last results. */
class Pace {
  /** Results in a row that came soon. */
  #fast = 0;
  /** Results of this span, and of the one before. */
  #now = 0;
  #before = 0;
  #span = 0;

  /** `oldest`: when the lease among them that was sent first was sent. */
  ended(results: number, oldest: number, now: number): void {
    this.#fast = now - oldest <= fastMs ? this.#fast + results : 0;
    this.#turnTo(now);
    this.#now += results;
  }

  /**
   * Leases that such a session has room for in no time: of more than its slots, what it ends in a
   * span at most.
   */
  most(slots: number, now: number): number {
    if (this.#fast < Math.max(slots, fastMin)) return 0;
    this.#turnTo(now);
    const ended = this.#now + this.#before;
    const most = Math.max(2 * slots, standbyMost);
    return Math.min(ended, most, Math.max(slots, Math.floor(ended / 2)));
  }

  #turnTo(now: number): void {
    const span = Math.floor(now / spanMs);
    if (span === this.#span) return;
    this.#before = span === this.#span + 1 ? this.#now : 0;
    this.#now = 0;
    this.#span = span;
  }
}

/**
 * Leases of a session that its worker does not know of: they leave in the turn in which results
 * make room for them, so that it runs them while the store settles those results and grants the
 * next ones. At most 128, or twice as many as the session has slots, of at most a frame's bytes,
 * for at most 50 ms, and only while it ends its tasks so fast that none waits longer than it would
 * have waited for a lease call.
 */
export class Standby {
  readonly #clock: Pick<Clock, "monotonic" | "after">;
  readonly #goBack: (held: Held) => void;
  /** In the order of their grants. */
  readonly #leases = new ChurnMap<string, Held>();
  readonly #pace = new Pace();
  #restsUntil = 0;
  #timer: Timer | undefined;
  bytes = 0;

  constructor(clock: Pick<Clock, "monotonic" | "after">, goBack: (held: Held) => void) {
    this.#clock = clock;
    this.#goBack = goBack;
  }

  get size(): number {
    return this.#leases.size;
  }

  /** `oldest`: when the lease among them that was sent first was sent, in monotonic ms. */
  ended(results: number, oldest: number): void {
    this.#pace.ended(results, oldest, this.#clock.monotonic());
  }

  /** How many leases may stand by, of a session of so many slots that takes so many bytes. */
  most(slots: number, maxBytes: number): number {
    const now = this.#clock.monotonic();
    if (now < this.#restsUntil || this.bytes > maxBytes / 2) return 0;
    return this.#pace.most(slots, now);
  }

  add(key: string, held: Held): void {
    this.#leases.set(key, held);
    this.bytes += bytesOf(held);
    if (!this.#timer) this.#arm(standbyMs);
  }

  /** Takes so many away, or all; those first that were granted first. */
  take(count: number, each: (held: Held, key: string) => void): void {
    let left = count;
    for (const [key, held] of this.#leases) {
      if (left <= 0) return;
      left -= 1;
      this.drop(key);
      each(held, key);
    }
  }

  drop(key: string): Held | undefined {
    const held = this.#leases.get(key);
    if (!held) return undefined;
    this.#leases.delete(key);
    this.bytes -= bytesOf(held);
    return held;
  }

  dropTask(taskId: string): Held | undefined {
    for (const [key, held] of this.#leases) {
      if (held.lease.task.id === taskId) return this.drop(key);
    }
    return undefined;
  }

  has(key: string): boolean {
    return this.#leases.has(key);
  }

  held(): Iterable<Held> {
    return this.#leases.values();
  }

  /** All go back at once: the session is to get no more. */
  clear(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.take(this.size, this.#goBack);
  }

  /** Results that came while this process was held up are read before the second timer. */
  #arm(ms: number): void {
    this.#timer = this.#clock.after(ms, () => {
      this.#timer = this.#clock.after(1, () => this.#due());
    });
  }

  #due(): void {
    this.#timer = undefined;
    const now = this.#clock.monotonic();
    for (const [key, held] of this.#leases) {
      const leftMs = held.since + standbyMs - now;
      if (leftMs > 0) return this.#arm(leftMs);
      this.drop(key);
      this.#restsUntil = now + restMs;
      this.#goBack(held);
    }
  }
}

const bytesOf = ({ lease }: Held): number => recordBytes + (lease.task.payload?.data.length ?? 0);
