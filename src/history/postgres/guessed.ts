import type { Task } from "../../task/task.js";
import type { RecordOutcome } from "../history.js";
import { LoneTransition, type TaskTransitions } from "../rules.js";
import { copyBorn } from "./copied.js";
import type { Step } from "./copy.js";
import { endedCounts } from "./counts.js";
import { isBadRow } from "./failures.js";
import type { Guess } from "./guess.js";
import type { WrittenRow } from "./insert.js";
import { bigint, int } from "./literals.js";
import type { Database } from "./pool.js";
import { sql } from "./sql.js";
import { withRowTypes } from "./types.js";
import { intArray, uuidArray } from "./wire.js";
import { taskChanges, wholeTasks } from "./written.js";

const recordTasks = sql("record_tasks");
const changeTasks = sql("change_tasks");
const countCopied = sql("count_copied");
const replaceTasks = sql("replace_tasks");

/** A few whole rows among many changes travel with them: one transaction instead of two. */
const changesOfOneWhole = 4;

/** Writes what finds history as it was guessed; returns the rest. */
export async function recordAsGuessed(
  database: Database,
  guesses: readonly Guess[],
  shard: number,
  outcomes: RecordOutcome[],
): Promise<TaskTransitions[]> {
  const born: Guess[] = [];
  let whole: Guess[] = [];
  let changed: Guess[] = [];
  const left: TaskTransitions[] = [];
  for (const one of guesses) {
    if (one.kind === "unsure") {
      left.push(one.group);
      continue;
    }
    if (one.kind === "born") born.push(one);
    else changed.push(one);
    if (one.kind !== "changed") whole.push(one);
  }
  const many = whole.length * changesOfOneWhole > guesses.length - whole.length;
  if (many && (await copied(database, whole, shard))) {
    for (const { group, outcomes: given } of whole) answer(group, given, outcomes);
    changed = changed.filter(({ kind }) => kind === "changed");
    whole = [];
  }
  const rest = whole.length === 0 ? changed : [...born, ...changed];
  if (rest.length === 0) return left;
  const written = await writeAtOnce(database, whole.length === 0 ? [] : born, changed, shard);
  for (const one of rest) {
    if (!written || written.has(one.group.id)) answer(one.group, one.outcomes, outcomes);
    else left.push(one.group);
  }
  return left.sort((a, b) => (a.id < b.id ? -1 : 1));
}

function copied(database: Database, whole: readonly Guess[], shard: number): Promise<boolean> {
  const last = { statement: countCopied, values: endedCounts(whole.map(briefly), shard) };
  const replaced = whole.filter(({ kind }) => kind === "replaced");
  if (replaced.length === 0) return copyBorn(database, whole, last);
  return copyBorn(database, whole, last, replacing(replaced.map(placeOf)));
}

/** A live row of this run and a version below `above`. */
export interface Replaced {
  readonly id: string;
  readonly above: number;
  readonly run: number;
}

const placeOf = (one: Guess): Replaced => {
  const { id, run } = briefly(one);
  return { id, above: one.above, run };
};

/** Takes out the rows that are replaced. */
export const replacing = (rows: readonly Replaced[]): Step => ({
  statement: replaceTasks,
  values: [
    uuidArray(rows.map(({ id }) => id)),
    intArray(rows.map(({ above }) => bigint(above))),
    intArray(rows.map(({ run }) => int(run))),
  ],
});

type Briefly = Pick<Task, "id" | "namespace" | "queue" | "status" | "run">;

/** Without reading the task from a row that is written already. */
const briefly = (one: Guess): Briefly => one.early ?? one.task;

/**
 * In one statement, which leaves alone what is otherwise. Ids of what is written; undefined for
 * all.
 */
async function writeAtOnce(
  database: Database,
  born: readonly Guess[],
  changed: readonly Guess[],
  shard: number,
): Promise<Set<string> | undefined> {
  try {
    const [row] = await withRowTypes(database, (types) => {
      const values = [wholeTasks(types, born), taskChanges(types, changed), shard];
      const statement = born.length > 0 ? recordTasks : changeTasks;
      return database.rows<WrittenRow>(statement, values);
    });
    return row?.written ? new Set(row.written) : undefined;
  } catch (error) {
    if (!isBadRow(error)) throw error;
    return new Set();
  }
}

/** `given` undefined: all of them are applied. */
export function answer(
  group: TaskTransitions,
  given: readonly RecordOutcome[] | undefined,
  outcomes: RecordOutcome[],
): void {
  if (group instanceof LoneTransition) {
    outcomes[group.place] = given ? given[0]! : "applied";
    return;
  }
  const { places } = group;
  for (let nth = 0; nth < places.length; nth += 1) {
    outcomes[places[nth]!] = given ? given[nth]! : "applied";
  }
}
