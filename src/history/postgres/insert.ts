import { limits } from "../../limits.js";
import { type NewTask, wholeOf } from "../../task/fresh-task.js";
import { isFinal, type Task } from "../../task/task.js";
import type { InsertOutcome } from "../history.js";
import { barredTasks } from "./batch-joins.js";
import { copyAll, copyBorn } from "./copied.js";
import { addCounts, countsOf } from "./counts.js";
import { areFresh, copiesOfFresh } from "./fresh-rows.js";
import { plainArray, restored, storable, textArray } from "./literals.js";
import type { Database, Queryable } from "./pool.js";
import { sql } from "./sql.js";
import { withRowTypes } from "./types.js";
import { claimUniqueKeys } from "./unique.js";
import { uuidArray } from "./wire.js";
import { type Born, type RowTypes, wholeTasks } from "./written.js";

export interface InsertReply {
  outcomes: InsertOutcome[];
  marker: string | undefined;
}

/**
 * Bytes of payloads and results in one statement; one such batch must be well within a statement's
 * deadline.
 */
export const statementBytes = 8 * 1024 * 1024;

const claimKeys = sql("claim_keys");
const keyHolders = sql("key_holders");
const giveBackKeys = sql("give_back_keys");
const insertTasks = sql("insert_tasks");
const knownIds = sql("known_ids");
const markCopied = sql("mark_copied");

/** `written` null: all of them. */
export interface WrittenRow {
  written: string[] | null;
}

/**
 * H1: keys, rows and marker commit together. Without keys it is one statement, and one round trip.
 */
export async function insert(
  database: Database,
  tasks: readonly NewTask[],
  marker: string,
  shard: number,
): Promise<InsertReply> {
  if (tasks.length === 0) return { outcomes: [], marker: undefined };
  if (await copyFresh(database, tasks, marker)) return { outcomes: tasks.map(asNew), marker };
  return insertWhole(database, tasks.map(wholeOf), marker, shard);
}

/** False as for `copyAlone`, and where some of them need a second look. */
async function copyFresh(
  database: Database,
  tasks: readonly NewTask[],
  marker: string,
): Promise<boolean> {
  if (tasks.length > limits.submitItems || !areFresh(tasks)) return false;
  if (tasks.reduce((bytes, { from, to }) => bytes + to - from, 0) > statementBytes) return false;
  const sorted = tasks.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const values = [marker, uuidArray(sorted.map(({ id }) => id))];
  return copyAll(database, () => copiesOfFresh(sorted), { statement: markCopied, values });
}

async function insertWhole(
  database: Database,
  tasks: readonly Task[],
  marker: string,
  shard: number,
): Promise<InsertReply> {
  const rows = tasks.map(whole);
  const alone = tasks.length <= limits.submitItems && chunks(rows).length === 1;
  return withRowTypes(database, async (types) => {
    if (alone && !tasks.some(isKeyed)) {
      if (await copyAlone(database, rows, marker)) return { outcomes: tasks.map(asNew), marker };
      const inserted = await insertRows(database, types, rows, marker);
      return replyOf(tasks, noLosers, inserted, marker);
    }
    return insertKeyed(database, types, rows, marker, shard);
  });
}

const inserted: InsertOutcome = { kind: "inserted" };
const asNew = (): InsertOutcome => inserted;

/** False: nothing is written; some row stands already, or came twice. */
function copyAlone(database: Database, rows: readonly Born[], marker: string): Promise<boolean> {
  const sorted = rows.toSorted(byId);
  const values = [marker, uuidArray(sorted.map(({ task }) => task.id))];
  return copyBorn(database, sorted, { statement: markCopied, values });
}

const isKeyed = (task: Task): boolean =>
  task.idempotencyKey !== "" ||
  isFinal(task.status) ||
  task.terms?.unique !== undefined ||
  task.terms?.batchId !== undefined;

