import { type Random, systemClock, systemRandom } from "../../clock.js";
import { uuidText } from "../../task/uuid.js";
import type { History } from "../history.js";
import { cursorOf } from "../rules.js";
import { createPostgresBatches } from "./batches.js";
import { countShards } from "./counts.js";
import { exclusively } from "./exclusive.js";
import { holdersOf, insert, keyOf } from "./insert.js";
import { addLogs, haveLogs, logs, makeLogDays } from "./logs.js";
import { clearMarkers, staleMarkers } from "./markers.js";
import { migrate } from "./migrate.js";
import { makeDays } from "./days.js";
import { EarlyRows } from "./early-rows.js";
import { createSheets } from "./end-sheet.js";
import { createDatabase, type DatabaseOptions } from "./pool.js";
import { prune, purge } from "./prune.js";
import { putQueue, queue, queues, touchQueues } from "./queues.js";
import * as reads from "./reads.js";
import { list, match } from "./list.js";
import { record } from "./record.js";
import { cancelLive, revive } from "./runs.js";
import { createPostgresSchedules } from "./schedules.js";
import { sql } from "./sql.js";

export interface PostgresHistoryOptions extends DatabaseOptions {
  /**
   * Bring the schema up to date at the start; default true. Without it the schema must be up to
   * date.
   */
  readonly migrate?: boolean;
  readonly random?: Random;
}

const claimPartitions = sql("claim_partitions");
const raiseEpoch = sql("raise_epoch");

/**
 * History in Postgres 14 or later. `start` makes the schema; promises H1 to H8 stand in
 * `history.ts`.
 */
export function createPostgresHistory(options: PostgresHistoryOptions): History {
  const { clock = systemClock, random = systemRandom } = options;
  const database = createDatabase(options);
  const shard = Math.floor(random.next() * countShards);
  const early = new EarlyRows();
  const newMarker = (): string => uuidText(random.bytes(16));
  return {
    async start() {
      if (options.migrate !== false) await migrate(database);
      await makeDays(database);
      await makeLogDays(database);
    },
    stop: () => database.stop(),
    get available() {
      return database.available;
    },
    insert: (tasks) => insert(database, tasks, newMarker(), shard),
    clearMarkers: (markers) => clearMarkers(database, markers),
    staleMarkers: (idleMs, limit) => staleMarkers(database, idleMs, limit),
    prepare: (told) => early.write(told),
    record: (transitions) => record(database, transitions, shard),
    sheets: createSheets(database, shard),
    cancelLive: (namespace, taskId, reason) =>
      cancelLive(database, namespace, taskId, reason, shard),
    revive: (namespace, taskIds) => revive(database, namespace, taskIds, newMarker(), shard),
    purge: (namespace, taskIds) => purge(database, namespace, taskIds, shard),
    get: (namespace, taskIds) => reads.get(database, namespace, taskIds),
    list: (query) => list(database, query),
    match: (query) => match(database, query),
    attempts: (namespace, taskId) => reads.attempts(database, namespace, taskId),
    addLogs: (entries) => addLogs(database, entries),
    logs: (query) => logs(database, query),
    haveLogs: (places) => haveLogs(database, places),
    async keyHolder(namespace, name, key) {
      const asked = { namespace, queue: name, idempotencyKey: key };
      return (await holdersOf(database, [asked])).get(keyOf(asked));
    },
    finalCounts: (namespace) => reads.finalCounts(database, namespace),
    liveTasks: (partition, partitions, afterId, limit) =>
      reads.liveTasks(database, partition, partitions, afterId, limit),
    recentlyEnded: (partition, partitions, withinMs, limit) =>
      reads.recentlyEnded(database, partition, partitions, withinMs, limit),
    liveCount: (namespace) => reads.liveCount(database, namespace),
    queue: (namespace, name) => queue(database, namespace, name),
    queues: (namespace, afterName, limit) =>
      queues(database, namespace, cursorOf(namespace, afterName), limit),
    putQueue: (settings, ifVersion) => putQueue(database, settings, ifVersion),
    touchQueues: (names) => touchQueues(database, names),
    async claimPartitions(partitions) {
      const rows = await database.rows<{ value: number }>(claimPartitions, [partitions]);
      return rows[0]!.value;
    },
    async raiseEpoch(partition) {
      const rows = await database.rows<{ epoch: number }>(raiseEpoch, [partition]);
      return rows[0]!.epoch;
    },
    exclusively: (name, work) => exclusively(database, clock, name, work),
    prune: (limit) => prune(database, limit, shard),
    schedules: createPostgresSchedules(database, newMarker),
    batches: createPostgresBatches(database, newMarker),
  };
}
