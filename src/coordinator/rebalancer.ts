import { limits } from "../limits.js";
import { createLoop, type Loop } from "../service.js";
import type { Parts } from "./parts.js";
import type { SessionBook } from "./session-book.js";

const everyMs = 2_000;
/** A coordinator that has just started or lost a peer waits, so that workers settle first. */
const settleMs = 10_000;
const spreadMs = 2_000;

/**
 * Streams live long, so a new coordinator would stay idle: one with over 1.25 x the mean asks some
 * to move.
 */
export class Rebalancer {
  readonly #parts: Parts;
  readonly #sessions: SessionBook;
  readonly #loop: Loop;
  readonly #startedAt: number;
  #peers = 1;
  #changedAt: number;
  /** Coordinators alive, by the last look. */
  get peers(): number {
    return this.#peers;
  }

  constructor(parts: Parts, sessions: SessionBook) {
    this.#parts = parts;
    this.#sessions = sessions;
    this.#startedAt = parts.clock.now();
    this.#changedAt = parts.clock.monotonic();
    this.#loop = createLoop({
      name: "rebalance",
      clock: parts.clock,
      everyMs,
      run: async () => {
        await this.look();
        return undefined;
      },
      onError: (error, loop) => parts.events.emit("loop.failed", { loop, error }),
    });
  }

  start(): Promise<void> {
    return this.#loop.start();
  }
  stop(): Promise<void> {
    return this.#loop.stop();
  }

  async look(): Promise<void> {
    const { coordinatorId, clock } = this.#parts;
    const mine = this.#sessions.size;
    const all = await this.#parts.broker.announce({
      coordinatorId,
      sessions: mine,
      startedAt: this.#startedAt,
    });
    if (all.length !== this.#peers) {
      this.#peers = all.length;
      this.#changedAt = clock.monotonic();
    }
    if (clock.monotonic() - this.#changedAt < settleMs) return;
    const surplus = surplusOf(mine, all);
    if (surplus > 0) {
      this.#sessions.goAway("rebalance", surplus, spreadMs);
      this.#changedAt = clock.monotonic();
    }
  }
}

/** How many sessions should move away: none up to 1.25 x the mean, then down to the mean. */
export function surplusOf(mine: number, all: readonly { readonly sessions: number }[]): number {
  if (all.length < 2) return 0;
  const mean = all.reduce((sum, { sessions }) => sum + sessions, 0) / all.length;
  if (mine <= mean * limits.rebalanceRatio || mine - mean < 1) return 0;
  return mine - Math.ceil(mean);
}
