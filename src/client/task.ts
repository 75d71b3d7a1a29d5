import type { BatchCallback, BatchCounts } from "../transport/batch.js";
import type { Content } from "../transport/content.js";

/** Priorities of tasks: higher first, lower ones keep a small share. */
export const priorities = Object.freeze({ low: 0, medium: 1, high: 2, critical: 3 });
export type Priority = (typeof priorities)[keyof typeof priorities];

export const taskStatuses = Object.freeze([
  "blocked",
  "scheduled",
  "pending",
  "running",
  "retrying",
  "completed",
  "failed",
  "cancelled",
  "expired",
] as const);
export type TaskStatus = (typeof taskStatuses)[number];

const finals: ReadonlySet<string> = new Set(["completed", "failed", "cancelled", "expired"]);

/** Whether a task of this status has ended. */
export const isFinal = (status: TaskStatus): boolean => finals.has(status);

export type PendingReason = "paused" | "no_worker" | "no_slot" | "cold";

/** How long to wait before a retry. What is left out is the queue's. */
export interface RetryPolicy {
  /** Default 1,000, at most 30 days. */
  initialBackoffMs?: number;
  /** Default 600,000, at most 30 days. */
  maxBackoffMs?: number;
  /** 1 to 10, default 2. */
  multiplier?: number;
  /** 0 to 1, default 0.2. */
  jitter?: number;
  /** Error codes that end the task at once. At most 32. */
  nonRetryableCodes?: readonly string[];
  /** How the wait grows from retry to retry. Default exponential. */
  backoff?: Backoff;
  /**
   * The waits themselves, instead of a backoff: retry n waits the n-th, later ones the last. At
   * most 100 of at most 30 days.
   */
  delaysMs?: readonly number[];
}

/** initial * multiplier^(n-1), initial * n, or always initial. */
export type Backoff = "exponential" | "linear" | "fixed";

/** How a unique key holds. */
export interface UniquePolicy {
  /**
   * How long its holder keeps it: until it has ended (default), until it is leased for the first
   * time, or for a time.
   */
  scope?: "until_final" | "until_started" | "for_time";
  /**
   * In ms, from 1,000. With `for_time`: how long it is taken, from submission. With `debounce`: the
   * task runs no sooner after its submission.
   */
  windowMs?: number;
  /**
   * Where the key is taken: answer with its holder (default), refuse, or put this task in the place
   * of a holder that waits. One that runs stays, and is the answer.
   */
  onConflict?: "return_existing" | "reject" | "replace" | "debounce";
}

/** What may be said of a task beside its type and payload. Limits are those of the contract. */
export interface TaskOptions {
  /** Default `default`. */
  queue?: string;
  /** See `priorities`. Default medium. */
  priority?: Priority;
  /** Retries after failures of the handler. Default: the queue's, 3. */
  maxRetries?: number;
  retryPolicy?: RetryPolicy;
  /** Not before this time. */
  runAt?: Date;
  /** Not before this much time from now, in ms; instead of runAt. */
  delayMs?: number;
  /** Longest run of one attempt, in ms. Default 15 min. */
  attemptTimeoutMs?: number;
  /** Longest silence of an attempt (no progress, checkpoint or log entry), in ms. From 1,000. */
  heartbeatTimeoutMs?: number;
  /** Not started by then: it ends as expired. */
  expireAt?: Date;
  /** Final by then, whatever it is doing. What its handler submits by its context inherits it. */
  deadline?: Date;
  /** Fairness flow, e.g. a tenant. */
  groupKey?: string;
  /** Labels a worker must carry. */
  requiredLabels?: Readonly<Record<string, string>>;
  /** Marks to filter by. */
  tags?: readonly string[];
  /** The same key in the same queue gives the same task for 24 h. */
  idempotencyKey?: string;
  /** At most one task of the queue holds the key, as `unique` says. At most 256 characters. */
  uniqueKey?: string;
  unique?: UniquePolicy;
  /** An open batch that it joins. */
  batchId?: string;
  /** How long the ended task is kept, in ms. Default: the queue's, 7 days. */
  retentionMs?: number;
  /**
   * W3C trace context: traceparent, tracestate, baggage. Default: the caller's active span, where
   * an OpenTelemetry SDK is registered.
   */
  traceContext?: Readonly<Record<string, string>>;
}

export interface TaskError {
  readonly code: string;
  readonly message: string;
  readonly stack: string | undefined;
}

