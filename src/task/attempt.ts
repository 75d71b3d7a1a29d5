import type { Attempt, AttemptOutcome, Task, TaskError } from "./task.js";

/** The last grant of a task as an attempt; without an end and an outcome while it runs. */
export const attemptOf = (
  task: Task,
  endedAt: number | undefined,
  outcome: AttemptOutcome | undefined,
  error: TaskError | undefined,
): Attempt => ({
  taskId: task.id,
  fencingToken: task.fencingToken,
  attempt: task.attempt,
  run: task.run,
  sessionId: task.sessionId,
  workerId: task.workerId,
  startedAt: task.startedAt ?? endedAt ?? 0,
  endedAt,
  outcome,
  error,
});
