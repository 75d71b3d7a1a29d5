import type { Lane } from "../broker/broker.js";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { laneKey } from "./lanes.js";
import type { Parts } from "./parts.js";

/** How long a queue is watched after its lanes ran out, in ms. */
const watchMs = 60_000;
const queuesMax = 1_000;

export const tooManyLanes = (queue: string): DroverError =>
  new DroverError(
    "too_many_lanes",
    `queue "${queue}" has ${limits.lanesPerQueue} kinds of task already`,
    { retryAfterMs: watchMs },
  );

/**
 * DURABLE tasks are committed before Redis can say that their queue has too many lanes. Once it has
 * said so, tasks of unknown lanes are refused before the commit, for a while.
 */
export class LaneGuard {
  readonly #parts: Parts;
  /** Known lanes of queues that are full, until a monotonic time. */
  readonly #full = new Map<string, { until: number; known: Set<string> }>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async ranOut(namespace: string, queue: string): Promise<void> {
    const lanes = await this.#parts.broker.lanes(namespace, queue);
    if (this.#full.size >= queuesMax) this.#full.clear();
    const until = this.#parts.clock.monotonic() + watchMs;
    this.#full.set(`${namespace}/${queue}`, { until, known: new Set(lanes.map(laneKey)) });
  }

  /** Costs nothing while no queue is full. */
  check(lane: Lane): void {
    if (this.#full.size === 0) return;
    const key = `${lane.namespace}/${lane.queue}`;
    const full = this.#full.get(key);
    if (!full) return;
    if (full.until <= this.#parts.clock.monotonic()) this.#full.delete(key);
    else if (!full.known.has(laneKey(lane))) throw tooManyLanes(lane.queue);
  }
}
