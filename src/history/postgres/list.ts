import { limits } from "../../limits.js";
import { earliestId } from "../../task/ids.js";
import { allStatuses, type Status } from "../../task/task.js";
import type { ListQuery, MatchPage, TaskPage } from "../history.js";
import { beforeAllIds, pageToken, startOfPage } from "../page-token.js";
import { bigint, storable, textArray } from "./literals.js";
import type { Database } from "./pool.js";
import { type TaskRow, taskOf } from "./rows.js";
import { sql, type Statement } from "./sql.js";

const listTasks = byScan("list_tasks");
const matchTasks = byScan("match_tasks");

type Walk = "status" | "error" | "tag" | "batch" | "schedule";

interface ScanRow {
  scanned: number;
  /** The answer is complete down to this id; null: it is complete. */
  reached: string | null;
}

export async function list(database: Database, query: ListQuery): Promise<TaskPage> {
  const rows = await database.rows<ScanRow & TaskRow>(...scanOf(listTasks, query));
  const found = rows.filter((row) => row.id !== null);
  const tasks = found.slice(0, query.pageSize).map(taskOf);
  const nextPageToken = tokenAfter(query, rows[0]!, found.length, tasks.at(-1)?.id);
  return { tasks, scanned: rows[0]!.scanned, nextPageToken };
}

export async function match(database: Database, query: ListQuery): Promise<MatchPage> {
  type MatchRow = ScanRow & { ids: string[] };
  const [row] = await database.rows<MatchRow>(...scanOf(matchTasks, query));
  const ids = row!.ids.slice(0, query.pageSize);
  const nextPageToken = tokenAfter(query, row!, row!.ids.length, ids.at(-1));
  return { ids, scanned: row!.scanned, nextPageToken };
}

function tokenAfter(
  query: ListQuery,
  { reached }: ScanRow,
  found: number,
  last: string | undefined,
): string {
  if (last !== undefined && found > query.pageSize) return pageToken(query, last);
  return reached === null ? "" : pageToken(query, reached);
}

interface ByScan {
  readonly tagged: Statement;
  readonly walked: Statement;
}

function byScan(name: string): ByScan {
  const { text } = sql(name);
  const calling = (which: string, scan: string): Statement => ({
    name: `${name}/${which}`,
    text: text.replace("{scan}", scan),
  });
  const rest = "$2::text[], $3::uuid, $4::uuid, $5::json, $6::int, $7::int";
  return {
    tagged: calling("tagged", `scan_tagged($1, ${rest})`),
    walked: calling("walked", `scan_tasks($1, $8, ${rest})`),
  };
}

function scanOf({ tagged, walked }: ByScan, query: ListQuery): [Statement, unknown[]] {
  const [walk, words] = walkOf(query);
  // The id of a client's own making may be older or newer than the task by this much.
  const slackMs = limits.submitIdAgeMs;
  const { createdAfter, createdBefore } = query;
  const above = earliestId(createdAfter === undefined ? 0 : createdAfter - slackMs);
  const below = createdBefore === undefined ? beforeAllIds : earliestId(createdBefore + slackMs);
  const start = startOfPage(query);
  const values = [
    storable(query.namespace),
    textArray(words),
    above,
    start < below ? start : below,
    filterJson(query),
    query.pageSize,
    query.scanMax ?? limits.scanRows,
  ];
  return walk === "tag" ? [tagged, values] : [walked, [...values, walk]];
}

/** Where the fewest rows are that may fit, and what to look up there. */
function walkOf(query: ListQuery): [walk: Walk, words: string[]] {
  const { statuses = [], batchId, schedule, errorCode, tag } = query;
  if (batchId !== undefined) return ["batch", [batchId]];
  if (errorCode !== undefined) return ["error", [errorCode]];
  if (schedule !== undefined) return ["schedule", [storable(schedule)]];
  // With the walk to take where the tag turns out to be common.
  return [tag === undefined ? "status" : "tag", storedAs(statuses)];
}

/** Rows that wait for a time that has come read as pending, and are stored as what they were. */
function storedAs(wanted: readonly Status[]): Status[] {
  const asked = new Set(wanted.length > 0 ? wanted : allStatuses);
  if (asked.has("pending")) asked.add("scheduled").add("retrying");
  return [...asked];
}

/** A task_filter of migration 0003. */
function filterJson(query: ListQuery): string {
  const { statuses = [], type, queue, tag, schedule, createdAfter, createdBefore } = query;
  return JSON.stringify({
    statuses: statuses.length > 0 ? statuses : undefined,
    type: type && storable(type),
    queue: queue && storable(queue),
    tag: tag && storable(tag),
    error_code: query.errorCode,
    batch_id: query.batchId,
    schedule: schedule && storable(schedule),
    said: query.text,
    created_after: createdAfter && bigint(createdAfter),
    created_before: createdBefore && bigint(createdBefore),
  });
}
