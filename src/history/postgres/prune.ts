import { limits } from "../../limits.js";
import { addCounts, type CountChange } from "./counts.js";
import { restored } from "./literals.js";
import type { Database } from "./pool.js";
import { sql } from "./sql.js";

const pruneTasks = sql("prune_tasks");
const pruneKeys = sql("prune_keys");
const pruneMarkers = sql("prune_markers");

/** Removes up to `limit` tasks past their retention, and as many old keys and markers. Returns how many tasks went. */
export async function prune(database: Database, limit: number, shard: number): Promise<number> {
  await database.rows(pruneKeys, [limit]);
  await database.rows(pruneMarkers, [limit, limits.commitMarkerKeepMs]);
  return database.transaction(async (tx) => {
    const gone = await tx.rows<CountChange>(pruneTasks, [limit]);
    const changes = gone.map(({ namespace, queue, status, tasks }) => ({
      namespace: restored(namespace),
      queue: restored(queue),
      status,
      tasks: -tasks,
    }));
    await addCounts(tx, changes, shard);
    return gone.reduce((sum, { tasks }) => sum + tasks, 0);
  });
}