/** A task as it stands. */
export interface Task<Payload = unknown, Result = unknown> {
  readonly id: string;
  readonly type: string;
  readonly queue: string;
  readonly status: TaskStatus;
  readonly pendingReason: PendingReason | undefined;
  readonly priority: Priority;
  /** Content where it is not JSON. */
  readonly payload: Payload;
  /** Undefined until it is completed; Content where it is not JSON. */
  readonly result: Result | undefined;
  /** Of the latest failed attempt. */
  readonly error: TaskError | undefined;
  readonly maxRetries: number;
  readonly retryPolicy: RetryPolicy | undefined;
  readonly retryCount: number;
  readonly attempt: number;
  /** From 1; +1 with each retry of an ended task. */
  readonly run: number;
  readonly leaseLosses: number;
  readonly createdAt: Date | undefined;
  readonly runAt: Date | undefined;
  readonly startedAt: Date | undefined;
  readonly completedAt: Date | undefined;
  readonly cancelRequestedAt: Date | undefined;
  /** How a cancel went, once one was asked for. */
  readonly cancellation: Cancellation | undefined;
  readonly workerId: string | undefined;
  readonly progress: number;
  readonly progressMessage: string | undefined;
  readonly attemptTimeoutMs: number | undefined;
  readonly heartbeatTimeoutMs: number | undefined;
  readonly expireAt: Date | undefined;
  readonly deadline: Date | undefined;
  readonly retentionMs: number | undefined;
  readonly groupKey: string | undefined;
  readonly idempotencyKey: string | undefined;
  readonly uniqueKey: string | undefined;
  readonly unique: UniquePolicy | undefined;
  readonly requiredLabels: Readonly<Record<string, string>>;
  readonly tags: readonly string[];
  readonly traceContext: Readonly<Record<string, string>>;
  /** The ended task that this one was made from, with another payload. */
  readonly redrivenFrom: string | undefined;
  /** The batch it belongs to. */
  readonly batchId: string | undefined;
  /** Of a callback of a batch: whose, and why it was made. */
  readonly batchCallback: BatchCallback | undefined;
  /** +1 at each change. */
  readonly version: number;
}

/** Proof of a cancel, step by step. */
export interface Cancellation {
  readonly requestedAt: Date | undefined;
  readonly reason: string;
  /** The worker's stream was told. */
  readonly deliveredAt: Date | undefined;
  /** The worker ended the attempt itself, with whatever result. */
  readonly acknowledgedAt: Date | undefined;
  /** The lease was revoked: what the worker still sends is refused. */
  readonly forcedAt: Date | undefined;
}

export type AttemptOutcome =
  | "completed"
  | "failed"
  | "timeout"
  | "released"
  | "cancelled"
  | "lost"
  | "running";

/** One grant of a task to a worker. */
export interface Attempt {
  readonly attempt: number;
  readonly run: number;
  readonly fencingToken: number;
  readonly workerId: string;
  readonly sessionId: string;
  readonly startedAt: Date | undefined;
  readonly endedAt: Date | undefined;
  readonly outcome: AttemptOutcome;
  readonly error: TaskError | undefined;
}

export type LogLevel = "debug" | "info" | "warn" | "error";

/** One line of a handler's log. */
export interface LogEntry {
  readonly attempt: number;
  /** From 1 within the attempt; a gap is what was dropped. */
  readonly sequence: number;
  /** By the worker's clock. */
  readonly time: Date | undefined;
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: object | undefined;
  /** Above 0: a marker, for so many entries that were dropped before it. */
  readonly dropped: number;
}

/** What happened to a watched task. */
export type TaskEvent = {
  readonly taskId: string;
  /** A watch of the same tasks goes on after this event with it. */
  readonly cursor: string;
} & (
  | ({ readonly type: "status" } & StatusChange & {
        /** As it stands, without its payload; undefined with a status that is past already. */
        readonly task: Task | undefined;
      })
  | {
      readonly type: "progress";
      readonly fraction: number;
      readonly message: string;
      readonly attempt: number;
    }
  | { readonly type: "logs"; readonly entries: readonly LogEntry[] }
);

export interface StatusChange {
  readonly status: TaskStatus;
  /** The run is over with it. */
  readonly final: boolean;
  readonly attempt: number;
  readonly run: number;
  readonly time: Date | undefined;
  readonly workerId: string | undefined;
  /** Why, of retrying and failed ones. */
  readonly error: TaskError | undefined;
  readonly cancelRequested: boolean;
}

/** Number of tasks by status; `processing` counts the running ones. */
export interface Stats {
  readonly pending: number;
  readonly processing: number;
  readonly completed: number;
  readonly failed: number;
  readonly scheduled: number;
  readonly retrying: number;
  readonly blocked: number;
  readonly cancelled: number;
  readonly expired: number;
  /** Worker sessions connected. */
  readonly workers: number;
}

export type { BatchCallback, BatchCounts, Content };
