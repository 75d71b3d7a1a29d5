import { parseTaskId } from "../../task/ids.js";
import { isFinal, type Task } from "../../task/task.js";
import type { ReviveOutcome } from "../history.js";
import { cancelled, revived } from "../rules.js";
import { addCounts, countsOf } from "./counts.js";
import { storable } from "./literals.js";
import type { Database, Queryable } from "./pool.js";
import { type TaskRow, taskOf } from "./rows.js";
import { sql } from "./sql.js";
import { withRowTypes } from "./types.js";
import { replacing, taskChanges } from "./written.js";

const lockTask = sql("lock_task");
const updateTasks = sql("update_tasks");
const addMarker = sql("add_marker");

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
    await update(task);
    await addCounts(tx, countsOf([task]), shard);
    return task;
  });
}

export async function revive(
  database: Database,
  namespace: string,
  taskId: string,
  marker: string,
  shard: number,
): Promise<ReviveOutcome> {
  return updating(database, async (tx, update): Promise<ReviveOutcome> => {
    const row = await lock(tx, namespace, taskId);
    if (!row) return { kind: "unknown" };
    if (!isFinal(row.task.status)) return { kind: "live", task: row.task };
    if (row.task.status === "completed") return { kind: "completed", task: row.task };
    const task = revived(row.task);
    await update(task);
    await tx.rows(addMarker, [marker, task.id]);
    await addCounts(tx, countsOf([row.task], -1), shard);
    return { kind: "revived", task, marker };
  });
}

const updating = <T>(
  database: Database,
  work: (tx: Queryable, update: (task: Task) => Promise<unknown>) => Promise<T>,
): Promise<T> =>
  withRowTypes(database, (types) =>
    database.transaction((tx) =>
      work(tx, (task) => tx.rows(updateTasks, [taskChanges(types, [replacing(task)])])),
    ),
  );

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
