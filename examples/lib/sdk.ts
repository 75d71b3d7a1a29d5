/**
 * What the sample handlers need of the worker SDK. Structural, so that a handler can be called from a test with a
 * plain object as well.
 */
export interface TaskContext {
  readonly taskId: string;
  /** Rises with every grant of the task: stores that see it can refuse a worker that was overtaken. */
  readonly fencingToken: number | bigint;
  readonly signal: AbortSignal;
  progress(fraction: number, message?: string): void;
}

export interface HandlerModule<Result> {
  readonly type: string;
  handle(payload: unknown, context: TaskContext): Promise<Result>;
}

/** A failure the coordinator can act on: whether to retry it, and when. */
export class HandlerFailure extends Error {
  readonly code: string;
  readonly retryable: boolean;
  /** Milliseconds until the retry, instead of the policy's backoff. */
  readonly retryAfterMs: number | undefined;

  constructor(code: string, message: string, retryable: boolean, retryAfterMs?: number) {
    super(message);
    this.name = "HandlerFailure";
    this.code = code;
    this.retryable = retryable;
    this.retryAfterMs = retryAfterMs;
  }
}

/** Trying again would end the same: the task fails at once. */
export const permanent = (code: string, message: string) =>
  new HandlerFailure(code, message, false);

/** Worth trying again, after `retryAfterMs` if the other side said when. */
export const transient = (code: string, message: string, retryAfterMs?: number) =>
  new HandlerFailure(code, message, true, retryAfterMs);
