import { limits } from "../limits.js";
import { checkLength, checkName, isName, refuse } from "./rules.js";
import type { Status, Task } from "./task.js";

/** Which tasks a list or a bulk call means. What is not given matches all; all given must hold. */
export interface TaskFilter {
  /** Any of these; none: whatever the status. */
  readonly statuses?: readonly Status[] | undefined;
  readonly type?: string | undefined;
  readonly queue?: string | undefined;
  readonly tag?: string | undefined;
  /** Of the latest error. */
  readonly errorCode?: string | undefined;
  /** Submitted at this time or later. */
  readonly createdAfter?: number | undefined;
  /** Submitted before this time. */
  readonly createdBefore?: number | undefined;
  readonly batchId?: string | undefined;
  readonly schedule?: string | undefined;
  /** Stands in the code or message of the latest error; A to Z match a to z. */
  readonly text?: string | undefined;
}

/** The rules for a filter that came in. `field`: its path, with a dot at the end, or "". */
export function checkFilter(filter: TaskFilter, field = ""): void {
  const { type, queue, tag, errorCode, schedule, text } = filter;
  if (type !== undefined) checkName(`${field}type`, type);
  if (queue !== undefined) checkName(`${field}queue`, queue);
  if (tag !== undefined) checkLength(`${field}tag`, tag, 0, limits.tagLength);
  if (errorCode !== undefined) checkLength(`${field}error_code`, errorCode, 0, limits.nameLength);
  if (text !== undefined) checkLength(`${field}text`, text, 0, limits.filterTextLength);
  if (schedule !== undefined && !isName(schedule)) {
    refuse(`${field}schedule`, "the name of a schedule", schedule);
  }
  const { createdAfter = 0, createdBefore = Number.MAX_SAFE_INTEGER } = filter;
  if (createdAfter > createdBefore) {
    refuse(`${field}created_before`, "a time after created_after", "an earlier one");
  }
}

/** Judged as `task` reads, so a task whose time has come counts as pending. */
export function fits(task: Task, filter: TaskFilter): boolean {
  const { statuses, createdAfter = 0, createdBefore = Number.POSITIVE_INFINITY, text } = filter;
  if (statuses?.length && !statuses.includes(task.status)) return false;
  if (task.createdAt < createdAfter || task.createdAt >= createdBefore) return false;
  const same =
    sameIf(filter.type, task.type) &&
    sameIf(filter.queue, task.queue) &&
    sameIf(filter.errorCode, task.error?.code) &&
    sameIf(filter.batchId, task.terms?.batchId) &&
    sameIf(filter.schedule, task.terms?.schedule);
  if (!same || (filter.tag !== undefined && !task.tags.includes(filter.tag))) return false;
  return text === undefined || saysText(task, text);
}

const sameIf = (wanted: string | undefined, is: string | undefined): boolean =>
  wanted === undefined || wanted === is;

function saysText({ error }: Task, text: string): boolean {
  if (!error) return false;
  const wanted = folded(text);
  return folded(error.message).includes(wanted) || folded(error.code).includes(wanted);
}

/** A to Z only: what every store folds alike. */
const folded = (text: string): string => text.replaceAll(/[A-Z]/g, (up) => up.toLowerCase());
