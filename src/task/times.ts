import type { Task, TaskError } from "./task.js";

/*
 * The times a task was given, and what they mean for it. expire_at and deadline bound the first
 * run: whoever begins another one wants it to run, though they have passed.
 */

/** Why an attempt must end by time alone; also the code of the error that it ends with. */
export type OverdueCause = "timeout" | "heartbeat_timeout" | "deadline";

type Timed = Pick<Task, "terms" | "run" | "startedAt" | "timeoutMs">;

const deadlineOf = ({ terms, run }: Timed): number | undefined =>
  run === 1 ? terms?.deadline : undefined;

/** When a waiting task must end; undefined: never. */
export function waitEnd(task: Timed): number | undefined {
  const deadline = deadlineOf(task);
  const expireAt =
    task.run === 1 && task.startedAt === undefined ? task.terms?.expireAt : undefined;
  return deadline === undefined || (expireAt !== undefined && expireAt < deadline)
    ? expireAt
    : deadline;
}

/** A waiting task that may not be leased any more. */
export const isOver = (task: Timed & Pick<Task, "cancelRequestedAt">, now: number): boolean =>
  task.cancelRequestedAt !== undefined || now >= (waitEnd(task) ?? Infinity);

export const isPastDeadline = (task: Timed, at: number): boolean =>
  at >= (deadlineOf(task) ?? Infinity);

/** When the attempt that runs must end, if it is not heard of after `heardAt`. */
export function attemptEnd(task: Timed, heardAt: number): number {
  const silentAt = heardAt + (task.terms?.heartbeatTimeoutMs ?? Infinity);
  return Math.min(runEnd(task, heardAt), silentAt);
}

/** The same, however silent it is: what its worker has left. */
export function runEnd(task: Timed, now: number): number {
  return Math.min((task.startedAt ?? now) + task.timeoutMs, deadlineOf(task) ?? Infinity);
}

/** Of an attempt that is past its `attemptEnd`. */
export function overdueCause(task: Timed, now: number): OverdueCause {
  if (isPastDeadline(task, now)) return "deadline";
  return (task.startedAt ?? now) + task.timeoutMs <= now ? "timeout" : "heartbeat_timeout";
}

/** What a task ends with that waited past `waitEnd`, and the status. */
export function endOfWait(task: Timed): {
  readonly status: "expired" | "failed";
  readonly error: TaskError;
} {
  if (waitEnd(task) !== deadlineOf(task)) return { status: "expired", error: neverStarted };
  return { status: task.startedAt === undefined ? "expired" : "failed", error: neverEnded };
}

const neverStarted: TaskError = Object.freeze({
  code: "expired",
  message: "it had not started by its expire_at",
  retryable: false,
});
const neverEnded: TaskError = Object.freeze({
  code: "deadline",
  message: "it had not ended by its deadline",
  retryable: false,
});
