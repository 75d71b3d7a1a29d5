import { parseTaskId } from "../../task/ids.js";
import type { Attempt, Status, Task } from "../../task/task.js";
import { plainArray, restored, storable } from "./literals.js";
import type { Database } from "./pool.js";
import { type AttemptRow, attemptOf, type TaskRow, taskOf } from "./rows.js";
import { sql } from "./sql.js";

const statements = {
  getTasks: sql("get_tasks"),
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
