import { failureOf, isLockTimeout } from "./failures.js";
import type { Database } from "./pool.js";
import { sql } from "./sql.js";

const makeDaysSql = sql("make_days");
const oldDays = sql("old_days");
const retireDay = sql("retire_day");
const dayTables = sql("day_tables");

/** Rows that may be moved out of a day's table before it is dropped; more keep it standing. */
const movable = 1_000;
/** A dropped day is counted first, which takes as long as reading it. */
const buryMs = 600_000;

/** Makes the tables of today and the next days, so that none is made while tasks arrive for it. */
export const makeDays = (database: Database): Promise<unknown> =>
  patiently(() => database.rows(makeDaysSql));

/**
 * Drops the tables of days of which nothing (or so little that it can be moved) lives or is inside
 * its retention. Returns how many tasks went, and the tables that will be dropped within a day: to
 * delete their rows one by one would be work for nothing.
 */
export async function dropOldDays(
  database: Database,
  shard: number,
): Promise<{ gone: number; dying: Set<string> }> {
  type OldDay = { day: number; name: string; kept: number; kept_soon: number };
  const days = await database.rows<OldDay>(oldDays, [movable + 1]);
  for (const { day, kept } of days) {
    if (kept <= movable) await patiently(() => database.rows(retireDay, [day, movable]));
  }
  const dying = days.filter((day) => day.kept_soon <= movable).map(({ name }) => name);
  return { gone: await buryRetired(database, shard), dying: new Set(dying) };
}

async function buryRetired(database: Database, shard: number): Promise<number> {
  const retired = (await tables(database)).filter((table) => table.retired);
  if (retired.length === 0) return 0;
  const client = await database.connect(buryMs);
  let gone = 0;
  try {
    for (const { name } of retired) {
      const { rows } = await client.query<{ gone: number }>(
        "SELECT CASE WHEN to_regclass($1) IS NULL THEN 0 ELSE bury_day($1, $2) END AS gone",
        [name, shard],
      );
      gone += rows[0]!.gone;
    }
    return gone;
  } catch (error) {
    throw failureOf(error);
  } finally {
    await client.end().catch(() => undefined);
  }
}

export interface TaskTable {
  readonly name: string;
  readonly retired: boolean;
  /** Rows in it that were kept for the usual time may be due. */
  readonly aged: boolean;
}

/** The tables that hold tasks, and those that are retired. */
export const tables = (database: Database): Promise<TaskTable[]> => database.rows(dayTables);

/** What cannot have its lock in a second is done in a later round. */
export async function patiently<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!isLockTimeout(error)) throw error;
    return undefined;
  }
}
