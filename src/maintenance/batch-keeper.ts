import type { Clock } from "../clock.js";
import type { BatchWork } from "../coordinator/batches.js";
import { limits } from "../limits.js";
import { createLoop, createSequence, type Service } from "../service.js";
import type { Events } from "../telemetry/events.js";

export interface BatchKeeperOptions {
  readonly batches: BatchWork;
  readonly events: Events;
  readonly clock: Clock;
}

/** Nothing is heard: the sweep is the sure way. */
const idleMs = 60_000;
const failureMaxMs = 2_000;
const sweepMs = 5_000;
/** Between the pages of one sweep. */
const pageMs = 100;
/** Beyond it the sweep has to find them. */
const heardMax = 10_000;

/**
 * Minds all batches: looks at those of which tasks have just ended, many of them at once, and
 * sweeps slowly over all that may have something to come, for what a crash left.
 */
export function createBatchKeeper({ batches, events, clock }: BatchKeeperOptions): Service {
  const heard = new Set<string>();
  const onError = (error: unknown, name: string) =>
    events.emit("loop.failed", { loop: name, error });
  const checks = createLoop({
    name: "batches",
    clock,
    everyMs: idleMs,
    failureMaxMs,
    onError,
    async run(signal) {
      if (heard.size === 0) return undefined;
      await clock.sleep(limits.batchGatherMs, signal);
      const ids = [...heard].slice(0, limits.batchesAtOnce);
      for (const id of ids) heard.delete(id);
      await batches.check(ids);
      return heard.size > 0 ? 0 : undefined;
    },
  });
  let aboveId = "";
  const sweeps = createLoop({
    name: "batch-sweep",
    clock,
    everyMs: sweepMs,
    onError,
    async run() {
      aboveId = await batches.sweep(aboveId, limits.batchSweep);
      return aboveId === "" ? sweepMs : pageMs;
    },
  });
  batches.onEnded = (id) => {
    if (heard.size < heardMax) heard.add(id);
    checks.poke();
  };
  return createSequence([checks, sweeps], (error) => onError(error, "batches"));
}
