import { limits } from "../../limits.js";
import { parseTaskId } from "../../task/ids.js";
import { addCounts, type CountChange } from "./counts.js";
import { dropOldDays, makeDays, tables } from "./days.js";
import { plainArray, restored, storable } from "./literals.js";
import { dropOldLogDays, makeLogDays } from "./logs.js";
import type { Database } from "./pool.js";
import { sql, type Statement } from "./sql.js";

const pruneTasks = sql("prune_tasks");
const pruneKeys = sql("prune_keys");
const pruneUnique = sql("prune_unique");
const pruneMarkers = sql("prune_markers");

/**
 * Drops days of which nothing is left to keep, then removes up to `limit` other tasks past their
 * retention, and as many old keys and markers. Returns how many tasks went, or keys, if more of
 * those did.
 */
export async function prune(database: Database, limit: number, shard: number): Promise<number> {
  await makeDays(database);
  await makeLogDays(database);
  const [keys] = await database.rows<{ gone: number }>(pruneKeys, [limit]);
  await database.rows(pruneUnique, []);
  await database.rows(pruneMarkers, [limit, limits.commitMarkerKeepMs]);
  const { gone, dying } = await dropOldDays(database, shard);
  await dropOldLogDays(database);
  let left = limit;
  for (const { name, retired, aged } of await tables(database)) {
    if (left === 0) break;
    if (retired || dying.has(name)) continue;
    left -= await pruneTable(database, name, left, shard);
    if (aged && left > 0) left -= await pruneAged(database, name, left, shard);
  }
  return Math.max(keys!.gone, gone + limit - left);
}

function pruneTable(
  database: Database,
  table: string,
  limit: number,
  shard: number,
): Promise<number> {
  // One table at a time, because those about to be dropped as a whole are left out. As the index
  // of migration 0012 says it.
  const due = `SELECT id FROM "${table}"
    WHERE purge_at <= now_ms() AND purge_at - ended_at < 604800000 ORDER BY purge_at LIMIT $1`;
  return remove(database, removing(table, due), [limit], shard);
}

/** Rows looked at for each that may go. */
const walkedRows = 20;
const beforeAll = "00000000-0000-0000-0000-000000000000";
/** By table: how far it was walked. */
const walked = new WeakMap<Database, Map<string, string>>();

/** Goes on with the walk through a table that has to stand, for those that no index shows. */
async function pruneAged(
  database: Database,
  table: string,
  limit: number,
  shard: number,
): Promise<number> {
  const places = walked.get(database) ?? new Map<string, string>();
  walked.set(database, places);
  const text = `SELECT coalesce(array_agg(id ORDER BY id) FILTER (WHERE purge_at <= now_ms()), '{}')
      AS due, (array_agg(id ORDER BY id DESC))[1] AS last
    FROM (SELECT id, purge_at FROM "${table}" WHERE id > $1 ORDER BY id LIMIT $2) AS rows`;
  const values = [places.get(table) ?? beforeAll, limit * walkedRows];
  type Walk = { due: string[]; last: string | null };
  const [walk] = await database.rows<Walk>({ name: `walk/${table}`, text }, values);
  const { due, last } = walk!;
  const ids = due.slice(0, limit);
  const reached = due.length > limit ? ids.at(-1) : last;
  if (reached) places.set(table, reached);
  else places.delete(table);
  if (ids.length === 0) return 0;
  const those = `SELECT id FROM "${table}"
    WHERE id = ANY ($1::uuid[]) AND purge_at <= now_ms() ORDER BY id`;
  return remove(database, removing(`aged/${table}`, those), [plainArray(ids)], shard);
}

const purging = removing(
  "purge",
  `SELECT id FROM tasks
  WHERE id = ANY ($1::uuid[]) AND namespace = $2 AND ended_at IS NOT NULL ORDER BY id`,
);

/** Removes those of them that have ended. */
export function purge(
  database: Database,
  namespace: string,
  taskIds: readonly string[],
  shard: number,
): Promise<number> {
  const ids = taskIds.map(parseTaskId).filter((id) => id !== undefined);
  return remove(database, purging, [plainArray(ids), storable(namespace)], shard);
}

/** `gone`: a SELECT of the ids. */
function removing(name: string, gone: string): Statement {
  const text = pruneTasks.text.replace("{gone}", gone);
  return { name: `${pruneTasks.name}/${name}`, text };
}

function remove(
  database: Database,
  statement: Statement,
  values: readonly unknown[],
  shard: number,
): Promise<number> {
  return database.transaction(async (tx) => {
    const gone = await tx.rows<CountChange>(statement, values);
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
