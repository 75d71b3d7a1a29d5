import type { Transition } from "../../broker/broker.js";
import { limits } from "../../limits.js";
import type { Attempt, Task } from "../../task/task.js";
import type { RecordOutcome } from "../history.js";
import {
  attemptMayChange,
  type Decision,
  decide,
  groupByTask,
  type Guarded,
  type TaskTransitions,
} from "../rules.js";
import { addCounts, type CountChange, countsOf } from "./counts.js";
import { isBadRow, StartAnew } from "./failures.js";
import { byId, chunks, insertRows, winKeys } from "./insert.js";
import { plainArray, restored } from "./literals.js";
import type { Database, Queryable } from "./pool.js";
import { attemptParameters, updateParameters } from "./rows.js";
import { sql } from "./sql.js";

const lockTasks = sql("lock_tasks");
const updateTasks = sql("update_tasks");
const upsertAttempts = sql("upsert_attempts");

/**
 * H2 and H3. A batch is one transaction: rows are locked in id order, judged by the rules both
 * histories share, then written with their attempts and counts. A batch that holds a row Postgres
 * refuses is repeated by halves.
 */
export async function record(
  database: Database,
  transitions: readonly Transition[],
  shard: number,
): Promise<RecordOutcome[]> {
  const outcomes: RecordOutcome[] = [];
  for (const batch of batches(groupByTask(transitions).toSorted(byId))) {
    await recordBatch(database, batch, shard, outcomes);
  }
  return outcomes;
}

function* batches(groups: readonly TaskTransitions[]): Generator<TaskTransitions[]> {
  const byTask = new Map(groups.map((group) => [group.id, group]));
  for (const chunk of chunks(groups.map(({ transitions }) => transitions.at(-1)!.task))) {
    for (let at = 0; at < chunk.length; at += limits.recordBatch) {
      yield chunk.slice(at, at + limits.recordBatch).map(({ id }) => byTask.get(id)!);
    }
  }
}

async function recordBatch(
  database: Database,
  groups: readonly TaskTransitions[],
  shard: number,
  outcomes: RecordOutcome[],
): Promise<void> {
  try {
    const decisions = await database.transaction((tx) => writeBatch(tx, groups, shard));
    for (const [index, { places }] of groups.entries()) {
      for (const [nth, place] of places.entries())
        outcomes[place] = decisions[index]!.outcomes[nth]!;
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
    await recordBatch(database, groups.slice(0, half), shard, outcomes);
    await recordBatch(database, groups.slice(half), shard, outcomes);
  }
}

async function writeBatch(
  tx: Queryable,
  groups: readonly TaskTransitions[],
  shard: number,
): Promise<Decision[]> {
  const stored = await lockRows(tx, groups);
  const decisions = groups.map(({ id, transitions }) => decide(stored.get(id), transitions));
  const inserts: Task[] = [];
  const updates: Task[] = [];
  for (const { write } of decisions) {
    if (write) (write.kind === "insert" ? inserts : updates).push(write.task);
  }
  if (inserts.length > 0) await insertWhole(tx, inserts);
  if (updates.length > 0) await tx.rows(updateTasks, updateParameters(updates));
  await writeAttempts(tx, attemptsOf(groups, decisions));
  await addCounts(tx, countChanges(stored, decisions), shard);
  return decisions;
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
async function insertWhole(tx: Queryable, tasks: readonly Task[]): Promise<void> {
  const inserted = await insertRows(tx, tasks, undefined);
  // Somebody else inserted one since we looked: now it can be locked and judged.
  if (inserted.size < tasks.length) throw new StartAnew();
  const keyed = tasks.filter(({ idempotencyKey }) => idempotencyKey !== "");
  if (keyed.length > 0) await winKeys(tx, keyed);
}

/**
 * A `missing` transition comes again with its attempt; all others leave it, whatever their version.
 */
function attemptsOf(groups: readonly TaskTransitions[], decisions: readonly Decision[]): Attempt[] {
  const attempts = new Map<string, Attempt>();
  for (const [index, { transitions }] of groups.entries()) {
    for (const [nth, { attempt }] of transitions.entries()) {
      if (!attempt || decisions[index]!.outcomes[nth] === "missing") continue;
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
