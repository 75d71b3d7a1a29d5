/**
 * Why a handler is asked to stop: the client cancelled, the time of the attempt or of the whole
 * task is up, its lease is gone, or the worker stops.
 */
export type AbortCause = "cancelled" | "timeout" | "deadline" | "lease_lost" | "shutdown";

/** The `reason` of a handler's AbortSignal. */
export class TaskAbortedError extends Error {
  readonly abortCause: AbortCause;

  constructor(abortCause: AbortCause, message: string) {
    super(message);
    this.name = "TaskAbortedError";
    this.abortCause = abortCause;
  }
}

export interface TaskFailedOptions {
  /** Stable word for programs, at most 128 characters. Default `handler_error`. */
  code?: string;
  /** False ends the task at once, whatever its retry policy says. Default true. */
  retryable?: boolean;
  /** Wait at least this long before the retry, instead of the policy's delay. In ms. */
  retryAfterMs?: number;
  cause?: unknown;
}

/**
 * Throw it from a handler to say how its task failed. Any other error fails the task too, and may
 * be retried.
 */
export class TaskFailedError extends Error {
  readonly code: string;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;

  constructor(message: string, options: TaskFailedOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "TaskFailedError";
    this.code = options.code ?? "handler_error";
    this.retryable = options.retryable ?? true;
    this.retryAfterMs = options.retryAfterMs;
    if (this.retryAfterMs !== undefined) checkMs("retryAfterMs", this.retryAfterMs);
  }
}

/** Throw it from a handler to hand its task back: it costs no retry. */
export class ReleaseError extends Error {
  readonly delayMs: number;

  /** `delayMs`: how long the task waits before it is leased again. Default 0. */
  constructor(options: { delayMs?: number } = {}) {
    super("the handler handed the task back");
    this.name = "ReleaseError";
    this.delayMs = options.delayMs ?? 0;
    checkMs("delayMs", this.delayMs);
  }
}

function checkMs(name: string, ms: unknown): void {
  if (Number.isFinite(ms)) return;
  throw new TypeError(`${name}: expected a number of ms, got ${String(ms)}`);
}
