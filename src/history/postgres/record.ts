import { limits } from "../../limits.js";
import type { Attempt, Task } from "../../task/task.js";
import type { RecordOutcome, Told } from "../history.js";
import {
  attemptMayChange,
  type Decision,
  decide,
  groupByTask,
  type Guarded,
  isToldByTask,
  type TaskTransitions,
} from "../rules.js";
import { addCounts, type CountChange, countsOf } from "./counts.js";
import { isBadRow, StartAnew } from "./failures.js";
import { guess, type Guess } from "./guess.js";
import { answer, recordAsGuessed } from "./guessed.js";
import { chunks, firstsOf, insertRows, winKeys } from "./insert.js";
import { plainArray, restored } from "./literals.js";
import type { Database, Queryable } from "./pool.js";
import { sql } from "./sql.js";
import { withRowTypes } from "./types.js";
import { claimUniqueKeys } from "./unique.js";
import { attemptParameters, type Born, replacing, type RowTypes, taskChanges } from "./written.js";

const freeKeys = sql("free_keys");
const lockTasks = sql("lock_tasks");
const updateTasks = sql("update_tasks");
const upsertAttempts = sql("upsert_attempts");

/**
 * H2 and H3. Nearly every transition finds history as it should be: no row yet of a whole task, a
 * live row of an older version otherwise. So a batch is written as if it were so; only what is not
 * so is looked at with care.
 */
export async function record(
  database: Database,
  transitions: readonly Told[],
  shard: number,
): Promise<RecordOutcome[]> {
  const outcomes: RecordOutcome[] = [];
  for (let place = 0; place < transitions.length; place += 1) outcomes.push("missing");
  const guesses: Guess[] = [];
  for (const group of groupByTask(transitions)) guesses.push(guess(group));
  for (const batch of chunks(guesses, limits.recordBatch)) {
    const left = await recordAsGuessed(database, batch, shard, outcomes);
    if (left.length > 0) await recordWithCare(database, left, shard, outcomes);
  }
  return outcomes;
}

/**
 * One transaction: rows are locked in id order, judged by the rules both histories share, then
 * written with their attempts and counts. What holds a row Postgres refuses is repeated by halves.
 */
async function recordWithCare(
  database: Database,
  groups: readonly TaskTransitions[],
  shard: number,
  outcomes: RecordOutcome[],
): Promise<void> {
  try {
    const decisions = await withRowTypes(database, (types) =>
      database.transaction((tx) => writeBatch(tx, types, groups, shard)),
    );
    for (const [index, group] of groups.entries()) {
      answer(group, decisions[index]!.outcomes, outcomes);
    }
  } catch (error) {
    if (!isBadRow(error)) throw error;
    // No retry mends what Postgres refuses for its content: alone it is refused, so that the others
    // go on.
    if (groups.length === 1) {
      for (const place of groups[0]!.places) outcomes[place] = "refused";
      return;
    }
    const half = Math.ceil(groups.length / 2);
    await recordWithCare(database, groups.slice(0, half), shard, outcomes);
    await recordWithCare(database, groups.slice(half), shard, outcomes);
  }
}

async function writeBatch(
  tx: Queryable,
  types: RowTypes,
  groups: readonly TaskTransitions[],
  shard: number,
): Promise<Decision[]> {
  const stored = await lockRows(tx, groups);
  const decisions = groups.map(({ id, transitions }) => decide(stored.get(id), transitions));
  const writes = decisions.flatMap(({ write }) => write ?? []);
  const inserts = writes.filter(({ kind }) => kind === "insert");
  const updates = writes.filter(({ kind }) => kind === "update");
  const heirs = decisions.flatMap(heirsOf);
  await winKeysOf(
    tx,
    heirs.map(({ task }) => task),
  );
  if (inserts.length > 0) await insertWhole(tx, types, inserts);
  if (updates.length > 0) {
    await tx.rows(updateTasks, [
      taskChanges(
        types,
        updates.map(({ task }) => replacing(task)),
      ),
    ]);
  }
  if (heirs.length > 0) await insertHeirs(tx, types, heirs);
  await writeAttempts(tx, attemptsOf(groups, decisions));
  await addCounts(tx, countChanges(stored, decisions), shard);
  return decisions;
}

