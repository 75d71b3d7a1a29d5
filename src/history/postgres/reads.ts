import { parseTaskId } from "../../task/ids.js";
import type { Attempt, Status, Task } from "../../task/task.js";
import type { ListQuery } from "../history.js";
import { pageToken, startOfPage } from "../page-token.js";
import { plainArray, restored, storable, textArray } from "./literals.js";
import type { Database } from "./pool.js";
import { type AttemptRow, attemptOf, type TaskRow, taskOf } from "./rows.js";
import { sql } from "./sql.js";

const statements = {
  getTasks: sql("get_tasks"),
  listByQueue: sql("list_by_queue"),
  listByType: sql("list_by_type"),
  listByTag: sql("list_by_tag"),
  listByStatus: sql("list_by_status"),
  attempts: sql("attempts"),
  liveTasks: sql("live_tasks"),
  recentlyEnded: sql("recently_ended"),
  liveCount: sql("live_count"),
  finalCounts: sql("final_counts"),
};

export async function get(
  database: Database,
  namespace: string | undefined,
  taskIds: readonly string[],
): Promise<(Task | undefined)[]> {
  const ids = taskIds.map(parseTaskId);
  const known = [...new Set(ids.filter((id) => id !== undefined))];
  if (known.length === 0) return ids.map(() => undefined);
  const rows = await database.rows<TaskRow>(statements.getTasks, [
    plainArray(known),
    namespace === undefined ? null : storable(namespace),
  ]);
  const tasks = new Map(rows.map((row) => [row.id, taskOf(row)]));
  return ids.map((id) => (id === undefined ? undefined : tasks.get(id)));
}

/**
 * What is stored, and what it reads as: rows that wait for a time that has come read as pending.
 */
const readings: readonly [stored: Status, shown: Status][] = [
  ["blocked", "blocked"],
  ["scheduled", "scheduled"],
  ["scheduled", "pending"],
  ["pending", "pending"],
  ["running", "running"],
  ["retrying", "retrying"],
  ["retrying", "pending"],
  ["completed", "completed"],
  ["failed", "failed"],
  ["cancelled", "cancelled"],
  ["expired", "expired"],
];

export async function list(
  database: Database,
  query: ListQuery,
): Promise<{ tasks: Task[]; nextPageToken: string }> {
  const rows = await pageRows(database, query, startOfPage(query));
  const tasks = rows.slice(0, query.pageSize).map(taskOf);
  const last = tasks.at(-1);
  const more = last !== undefined && rows.length > query.pageSize;
  return { tasks, nextPageToken: more ? pageToken(query, last.id) : "" };
}

/** One row more than the page, to know whether another page follows. */
function pageRows(database: Database, query: ListQuery, before: string): Promise<TaskRow[]> {
  const namespace = storable(query.namespace);
  const [type, queue, tag] = [query.type, query.queue, query.tag].map((text) =>
    text === undefined ? null : storable(text),
  );
  const rows = query.pageSize + 1;
  if (tag !== null) {
    const values = [namespace, before, tag, type, queue, query.status ?? null, rows];
    return database.planned(statements.listByTag, values);
  }
  if (query.status === undefined && queue !== null) {
    return database.rows(statements.listByQueue, [namespace, queue, before, type, rows]);
  }
  if (query.status === undefined && type !== null) {
    return database.rows(statements.listByType, [namespace, type, before, rows]);
  }
  const asked = readings.filter(
    ([, shown]) => query.status === undefined || shown === query.status,
  );
  const stored = textArray(asked.map((reading) => reading[0]));
  const shown = textArray(asked.map((reading) => reading[1]));
  const values = [namespace, stored, shown, before, type, queue, rows];
  return database.rows(statements.listByStatus, values);
}

export async function attempts(
  database: Database,
  namespace: string,
  taskId: string,
): Promise<Attempt[]> {
  const id = parseTaskId(taskId);
  if (!id) return [];
  const rows = await database.rows<AttemptRow>(statements.attempts, [id, storable(namespace)]);
  return rows.map(attemptOf);
}

export async function liveTasks(
  database: Database,
  partition: number,
  partitions: number,
  afterId: string,
  limit: number,
): Promise<Task[]> {
  const after = afterId === "" ? "00000000-0000-0000-0000-000000000000" : afterId;
  const values = [partition, partitions, after, limit];
  return (await database.rows<TaskRow>(statements.liveTasks, values)).map(taskOf);
}

export async function recentlyEnded(
  database: Database,
  partition: number,
  partitions: number,
  withinMs: number,
  limit: number,
): Promise<Task[]> {
  const values = [partition, partitions, withinMs, limit];
  return (await database.rows<TaskRow>(statements.recentlyEnded, values)).map(taskOf);
}

export async function liveCount(database: Database, namespace: string): Promise<number> {
  const values = [storable(namespace)];
  const rows = await database.rows<{ tasks: number }>(statements.liveCount, values);
  return rows[0]?.tasks ?? 0;
}

export async function finalCounts(
  database: Database,
  namespace: string,
): Promise<{ queue: string; status: Status; tasks: number }[]> {
  const values = [storable(namespace)];
  const rows = await database.rows<{ queue: string; status: Status; tasks: number }>(
    statements.finalCounts,
    values,
  );
  return rows.map((row) => ({ ...row, queue: restored(row.queue) }));
}
