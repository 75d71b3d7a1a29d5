import type { Broker, EnqueueOutcome } from "../broker/broker.js";
import type { Clock } from "../clock.js";
import type { History } from "../history/history.js";
import { limits } from "../limits.js";
import { createLoop, type Loop } from "../service.js";
import { partitionOfSlot, slotOfId } from "../task/ids.js";
import type { Task } from "../task/task.js";
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
      const looked = await history.staleMarkers(limits.commitMarkerIdleMs, markersAtOnce);
      if (looked.length === 0) return undefined;
      const times = await readTimes(
        broker,
        looked.flatMap(({ tasks }) => tasks),
      );
      // Read again: rows that are restored must be younger than the time they are restored with.
      const stale = await history.staleMarkers(limits.commitMarkerIdleMs, markersAtOnce);
      const done: string[] = [];
      let recovered = 0;
      for (const { marker, tasks } of stale) {
        const kinds = await restoreAt(broker, tasks, times);
        recovered += kinds.filter((kind) => kind === "enqueued").length;
        const left = kinds.some((kind) => !kind || kind === "too_old" || kind === "outbox_full");
        if (!left) done.push(marker);
      }
      if (recovered > 0) events.emit("commit.recovered", { tasks: recovered });
      if (done.length > 0) await history.clearMarkers(done);
      return stale.length === markersAtOnce && done.length > 0 ? 0 : undefined;
    },
  });
}

/** The time of each partition that these tasks live in, where its store answers. */
async function readTimes(broker: Broker, tasks: readonly Task[]): Promise<Map<number, number>> {
  const times = new Map<number, number>();
  const partitions = new Set(tasks.map((task) => partitionOf(broker, task)));
  for (const partition of partitions) {
    if (broker.serves(partition)) times.set(partition, await broker.now(partition));
  }
  return times;
}

/** Per task what the broker said; undefined where the store of its partition is away. */
async function restoreAt(
  broker: Broker,
  tasks: readonly Task[],
  times: ReadonlyMap<number, number>,
): Promise<(EnqueueOutcome["kind"] | undefined)[]> {
  const kinds = tasks.map((): EnqueueOutcome["kind"] | undefined => undefined);
  for (const [partition, asOf] of times) {
    const places = tasks.flatMap((task, at) =>
      partitionOf(broker, task) === partition ? [at] : [],
    );
    const outcomes = await restoreRows(
      broker,
      places.map((at) => tasks[at]!),
      asOf,
    );
    outcomes.forEach((outcome, nth) => (kinds[places[nth]!] = outcome.kind));
  }
  return kinds;
}

const partitionOf = ({ partitions }: Broker, { id }: Task): number =>
  partitionOfSlot(slotOfId(id), partitions);
