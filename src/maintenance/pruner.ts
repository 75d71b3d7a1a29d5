import type { Clock } from "../clock.js";
import type { History } from "../history/history.js";
import { limits } from "../limits.js";
import { createLoop, type Loop } from "../service.js";
import type { Events } from "../telemetry/events.js";

export interface PrunerOptions {
  readonly history: History;
  readonly events: Events;
  readonly clock: Clock;
}

const everyMs = 60_000;
const sliceRows = 1_000;
/** Between slices, so that a large backlog of old rows never crowds out the work of now. */
const pauseMs = 100;

/** Takes ended rows out of history once their retention is over. One coordinator at a time. */
export function createPruner({ history, events, clock }: PrunerOptions): Loop {
  return createLoop({
    name: "pruner",
    clock,
    everyMs,
    failureMaxMs: everyMs,
    onError: (error, loop) => events.emit("loop.failed", { loop, error }),
    async run(signal) {
      if (!history.available) return undefined;
      await history.exclusively("prune", async (held) => {
        while (!held.aborted && !signal.aborted) {
          const rows = await history.prune(sliceRows);
          const ticks = await history.schedules.pruneTicks(limits.tickKeepMs, sliceRows);
          const batches = await history.batches.prune(limits.batchKeepMs, sliceRows);
          if (Math.max(rows, ticks, batches) < sliceRows) return;
          await clock.sleep(pauseMs, signal);
        }
      });
      return undefined;
    },
  });
}
