import { isFinal, type Status, type Task } from "../../task/task.js";
import { plainArray, storable, textArray } from "./literals.js";
import type { Queryable } from "./pool.js";
import { sql } from "./sql.js";

/** Rows of `final_counts` a queue and status may have: each coordinator writes to one. */
export const countShards = 16;

/** How many tasks more (or fewer) ended in a queue with a status. */
export interface CountChange {
  readonly namespace: string;
  readonly queue: string;
  readonly status: Status;
  readonly tasks: number;
}

const addCountsSql = sql("add_counts");

type Counted = Pick<Task, "namespace" | "queue" | "status">;

export const countsOf = (tasks: readonly Counted[], by = 1): CountChange[] =>
  tasks
    .filter(({ status }) => isFinal(status))
    .map(({ namespace, queue, status }) => ({ namespace, queue, status, tasks: by }));

/**
 * Adds up and writes in key order, so that two transactions never wait for each other in a ring.
 */
export async function addCounts(
  tx: Queryable,
  changes: readonly CountChange[],
  shard: number,
): Promise<void> {
  const sums = new Map<string, CountChange>();
  for (const change of changes) {
    const key = JSON.stringify([change.namespace, change.queue, change.status]);
    const tasks = (sums.get(key)?.tasks ?? 0) + change.tasks;
    sums.set(key, { ...change, tasks });
  }
  const rows = [...sums]
    .filter(([, { tasks }]) => tasks !== 0)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([, change]) => change);
  if (rows.length === 0) return;
  await tx.rows(addCountsSql, [
    textArray(rows.map(({ namespace }) => storable(namespace))),
    textArray(rows.map(({ queue }) => storable(queue))),
    textArray(rows.map(({ status }) => status)),
    plainArray(rows.map(({ tasks }) => tasks)),
    shard,
  ]);
}
