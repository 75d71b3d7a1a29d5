import { type Clock, type Random, systemClock, systemRandom } from "../clock.js";
import { DroverError } from "../errors.js";
import { wholeOf } from "../task/fresh-task.js";
import { uuidText } from "../task/uuid.js";
import type { History } from "./history.js";
import { createMemoryBatches } from "./memory/batches.js";
import { addLogs, logs } from "./memory/logs.js";
import * as reads from "./memory/reads.js";
import { createMemorySchedules } from "./memory/schedules.js";
import { createMemoryHistoryStore, keyOf, type MemoryHistoryStore } from "./memory/store.js";
import * as writes from "./memory/writes.js";
import { cursorOf } from "./rules.js";

export interface MemoryHistoryOptions {
  readonly clock?: Clock;
  readonly random?: Random;
  /** What is kept; give several histories one to let them share it. */
  readonly store?: MemoryHistoryStore;
  /** While it answers true every call rejects as if the store did not answer. */
  readonly isDown?: () => boolean;
}

/**
 * History without a database, for `drover dev --memory`, simulation and tests: the promises H1 to
 * H8, but none beyond the life of the process. It grows with what it is told until `prune`.
 */
export function createMemoryHistory(options: MemoryHistoryOptions = {}): History {
  const { clock = systemClock, random = systemRandom, isDown = () => false } = options;
  const store = options.store ?? createMemoryHistoryStore();
  const newMarker = (): string => uuidText(random.bytes(16));
  let running = false;

  /** Runs `work` in one step: nothing here waits, so nobody sees half of it. */
  async function step<T>(work: (now: number) => T): Promise<T> {
    if (isDown()) {
      throw new DroverError("history_unavailable", "the memory history was told to be down");
    }
    return work(clock.now());
  }

  return {
    ...settingsOf(store, step),
    start: () => step(() => void (running = true)),
    async stop() {
      running = false;
    },
    get available() {
      return running && !isDown();
    },
    insert: (tasks) => step((now) => writes.insert(store, tasks.map(wholeOf), newMarker(), now)),
    clearMarkers: (markers) => step(() => writes.clearMarkers(store, markers)),
    staleMarkers: (idleMs, limit) => step((now) => reads.staleMarkers(store, now, idleMs, limit)),
    prepare: (told) => told,
    sheets: undefined,
    record: (transitions) => step((now) => writes.record(store, transitions, now)),
    cancelLive: (space, id, why) => step((now) => writes.cancelLive(store, space, id, why, now)),
    revive: (namespace, taskIds) =>
      step((now) => writes.revive(store, namespace, taskIds, newMarker(), now)),
    purge: (namespace, taskIds) => step(() => writes.purge(store, namespace, taskIds)),
    get: (namespace, taskIds) =>
      step((now) => taskIds.map((id) => reads.read(reads.find(store, namespace, id), now))),
    list: (query) => step((now) => reads.list(store, query, now)),
    match: (query) => step((now) => reads.match(store, query, now)),
    attempts: (namespace, taskId) => step(() => reads.attemptsOf(store, namespace, taskId)),
    addLogs: (entries) => step(() => addLogs(store, entries)),
    logs: (query) => step(() => logs(store, query)),
    haveLogs: (places) =>
      step(() => places.map((place) => logs(store, { ...place, limit: 1 }).length > 0)),
    keyHolder: (namespace, queue, key) =>
      step((now) => reads.holderOf(store, keyOf(namespace, queue, key), now)),
    finalCounts: (namespace) => step(() => reads.finalCounts(store, namespace)),
    liveTasks: (partition, partitions, afterId, limit) =>
      step((now) => reads.liveTasks(store, partition, partitions, afterId, limit, now)),
    recentlyEnded: (partition, partitions, withinMs, limit) =>
      step((now) =>
        reads.recentlyEnded(store, partition, partitions, now - withinMs).slice(0, limit),
      ),
    liveCount: (namespace) => step(() => reads.liveCount(store, namespace)),
    async exclusively(name, work) {
      if (!(await step(() => !store.held.has(name) && store.held.add(name)))) return undefined;
      try {
        return await work(new AbortController().signal);
      } finally {
        store.held.delete(name);
      }
    },
    prune: (limit) => step((now) => writes.prune(store, limit, now)),
    schedules: createMemorySchedules({ store, newMarker, step }),
    batches: createMemoryBatches({ store, newMarker, step }),
  };
}

type Step = <T>(work: (now: number) => T) => Promise<T>;

/** Queues, partitions, epochs: what stands beside the tasks. */
const settingsOf = (
  store: MemoryHistoryStore,
  step: Step,
): Pick<
  History,
  "queue" | "queues" | "putQueue" | "touchQueues" | "claimPartitions" | "raiseEpoch"
> => ({
  queue: (namespace, name) => step(() => store.queues.get(keyOf(namespace, name))),
  queues: (namespace, afterName, limit) =>
    step(() => reads.queuesAfter(store, namespace, cursorOf(namespace, afterName)).slice(0, limit)),
  putQueue: (settings, ifVersion) => step(() => writes.putQueue(store, settings, ifVersion)),
  touchQueues: (names) => step(() => writes.touchQueues(store, names)),
  claimPartitions: (partitions) => step(() => (store.partitions ??= partitions)),
  raiseEpoch: (partition) => step(() => writes.raiseEpoch(store, partition)),
});
