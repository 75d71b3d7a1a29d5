import { parseTaskId } from "../../task/ids.js";
import { type LogEntry, logLevels } from "../../task/log.js";
import type { LogQuery, LogsBehind } from "../history.js";
import { patiently } from "./days.js";
import { bigint, int, plainArray, textArray } from "./literals.js";
import type { Database } from "./pool.js";
import { sql } from "./sql.js";

const add = sql("add_logs");
const read = sql("logs");
const have = sql("have_logs");
const makeLogDaysSql = sql("make_log_days");
const oldLogDays = sql("old_log_days");
const dropLogDay = sql("drop_log_day");

/** Tasks that may outlive their day and keep their logs; more keep the day's logs standing. */
const movable = 1_000;

export async function addLogs(database: Database, entries: readonly LogEntry[]): Promise<void> {
  if (entries.length === 0) return;
  const column = <T>(of: (entry: LogEntry) => T): T[] => entries.map(of);
  await database.rows(add, [
    plainArray(column(({ taskId }) => taskId)),
    plainArray(column(({ fencingToken }) => bigint(fencingToken))),
    plainArray(column(({ sequence }) => int(sequence))),
    plainArray(column(({ attempt }) => int(attempt))),
    plainArray(column(({ time }) => bigint(time))),
    plainArray(column(({ level }) => logLevels.indexOf(level) + 1)),
    plainArray(column(({ dropped }) => int(dropped))),
    textArray(column(({ message }) => JSON.stringify(message))),
    textArray(column(({ fields }) => fields || undefined)),
  ]);
}

interface LogRow {
  readonly fencing_token: number;
  readonly sequence: number;
  readonly attempt: number;
  readonly logged_at: number;
  readonly level: number;
  readonly dropped: number;
  readonly message: string;
  readonly fields: string | null;
}

export async function logs(database: Database, query: LogQuery): Promise<LogEntry[]> {
  const id = parseTaskId(query.taskId);
  if (!id) return [];
  const { fencingToken, sequence } = query.after;
  const values = [id, fencingToken, sequence, query.attempt ?? null, query.limit];
  const rows = await database.rows<LogRow>(read, values);
  return rows.map((row) => ({
    taskId: id,
    fencingToken: row.fencing_token,
    attempt: row.attempt,
    sequence: row.sequence,
    time: row.logged_at,
    level: logLevels[row.level - 1] ?? "info",
    message: JSON.parse(row.message) as string,
    fields: row.fields ?? "",
    dropped: row.dropped,
  }));
}

export async function haveLogs(
  database: Database,
  places: readonly LogsBehind[],
): Promise<boolean[]> {
  const found = places.map(() => false);
  if (places.length === 0) return found;
  const rows = await database.rows<{ place: number }>(have, [
    plainArray(places.map(({ taskId }) => parseTaskId(taskId))),
    plainArray(places.map(({ after }) => bigint(after.fencingToken))),
    plainArray(places.map(({ after }) => int(after.sequence))),
  ]);
  for (const { place } of rows) found[place - 1] = true;
  return found;
}

export const makeLogDays = (database: Database): Promise<unknown> =>
  patiently(() => database.rows(makeLogDaysSql));

/** Drops the logs of days whose tasks are gone. */
export async function dropOldLogDays(database: Database): Promise<void> {
  for (const { day } of await database.rows<{ day: number }>(oldLogDays)) {
    await patiently(() => database.rows(dropLogDay, [day, movable]));
  }
}