/** Who lost which kind of key, and to whom; and whose batch takes no tasks. */
interface Losers {
  readonly barred: ReadonlyMap<Task, InsertOutcome>;
  readonly key_taken: ReadonlyMap<Task, string>;
  readonly unique_taken: ReadonlyMap<Task, string>;
}
const noLosers: Losers = { barred: new Map(), key_taken: new Map(), unique_taken: new Map() };

function insertKeyed(
  database: Database,
  types: RowTypes,
  rows: readonly Born[],
  marker: string,
  shard: number,
): Promise<InsertReply> {
  const tasks = rows.map(({ task }) => task);
  return database.transaction(async (tx) => {
    const barred = await bar(tx, tasks);
    const free = tasks.filter((task) => !barred.has(task));
    const lost = await claim(tx, free);
    const rivals = await claimUniqueKeys(
      tx,
      free.filter((task) => !lost.has(task)),
    );
    const losers = { barred, key_taken: lost, unique_taken: rivals };
    const winners = rows.filter(
      ({ task }) => !barred.has(task) && !lost.has(task) && !rivals.has(task),
    );
    if (rivals.size > 0) await giveBack(tx, [...rivals.keys()]);
    const inserted = await insertRows(tx, types, winners, marker);
    const counted = unique(winners).filter(({ task }) => inserted.has(task.id));
    await addCounts(tx, countsOf(counted.map(({ task }) => task)), shard);
    return replyOf(tasks, losers, inserted, marker);
  });
}

const giveBack = (tx: Queryable, tasks: readonly Task[]): Promise<unknown> =>
  tx.rows(giveBackKeys, [plainArray(tasks.map(({ id }) => id))]);

/**
 * Those whose batch takes no tasks (any more). A repeat of what came in before it was closed gets
 * the answer of then.
 */
async function bar(tx: Queryable, tasks: readonly Task[]): Promise<Map<Task, InsertOutcome>> {
  const outcomes = new Map<Task, InsertOutcome>();
  const barred = await barredTasks(tx, tasks);
  if (barred.size === 0) return outcomes;
  const late = [...barred.keys()];
  const rows = await tx.rows<{ id: string }>(knownIds, [plainArray(late.map(({ id }) => id))]);
  const known = new Set(rows.map(({ id }) => id));
  const holders = await holdersOf(
    tx,
    late.filter(({ idempotencyKey }) => idempotencyKey !== ""),
  );
  for (const [task, why] of barred) {
    const taskId = holders.get(keyOf(task));
    if (known.has(task.id)) outcomes.set(task, { kind: "known" });
    else if (taskId !== undefined) outcomes.set(task, { kind: "key_taken", taskId });
    else outcomes.set(task, { kind: "barred", why });
  }
  return outcomes;
}

const whole = (task: Task): Born => ({ task, payload: task.payload });

/** Inserts rows that do not stand yet, in id order; returns the ids that did not. */
export async function insertRows(
  tx: Queryable,
  types: RowTypes,
  rows: readonly Born[],
  marker: string | undefined,
): Promise<Set<string>> {
  const inserted = new Set<string>();
  for (const chunk of chunks(unique(rows).toSorted(byId))) {
    const values = [wholeTasks(types, chunk), marker ?? null];
    const [answer] = await tx.rows<WrittenRow>(insertTasks, values);
    for (const id of answer?.written ?? chunk.map(({ task }) => task.id)) inserted.add(id);
  }
  return inserted;
}

export const byId = (a: { task: Task }, b: { task: Task }): number =>
  a.task.id < b.task.id ? -1 : Number(a.task.id > b.task.id);

function unique(rows: readonly Born[]): Born[] {
  const seen = new Set<string>();
  return rows.filter(({ task }) => !seen.has(task.id) && seen.add(task.id));
}

/** Bounded in rows and in bytes of payloads and results. */
export function chunks<R extends Born>(
  rows: readonly R[],
  maxRows: number = limits.submitItems,
): R[][] {
  const all: R[][] = [];
  let chunk: R[] = [];
  let bytes = 0;
  for (const row of rows) {
    const size = row.early ? row.early.bytes : dataBytes(row);
    bytes += size;
    if (chunk.length === 0 || bytes > statementBytes || chunk.length >= maxRows) {
      all.push((chunk = []));
      bytes = size;
    }
    chunk.push(row);
  }
  return all;
}

