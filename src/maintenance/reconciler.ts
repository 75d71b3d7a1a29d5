import { createLoop, type Service } from "../service.js";
import { mustOpen, rebuild, type RebuildOptions } from "./rebuild.js";

export interface ReconcilerOptions extends RebuildOptions {
  /** The store came back with holes that only a look at every live row finds. */
  onReopened(partition: number): void;
}

const everyMs = 1_000;
/** Each holds a connection to Postgres for its lock, for 15 s and more. */
const rebuildsMax = 4;

/** Rebuilds under way, a few at a time, and the COLD partitions that wait for their turn. */
class Rebuilds {
  readonly #options: ReconcilerOptions;
  readonly #onError: (error: unknown, loop: string) => void;
  readonly #running = new Map<number, Promise<void>>();
  readonly #waiting = new Set<number>();
  /** Monotonic ms at which a partition was first seen COLD. */
  readonly #coldSince = new Map<number, number>();
  #stopping = new AbortController();

  constructor(options: ReconcilerOptions, onError: (error: unknown, loop: string) => void) {
    this.#options = options;
    this.#onError = onError;
  }

  start(): void {
    this.#stopping = new AbortController();
  }

  abort(): void {
    this.#stopping.abort(new Error("the reconciler is stopping"));
    this.#waiting.clear();
  }

  async ended(): Promise<void> {
    await Promise.all(this.#running.values());
  }

  /** True: nobody has seen it COLD before. */
  cold(partition: number): boolean {
    if (this.#coldSince.has(partition)) return false;
    this.#coldSince.set(partition, this.#options.clock.monotonic());
    return true;
  }

  served(partition: number): void {
    this.#coldSince.delete(partition);
    this.#waiting.delete(partition);
  }

  begin(partition: number): void {
    const since = this.#coldSince.get(partition);
    if (since === undefined || this.#running.has(partition)) return;
    if (this.#running.size >= rebuildsMax) {
      this.#waiting.add(partition);
      return;
    }
    this.#waiting.delete(partition);
    this.#running.set(partition, this.#bringBack(partition, since));
  }

  async #bringBack(partition: number, since: number): Promise<void> {
    const { signal } = this.#stopping;
    try {
      const how = await rebuild(this.#options, partition, since, signal);
      if (how) this.#coldSince.delete(partition);
      if (how === "reopened") this.#options.onReopened(partition);
    } catch (error) {
      if (!signal.aborted) this.#onError(error, `rebuild-${partition}`);
    } finally {
      this.#running.delete(partition);
      const [next] = this.#waiting;
      if (next !== undefined && !signal.aborted) this.begin(next);
    }
  }
}

/**
 * Watches for partitions that are not served, and brings them back from history: one path for an
 * emptied store, a store that came back as another process, a partition that another node of a
 * Cluster has taken over, the memory broker after a restart, and the first start of all.
 */
export function createReconciler(options: ReconcilerOptions): Service {
  const { broker, history, clock, events } = options;
  const onError = (error: unknown, loop: string) => events.emit("loop.failed", { loop, error });
  const rebuilds = new Rebuilds(options, onError);

  async function look(partition: number): Promise<void> {
    if (!broker.serves(partition)) return;
    const status = await broker.status(partition);
    if (!mustOpen(status)) {
      rebuilds.served(partition);
      return;
    }
    if (rebuilds.cold(partition)) {
      const reason =
        status.openedOn === "" ? "the store is empty or new" : "the store was replaced";
      events.emit("partition.cold", { partition, reason });
    }
    // Without history nothing may open; it says itself when it is back.
    if (history.available) rebuilds.begin(partition);
  }

  const watch = createLoop({
    name: "reconciler",
    clock,
    everyMs,
    failureMaxMs: everyMs,
    onError,
    async run() {
      if (!broker.available) return undefined;
      const looks = await Promise.allSettled(
        Array.from({ length: broker.partitions }, (_, partition) => look(partition)),
      );
      // One that is away must not keep the others from being opened.
      const failed = looks.find((one) => one.status === "rejected");
      if (failed) throw failed.reason;
      return undefined;
    },
  });

  return {
    async start() {
      rebuilds.start();
      await watch.start();
    },
    async stop() {
      rebuilds.abort();
      await watch.stop();
      await rebuilds.ended();
    },
  };
}
