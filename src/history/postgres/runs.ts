import { parseTaskId } from "../../task/ids.js";
import { isFinal, type Task } from "../../task/task.js";
import type { ReviveOutcome } from "../history.js";
import { cancelled, revived } from "../rules.js";
import { addCounts, countsOf } from "./counts.js";
import { plainArray, storable } from "./literals.js";
import type { Database, Queryable } from "./pool.js";
import { type TaskRow, taskOf } from "./rows.js";
import { sql } from "./sql.js";
import { withRowTypes } from "./types.js";
import { replacing, taskChanges } from "./written.js";

const lockTask = sql("lock_task");
const lockEnded = sql("lock_whole_tasks");
const updateTasks = sql("update_tasks");
const addMarker = sql("add_marker");
const watchBatches = sql("watch_batches");

export async function cancelLive(
  database: Database,
  namespace: string,
  taskId: string,
  reason: string | undefined,
  shard: number,
): Promise<Task | undefined> {
  return updating(database, async (tx, update) => {
    const row = await lock(tx, namespace, taskId);
    if (!row || isFinal(row.task.status)) return undefined;
    const task = cancelled(row.task, row.now, reason);
    await update([task]);
    await addCounts(tx, countsOf([task]), shard);
    return task;
  });
}

export async function revive(
  database: Database,
  namespace: string,
  taskIds: readonly string[],
  marker: string,
  shard: number,
): Promise<{ outcomes: ReviveOutcome[]; marker: string | undefined }> {
  const ids = taskIds.map((id) => parseTaskId(id));
  const asked = [...new Set(ids.filter((id) => id !== undefined))];
  if (asked.length === 0)
    return { outcomes: ids.map(() => ({ kind: "unknown" })), marker: undefined };
  return updating(database, async (tx, update) => {
    const before = (await lockAll(tx, namespace, asked)).map(taskOf);
    const begun = before.filter((task) => isFinal(task.status) && task.status !== "completed");
    const after = new Map(begun.map((task) => [task.id, revived(task)]));
    if (begun.length > 0) {
      await update([...after.values()]);
      await tx.rows(addMarker, [marker, plainArray([...after.keys()])]);
      await addCounts(tx, countsOf(begun, -1), shard);
      await watchAgain(tx, begun);
    }
    const known = new Map(before.map((task) => [task.id, task]));
    const outcomes = ids.map((id) => outcomeOf(known.get(id ?? ""), after.get(id ?? "")));
    return { outcomes, marker: begun.length > 0 ? marker : undefined };
  });
}

/** A batch of theirs that was over has a live task again. */
async function watchAgain(tx: Queryable, tasks: readonly Task[]): Promise<void> {
  const batches = new Set(tasks.flatMap(({ terms }) => terms?.batchId ?? []));
  if (batches.size > 0) await tx.rows(watchBatches, [plainArray([...batches].toSorted())]);
}

function outcomeOf(before: Task | undefined, after: Task | undefined): ReviveOutcome {
  if (after) return { kind: "revived", task: after };
  if (!before) return { kind: "unknown" };
  return { kind: before.status === "completed" ? "completed" : "live", task: before };
}

const updating = <T>(
  database: Database,
  work: (tx: Queryable, update: (tasks: readonly Task[]) => Promise<unknown>) => Promise<T>,
): Promise<T> =>
  withRowTypes(database, (types) =>
    database.transaction((tx) =>
      work(tx, (tasks) => tx.rows(updateTasks, [taskChanges(types, tasks.map(replacing))])),
    ),
  );

/**
 * Who waits for a row while the end of its task replaces it, finds it gone: it is there at a second
 * look.
 */
async function lockAll(
  tx: Queryable,
  namespace: string,
  ids: readonly string[],
): Promise<TaskRow[]> {
  const look = (some: readonly string[]) =>
    tx.rows<TaskRow>(lockEnded, [plainArray(some), storable(namespace)]);
  const rows = await look(ids);
  if (rows.length === ids.length) return rows;
  const found = new Set(rows.map(({ id }) => id));
  return [...rows, ...(await look(ids.filter((id) => !found.has(id))))];
}

async function lock(
  tx: Queryable,
  namespace: string,
  taskId: string,
): Promise<{ task: Task; now: number } | undefined> {
  const id = parseTaskId(taskId);
  if (!id) return undefined;
  const [row] = await tx.rows<TaskRow>(lockTask, [id, storable(namespace)]);
  return row && { task: taskOf(row), now: row.now };
}
