import type { Broker } from "../broker/broker.js";
import type { Clock } from "../clock.js";
import type { History } from "../history/history.js";
import { limits } from "../limits.js";
import { createLoop, type Loop } from "../service.js";
import type { Events } from "../telemetry/events.js";
import { restoreRows } from "./restore.js";

export interface MarkerRecoveryOptions {
  readonly broker: Broker;
  readonly history: History;
  readonly events: Events;
  readonly clock: Clock;
}

const everyMs = 2_000;
/** Each names up to 1,000 rows, and they come with their payloads. */
const markersAtOnce = 4;

/**
 * Commits that never reached the broker: their coordinator died in between, or the broker was away.
 */
export function createMarkerRecovery(options: MarkerRecoveryOptions): Loop {
  const { broker, history, clock, events } = options;
  return createLoop({
    name: "marker-recovery",
    clock,
    everyMs,
    onError: (error, loop) => events.emit("loop.failed", { loop, error }),
    async run() {
      if (!broker.available || !history.available) return undefined;
      const asOf = await broker.now();
      const stale = await history.staleMarkers(limits.commitMarkerIdleMs, markersAtOnce);
      if (stale.length === 0) return undefined;
      const done: string[] = [];
      let recovered = 0;
      for (const { marker, tasks } of stale) {
        const outcomes = await restoreRows(broker, tasks, asOf);
        const kinds = outcomes.map((outcome) => outcome.kind);
        recovered += kinds.filter((kind) => kind === "enqueued").length;
        if (!kinds.some((kind) => kind === "too_old" || kind === "outbox_full")) done.push(marker);
      }
      if (recovered > 0) events.emit("commit.recovered", { tasks: recovered });
      if (done.length > 0) await history.clearMarkers(done);
      return stale.length === markersAtOnce && done.length > 0 ? 0 : undefined;
    },
  });
}
