import { type Attempt, isFinal, type Status, type Task, type TaskError } from "./task.js";

/** How far somebody has seen a task's life. */
export interface Seen {
  /** Of the state last seen; 0: nothing yet. */
  readonly version: number;
  readonly run: number;
  readonly attempt: number;
  readonly stage: Stage;
  readonly cancelRequested: boolean;
}

export const stages = ["waiting", "running", "final"] as const;
export type Stage = (typeof stages)[number];

/** One status that a task took. */
export interface Step {
  readonly status: Status;
  readonly attempt: number;
  readonly run: number;
  /** By the store's clock; undefined where nobody knows any more. */
  readonly time: number | undefined;
  readonly workerId: string;
  readonly error: TaskError | undefined;
  readonly cancelRequested: boolean;
  /** The task stands so now; otherwise it is past. */
  readonly current: boolean;
}

export const unseen: Seen = Object.freeze({
  version: 0,
  run: 0,
  attempt: 0,
  stage: "waiting",
  cancelRequested: false,
});

/** Whether history has to be asked for attempts that began and ended unseen. */
export const missedAttempts = (seen: Seen, task: Task): boolean => {
  const over = task.status === "running" ? task.attempt - 1 : task.attempt;
  return over > seen.attempt || (over === seen.attempt && task.attempt > over && isRunning(seen));
};

/**
 * What a task went through since it was seen, oldest first: every attempt and every end, though
 * waits that are over (a promotion after a backoff) may be left out. `attempts` fills in what the
 * task itself does not tell; one that is missing there is told without its time.
 */
export function stepsSince(seen: Seen, task: Task, attempts: readonly Attempt[]): Step[] {
  if (!hasNews(seen, task)) return [];
  const rows = new Map(attempts.map((attempt) => [attempt.attempt, attempt]));
  const steps: Step[] = [];
  if (seen.version === 0 && task.attempt > 0) steps.push(created(task));
  for (let nth = Math.max(1, seen.attempt); nth <= task.attempt; nth += 1) {
    const row = rows.get(nth);
    const isLast = nth === task.attempt;
    const runsNow = isLast && task.status === "running";
    if (nth > seen.attempt && !runsNow) steps.push(started(task, nth, row));
    if (nth === seen.attempt && !isRunning(seen)) continue;
    if (!isLast) steps.push(...between(task, nth, row, rows.get(nth + 1)));
    else if (task.status === "pending" && failed(row)) steps.push(past(task, nth, "retrying", row));
  }
  if (!seesTheSame(seen, task)) steps.push(current(task, rows.get(task.attempt)));
  return steps;
}

/** After all steps were told. */
export const seenOf = (task: Task): Seen => ({
  version: task.version,
  run: task.run,
  attempt: task.attempt,
  stage: isFinal(task.status) ? "final" : task.status === "running" ? "running" : "waiting",
  cancelRequested: task.cancelRequestedAt !== undefined,
});

const isRunning = (seen: Seen): boolean => seen.stage === "running";

const failed = (row: Attempt | undefined): boolean =>
  row?.outcome === "failed" || row?.outcome === "timeout";

/** A reading may be older than what was seen before: history lags behind the broker. */
function hasNews(seen: Seen, task: Task): boolean {
  if (task.run < seen.run || task.version < seen.version) return false;
  if (task.run === seen.run && seen.stage === "final") return false;
  return task.version > seen.version || !seesTheSame(seen, task);
}

/** An end that is not recorded yet reads as running, with the version of the end. */
function seesTheSame(seen: Seen, task: Task): boolean {
  const now = seenOf(task);
  if (now.run !== seen.run || now.attempt !== seen.attempt || now.stage !== seen.stage)
    return false;
  const waits = now.stage === "waiting" && task.version > seen.version;
  return !waits && now.cancelRequested === seen.cancelRequested;
}

const created = (task: Task): Step => ({
  status: task.runAt !== undefined && task.runAt > task.createdAt ? "scheduled" : "pending",
  attempt: 0,
  run: 1,
  time: task.createdAt,
  workerId: "",
  error: undefined,
  cancelRequested: false,
  current: false,
});

function started(task: Task, attempt: number, row: Attempt | undefined): Step {
  const own = attempt === task.attempt;
  return {
    status: "running",
    attempt,
    run: row?.run ?? task.run,
    time: row?.startedAt ?? (own ? task.startedAt : undefined),
    workerId: row?.workerId ?? (own ? task.workerId : ""),
    error: undefined,
    cancelRequested: false,
    current: false,
  };
}

const past = (task: Task, attempt: number, status: Status, row: Attempt | undefined): Step => ({
  status,
  attempt,
  run: row?.run ?? task.run,
  time: row?.endedAt,
  workerId: row?.workerId ?? "",
  error: row?.error,
  cancelRequested: false,
  current: false,
});

/** What stood between an attempt and the next one. */
function between(
  task: Task,
  attempt: number,
  row: Attempt | undefined,
  next: Attempt | undefined,
): Step[] {
  const nextRun = next?.run ?? task.run;
  if (!row || row.run === nextRun) {
    return [past(task, attempt, failed(row) ? "retrying" : "pending", row)];
  }
  const end = past(task, attempt, row.outcome === "cancelled" ? "cancelled" : "failed", row);
  return [end, { ...end, status: "pending", run: nextRun, time: undefined, error: undefined }];
}

const current = (task: Task, row: Attempt | undefined): Step => ({
  status: task.status,
  attempt: task.attempt,
  run: task.run,
  time: timeOf(task, row),
  workerId: task.workerId,
  error: task.status === "retrying" || task.status === "failed" ? task.error : undefined,
  cancelRequested: task.cancelRequestedAt !== undefined,
  current: true,
});

function timeOf(task: Task, row: Attempt | undefined): number | undefined {
  if (isFinal(task.status)) return task.completedAt;
  if (task.status === "running") return task.startedAt;
  return task.attempt === 0 ? task.createdAt : row?.endedAt;
}
