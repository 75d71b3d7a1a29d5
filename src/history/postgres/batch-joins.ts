import type { Task } from "../../task/task.js";
import type { BatchBar } from "../batches.js";
import type { BatchRow } from "./batch-rows.js";
import { plainArray, restored } from "./literals.js";
import type { Queryable } from "./pool.js";
import { sql } from "./sql.js";

const joinBatches = sql("join_batches");

/** Those whose batch takes no tasks. The others keep theirs open until the transaction ends. */
export async function barredTasks(
  tx: Queryable,
  tasks: readonly Task[],
): Promise<Map<Task, BatchBar>> {
  const asked = new Set(tasks.flatMap(({ terms }) => terms?.batchId ?? []));
  const barred = new Map<Task, BatchBar>();
  if (asked.size === 0) return barred;
  type Row = Pick<BatchRow, "id" | "namespace" | "closed_at" | "cancelled_at">;
  const rows = await tx.rows<Row>(joinBatches, [plainArray([...asked])]);
  const known = new Map(rows.map((row) => [row.id, row]));
  for (const task of tasks) {
    const id = task.terms?.batchId;
    const bar = id === undefined ? undefined : barOf(task, known.get(id));
    if (bar) barred.set(task, bar);
  }
  return barred;
}

function barOf(
  { namespace }: Task,
  batch: Pick<BatchRow, "namespace" | "closed_at" | "cancelled_at"> | undefined,
): BatchBar | undefined {
  if (!batch || restored(batch.namespace) !== namespace) return "unknown";
  if (batch.cancelled_at !== null) return "cancelled";
  return batch.closed_at === null ? undefined : "closed";
}
