import { createLoop, type Service } from "../service.js";
import { mustOpen, rebuild, type RebuildOptions } from "./rebuild.js";

export interface ReconcilerOptions extends RebuildOptions {
  /** The store came back with holes that only a look at every live row finds. */
  onReopened(partition: number): void;
}

const everyMs = 1_000;
/** Each holds a connection to Postgres for its lock, for 15 s and more. */
const rebuildsMax = 4;

/**
 * Watches for partitions that are not served, and brings them back from history: one path for an
 * emptied store, a store that came back as another process, the memory broker after a restart, and
 * the first start of all.
 */
export function createReconciler(options: ReconcilerOptions): Service {
  const { broker, history, clock, events } = options;
  const coldSince = new Map<number, number>();
  const rebuilds = new Map<number, Promise<void>>();
  let stopping = new AbortController();
  const onError = (error: unknown, loop: string) => {
    if (!stopping.signal.aborted) events.emit("loop.failed", { loop, error });
  };

  async function bringBack(partition: number, since: number): Promise<void> {
    try {
      const how = await rebuild(options, partition, since, stopping.signal);
      if (how) coldSince.delete(partition);
      if (how === "reopened") options.onReopened(partition);
    } catch (error) {
      onError(error, `rebuild-${partition}`);
    } finally {
      rebuilds.delete(partition);
    }
  }

  async function look(partition: number): Promise<void> {
    const status = await broker.status(partition);
    if (!mustOpen(status)) {
      coldSince.delete(partition);
      return;
    }
    if (!coldSince.has(partition)) {
      coldSince.set(partition, clock.monotonic());
      const reason =
        status.openedOn === "" ? "the store is empty or new" : "the store was replaced";
      events.emit("partition.cold", { partition, reason });
    }
    // Without history nothing may open; it says itself when it is back.
    if (!history.available || rebuilds.has(partition) || rebuilds.size >= rebuildsMax) return;
    rebuilds.set(partition, bringBack(partition, coldSince.get(partition)!));
  }

  const watch = createLoop({
    name: "reconciler",
    clock,
    everyMs,
    failureMaxMs: everyMs,
    onError,
    async run() {
      if (!broker.available) return undefined;
      await Promise.all(
        Array.from({ length: broker.partitions }, (_, partition) => look(partition)),
      );
      return undefined;
    },
  });

  return {
    async start() {
      stopping = new AbortController();
      await watch.start();
    },
    async stop() {
      stopping.abort(new Error("the reconciler is stopping"));
      await watch.stop();
      await Promise.all(rebuilds.values());
    },
  };
}
