import { TaskFailedError, type HandlerContext } from "drover/worker";

/**
 * As much of the worker's context as the sample handlers need, so that a test can call them with a
 * plain object.
 */
export type TaskContext = Pick<HandlerContext, "taskId" | "fencingToken" | "signal" | "progress">;

/** What a handler module exports by default. */
export interface SampleHandler<Result> {
  readonly type: string;
  readonly handle: (payload: unknown, context: TaskContext) => Promise<Result>;
}

/** Trying again would end the same: the task fails at once. */
export const permanent = (code: string, message: string): TaskFailedError =>
  new TaskFailedError(message, { code, retryable: false });

/** Worth trying again, after `retryAfterMs` if the other side said when. */
export const transient = (code: string, message: string, retryAfterMs?: number): TaskFailedError =>
  new TaskFailedError(message, { code, ...(retryAfterMs !== undefined && { retryAfterMs }) });