/** A task that takes the place of an ended one. */
interface Heir {
  readonly task: Task;
  readonly of: string;
}

const heirsOf = ({ write, successor }: Decision): Heir[] =>
  write && successor ? [{ task: successor, of: write.task.id }] : [];

/**
 * Each under a commit marker of its own id. A unique key that has lapsed and is another's by now
 * stays there: the task stands all the same, as the one before it did.
 */
async function insertHeirs(tx: Queryable, types: RowTypes, heirs: readonly Heir[]): Promise<void> {
  await tx.rows(freeKeys, [plainArray(heirs.map((heir) => heir.of))]);
  await claimUniqueKeys(
    tx,
    heirs.map(({ task }) => task),
  );
  for (const { task } of heirs) {
    await insertRows(tx, types, [{ task, payload: task.payload }], task.id);
  }
}

interface GuardedRow extends Omit<Guarded, "fencingToken"> {
  id: string;
  fencing_token: number;
  namespace: string;
  queue: string;
}

/** A row as it stands, locked; with what it is counted under. */
interface Stored extends Guarded {
  readonly namespace: string;
  readonly queue: string;
}

async function lockRows(
  tx: Queryable,
  groups: readonly TaskTransitions[],
): Promise<Map<string, Stored>> {
  const ids = plainArray(groups.map(({ id }) => id));
  const rows = await tx.rows<GuardedRow>(lockTasks, [ids]);
  return new Map(
    rows.map(({ id, version, run, status, fencing_token, namespace, queue }) => [
      id,
      {
        version,
        run,
        status,
        fencingToken: fencing_token,
        namespace: restored(namespace),
        queue: restored(queue),
      },
    ]),
  );
}

/**
 * RELAXED tasks arrive here for the first time. Their keys were won in the broker: history only
 * remembers them.
 */
async function insertWhole(tx: Queryable, types: RowTypes, rows: readonly Born[]): Promise<void> {
  const inserted = await insertRows(tx, types, rows, undefined);
  // Somebody else inserted one since we looked: now it can be locked and judged.
  if (inserted.size < rows.length) throw new StartAnew();
  await winKeysOf(
    tx,
    rows.map(({ task }) => task),
  );
}

/**
 * Before any unique key is touched: in this order every transaction takes them. A broker that has
 * forgotten a key may have taken a second task with it.
 */
async function winKeysOf(tx: Queryable, tasks: readonly Task[]): Promise<void> {
  const firsts = firstsOf(tasks);
  if (firsts.size > 0) await winKeys(tx, [...firsts.values()]);
}

/**
 * A `missing` transition comes again with its attempt; all others leave it, whatever their version,
 * unless the task's own row says it all.
 */
function attemptsOf(groups: readonly TaskTransitions[], decisions: readonly Decision[]): Attempt[] {
  const attempts = new Map<string, Attempt>();
  for (const [index, { transitions }] of groups.entries()) {
    for (const [nth, { attempt }] of transitions.entries()) {
      const { outcomes, write } = decisions[index]!;
      if (!attempt || outcomes[nth] === "missing") continue;
      if (write && isToldByTask(attempt, write.task)) continue;
      const key = `${attempt.taskId}/${String(attempt.fencingToken).padStart(16, "0")}`;
      if (attemptMayChange(attempts.get(key), attempt)) attempts.set(key, attempt);
    }
  }
  return [...attempts].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, attempt]) => attempt);
}

async function writeAttempts(tx: Queryable, attempts: readonly Attempt[]): Promise<void> {
  if (attempts.length > 0) await tx.rows(upsertAttempts, attemptParameters(attempts));
}

function countChanges(
  stored: ReadonlyMap<string, Stored>,
  decisions: readonly Decision[],
): CountChange[] {
  return decisions.flatMap(({ write }) => {
    if (!write) return [];
    const before = stored.get(write.task.id);
    if (!before) return countsOf([write.task]);
    return [...countsOf([before], -1), ...countsOf([{ ...before, status: write.task.status }])];
  });
}
