import type { Task } from "../../task/task.js";
import { claimsUnique, uniqueWindowMs } from "../rules.js";
import { StartAnew } from "./failures.js";
import { plainArray, restored, storable, textArray } from "./literals.js";
import type { Queryable } from "./pool.js";
import { sql } from "./sql.js";

const claimUnique = sql("claim_unique");
const uniqueHolders = sql("unique_holders");
const knownIds = sql("known_ids");

/**
 * Who lost its unique key, and to whom; of several in one batch the first wins. A task that stands
 * already is known, whoever holds its key now.
 */
export async function claimUniqueKeys(
  tx: Queryable,
  tasks: readonly Task[],
): Promise<Map<Task, string>> {
  const losers = new Map<Task, string>();
  const claiming = tasks.filter(claimsUnique);
  if (claiming.length === 0) return losers;
  const rows = await tx.rows<{ id: string }>(knownIds, [idsOf(claiming)]);
  const known = new Set(rows.map(({ id }) => id));
  const fresh = claiming.filter(({ id }) => !known.has(id));
  const firsts = new Map<string, Task>();
  for (const task of fresh) if (!firsts.has(keyOf(task))) firsts.set(keyOf(task), task);
  const holders = await win(tx, firsts);
  for (const task of fresh) {
    const holder = holders.get(keyOf(task));
    if (holder !== task.id) losers.set(task, holder!);
  }
  return losers;
}

/** Who holds each key now. */
async function win(tx: Queryable, firsts: ReadonlyMap<string, Task>): Promise<Map<string, string>> {
  const tasks = [...firsts.values()];
  const rules = tasks.map(({ terms }) => terms!.unique!);
  const values = [
    ...keyColumns(tasks),
    idsOf(tasks),
    plainArray(rules.map(({ scope }) => scope)),
    plainArray(rules.map(uniqueWindowMs)),
  ];
  const won = await tx.rows<{ task_id: string }>(claimUnique, values);
  const winners = new Set(won.map(({ task_id }) => task_id));
  const holders = new Map<string, string>();
  for (const [key, { id }] of firsts) if (winners.has(id)) holders.set(key, id);
  const lost = tasks.filter(({ id }) => !winners.has(id));
  if (lost.length === 0) return holders;
  for (const row of await tx.rows<KeyRow>(uniqueHolders, keyColumns(lost))) {
    const key = [row.namespace, row.queue, row.key].map(restored);
    holders.set(JSON.stringify(key), row.task_id);
  }
  // Released since it was lost: now it can be won.
  if (lost.some((task) => !holders.has(keyOf(task)))) throw new StartAnew();
  return holders;
}

interface KeyRow {
  namespace: string;
  queue: string;
  key: string;
  task_id: string;
}

const idsOf = (tasks: readonly Task[]): string => plainArray(tasks.map(({ id }) => id));

const keyColumns = (tasks: readonly Task[]): string[] => [
  textArray(tasks.map(({ namespace }) => storable(namespace))),
  textArray(tasks.map(({ queue }) => storable(queue))),
  textArray(tasks.map(({ terms }) => storable(terms!.unique!.key))),
];

const keyOf = ({ namespace, queue, terms }: Task): string =>
  JSON.stringify([namespace, queue, terms!.unique!.key]);
