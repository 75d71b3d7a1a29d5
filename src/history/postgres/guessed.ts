import type { RecordOutcome } from "../history.js";
import type { TaskTransitions } from "../rules.js";
import { copyBorn } from "./copied.js";
import { endedCounts } from "./counts.js";
import { isBadRow } from "./failures.js";
import type { Guess } from "./guess.js";
import type { WrittenRow } from "./insert.js";
import type { Database } from "./pool.js";
import { sql } from "./sql.js";
import { withRowTypes } from "./types.js";
import { taskChanges, wholeTasks } from "./written.js";

const recordTasks = sql("record_tasks");
const changeTasks = sql("change_tasks");
const countCopied = sql("count_copied");

/** A few new rows among many changes travel with them: one transaction instead of two. */
const changesOfOneBorn = 4;

/** Writes what finds history as it was guessed; returns the rest. */
export async function recordAsGuessed(
  database: Database,
  guesses: readonly Guess[],
  shard: number,
  outcomes: RecordOutcome[],
): Promise<TaskTransitions[]> {
  let born: Guess[] = [];
  const changed: Guess[] = [];
  const left: TaskTransitions[] = [];
  for (const one of guesses) {
    if (one.kind === "born") born.push(one);
    else if (one.kind === "changed") changed.push(one);
    else left.push(one.group);
  }
  if (born.length * changesOfOneBorn > changed.length && (await copied(database, born, shard))) {
    for (const { group, outcomes: given } of born) answer(group, given, outcomes);
    born = [];
  }
  if (born.length + changed.length === 0) return left;
  const written = await writeAtOnce(database, born, changed, shard);
  for (const one of [...born, ...changed]) {
    if (!written || written.has(one.group.id)) answer(one.group, one.outcomes, outcomes);
    else left.push(one.group);
  }
  return left.sort((a, b) => (a.id < b.id ? -1 : 1));
}

const copied = (database: Database, born: readonly Guess[], shard: number): Promise<boolean> => {
  const values = endedCounts(
    born.map(({ task }) => task),
    shard,
  );
  return copyBorn(database, born, { then: countCopied, values });
};

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
  { places }: TaskTransitions,
  given: readonly RecordOutcome[] | undefined,
  outcomes: RecordOutcome[],
): void {
  for (let nth = 0; nth < places.length; nth += 1) {
    outcomes[places[nth]!] = given ? given[nth]! : "applied";
  }
}
