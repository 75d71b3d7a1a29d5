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

/** Writes in key order, so that two transactions never wait for each other in a ring. */
export async function addCounts(
  tx: Queryable,
  changes: readonly CountChange[],
  shard: number,
): Promise<void> {
  const rows = summedUp(changes);
  if (rows.length > 0) await tx.rows(addCountsSql, countParameters(rows, shard));
}

function summedUp(changes: readonly CountChange[]): CountChange[] {
  const sums = new Map<string, CountChange>();
  for (const change of changes) {
    const key = JSON.stringify([change.namespace, change.queue, change.status]);
    const tasks = (sums.get(key)?.tasks ?? 0) + change.tasks;
    sums.set(key, { ...change, tasks });
  }
  return [...sums]
    .filter(([, { tasks }]) => tasks !== 0)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([, change]) => change);
}

/** Parameters for what ended. */
export const endedParameters = (changes: readonly CountChange[], shard: number): string[] =>
  countParameters(summedUp(changes), shard);

/** Of add_counts.sql and count_copied.sql; in the order in which they are to be written. */
const countParameters = (rows: readonly CountChange[], shard: number): string[] => [
  textArray(rows.map(({ namespace }) => storable(namespace))),
  textArray(rows.map(({ queue }) => storable(queue))),
  textArray(rows.map(({ status }) => status)),
  plainArray(rows.map(({ tasks }) => tasks)),
  String(shard),
];

/**
 * How many of these tasks ended, as parameters. Most of a batch are of one kind, so neighbours are
 * compared before anything is looked up.
 */
export function endedCounts(tasks: readonly Counted[], shard: number): string[] {
  const runs: CountChange[] = [];
  let from = 0;
  for (let at = 0; at < tasks.length; at += 1) {
    const { namespace, queue, status } = tasks[at]!;
    const next = tasks[at + 1];
    if (next?.status === status && next.queue === queue && next.namespace === namespace) continue;
    if (isFinal(status)) runs.push({ namespace, queue, status, tasks: at + 1 - from });
    from = at + 1;
  }
  return endedParameters(runs, shard);
}
