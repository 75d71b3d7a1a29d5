import { limits } from "../../limits.js";
import { addCounts, type CountChange } from "./counts.js";
import { dropOldDays, makeDays, tables } from "./days.js";
import { restored } from "./literals.js";
import { dropOldLogDays, makeLogDays } from "./logs.js";
import type { Database } from "./pool.js";
import { sql } from "./sql.js";

const pruneTasks = sql("prune_tasks");
const pruneKeys = sql("prune_keys");
const pruneMarkers = sql("prune_markers");

/**
 * Drops days of which nothing is left to keep, then removes up to `limit` other tasks past their
 * retention, and as many old keys and markers. Returns how many tasks went.
 */
export async function prune(database: Database, limit: number, shard: number): Promise<number> {
  await makeDays(database);
  await makeLogDays(database);
  await database.rows(pruneKeys, [limit]);
  await database.rows(pruneMarkers, [limit, limits.commitMarkerKeepMs]);
  const { gone, dying } = await dropOldDays(database, shard);
  await dropOldLogDays(database);
  let left = limit;
  for (const { name, retired } of await tables(database)) {
    if (left === 0) break;
    if (!retired && !dying.has(name)) left -= await pruneTable(database, name, left, shard);
  }
  return gone + limit - left;
}

async function pruneTable(
  database: Database,
  table: string,
  limit: number,
  shard: number,
): Promise<number> {
  const text = pruneTasks.text.replace("{from}", `"${table}"`);
  const statement = { name: `${pruneTasks.name}/${table}`, text };
  return database.transaction(async (tx) => {
    const gone = await tx.rows<CountChange>(statement, [limit]);
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
