import type { Lane } from "../broker/broker.js";
import { createLoop, type Loop } from "../service.js";
import type { Dispatcher } from "./dispatcher.js";
import type { Parts } from "./parts.js";

/** Longest wait for a wake-up before the lanes are looked at anew. */
const waitMs = 2_000;
/** Pause while the store of the partition is away. */
const awayMs = 250;
/** Pause while nobody here has room: ended by the next free slot. */
const parkedMs = 60_000;

/** Waits for work in one partition while there is room for it here; costs nothing otherwise. */
export class WakeLoop {
  readonly #parts: Parts;
  readonly #partition: number;
  readonly #dispatcher: Dispatcher;
  readonly #loop: Loop;
  #waitingOn: ReadonlyMap<string, Lane> | undefined;
  #change = new AbortController();

  constructor(parts: Parts, partition: number, dispatcher: Dispatcher) {
    this.#parts = parts;
    this.#partition = partition;
    this.#dispatcher = dispatcher;
    this.#loop = createLoop({
      name: `wake-${partition}`,
      clock: parts.clock,
      everyMs: 100,
      run: (signal) => this.#round(signal),
      onError: (error, loop) => parts.events.emit("loop.failed", { loop, error }),
    });
  }

  start(): Promise<void> {
    return this.#loop.start();
  }

  async stop(): Promise<void> {
    const stopped = this.#loop.stop();
    this.#change.abort();
    await stopped;
  }

  /** There is unmet demand: wait for these lanes too. */
  want(): void {
    if (!this.#waitingOn) {
      this.#loop.poke();
      return;
    }
    for (const key of this.#dispatcher.wantedLanes(this.#partition).keys()) {
      if (!this.#waitingOn.has(key)) return this.#change.abort();
    }
  }

  async #round(signal: AbortSignal): Promise<number> {
    const wanted = this.#dispatcher.wantedLanes(this.#partition);
    if (wanted.size === 0) return parkedMs;
    if (!this.#parts.broker.serves(this.#partition)) return awayMs;
    this.#change = new AbortController();
    this.#waitingOn = wanted;
    let lane: Lane | undefined;
    try {
      const either = AbortSignal.any([signal, this.#change.signal]);
      lane = await this.#parts.broker.waitForWork(
        this.#partition,
        [...wanted.values()],
        waitMs,
        either,
      );
    } catch (error) {
      if (!signal.aborted && !this.#change.signal.aborted) throw error;
    } finally {
      this.#waitingOn = undefined;
    }
    // A marker that nobody here can use goes back, for another coordinator or a later slot.
    if (lane && !this.#dispatcher.woken(lane)) await this.#parts.broker.wake(lane);
    return 0;
  }
}