const dataBytes = ({ payload, task }: Born): number =>
  (payload?.data.byteLength ?? 0) + (task.result?.data.byteLength ?? 0);

/** Who lost its key, and to whom. Of several in one batch the first wins. */
async function claim(tx: Queryable, tasks: readonly Task[]): Promise<Map<Task, string>> {
  const firsts = firstsOf(tasks);
  const losers = new Map<Task, string>();
  if (firsts.size === 0) return losers;
  const won = await winKeys(tx, [...firsts.values()]);
  const holders = new Map(
    [...firsts].filter(([, { id }]) => won.has(id)).map(([key, { id }]) => [key, id]),
  );
  const lost = [...firsts.values()].filter(({ id }) => !won.has(id));
  for (const [key, id] of await holdersOf(tx, lost)) holders.set(key, id);
  for (const task of tasks) {
    const holder = task.idempotencyKey ? holders.get(keyOf(task)) : undefined;
    if (holder !== undefined && holder !== task.id) losers.set(task, holder);
  }
  return losers;
}

/** The first task of each idempotency key. */
export function firstsOf(tasks: readonly Task[]): Map<string, Task> {
  const firsts = new Map<string, Task>();
  for (const task of tasks) {
    if (task.idempotencyKey && !firsts.has(keyOf(task))) firsts.set(keyOf(task), task);
  }
  return firsts;
}

/**
 * Of tasks with a key each. Returns the ids that hold theirs now. Sorted by key in the statement,
 * so that claims never wait in a ring.
 */
export async function winKeys(tx: Queryable, tasks: readonly Task[]): Promise<Set<string>> {
  const rows = await tx.rows<{ task_id: string }>(claimKeys, [
    ...keyColumns(tasks),
    plainArray(tasks.map(({ id }) => id)),
    limits.idempotencyKeyMs,
  ]);
  return new Set(rows.map(({ task_id }) => task_id));
}

interface KeyRow {
  namespace: string;
  queue: string;
  key: string;
  task_id: string;
}

type Keyed = Pick<Task, "namespace" | "queue" | "idempotencyKey">;

export async function holdersOf(
  tx: Queryable,
  tasks: readonly Keyed[],
): Promise<Map<string, string>> {
  if (tasks.length === 0) return new Map();
  const rows = await tx.rows<KeyRow>(keyHolders, keyColumns(tasks));
  return new Map(
    rows.map(({ namespace, queue, key, task_id }) => [
      keyOf({
        namespace: restored(namespace),
        queue: restored(queue),
        idempotencyKey: restored(key),
      }),
      task_id,
    ]),
  );
}

const keyColumns = (tasks: readonly Keyed[]): string[] => [
  textArray(tasks.map(({ namespace }) => storable(namespace))),
  textArray(tasks.map(({ queue }) => storable(queue))),
  textArray(tasks.map(({ idempotencyKey }) => storable(idempotencyKey))),
];

export const keyOf = ({ namespace, queue, idempotencyKey }: Keyed): string =>
  JSON.stringify([namespace, queue, idempotencyKey]);

function replyOf(
  tasks: readonly Task[],
  losers: Losers,
  inserted: ReadonlySet<string>,
  marker: string,
): InsertReply {
  const told = new Set<string>();
  const outcomes = tasks.map((task): InsertOutcome => {
    const barred = losers.barred.get(task);
    if (barred) return barred;
    for (const kind of ["key_taken", "unique_taken"] as const) {
      const taskId = losers[kind].get(task);
      if (taskId !== undefined) return { kind, taskId };
    }
    if (!inserted.has(task.id) || told.has(task.id)) return { kind: "known" };
    told.add(task.id);
    return asNew();
  });
  return { outcomes, marker: inserted.size > 0 ? marker : undefined };
}
