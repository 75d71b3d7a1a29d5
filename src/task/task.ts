/**
 * The vocabulary: what a task is, on every surface. Pure types and constants; no I/O, no wire
 * format. All times are milliseconds since 1970, all durations milliseconds.
 */

/**
 * Non-final: blocked, scheduled, pending, running, retrying. The failed ones are the dead-letter
 * queue.
 */
export type Status =
  | "blocked"
  | "scheduled"
  | "pending"
  | "running"
  | "retrying"
  | "completed"
  | "failed"
  | "cancelled"
  | "expired";

export type FinalStatus = "completed" | "failed" | "cancelled" | "expired";

/** 0 low, 1 medium, 2 high, 3 critical. */
export type Priority = 0 | 1 | 2 | 3;

/**
 * DURABLE: an acknowledged task is in Postgres. RELAXED: it is in Redis, and drained to Postgres.
 * See P1.
 */
export type Durability = "durable" | "relaxed";

/**
 * Opaque bytes. `contentType` "" means the wire bytes of a google.protobuf.Value (plain JSON given
 * over gRPC or REST); anything else is what a typed client sent, usually application/json.
 * Coordinators never look inside and never log it.
 */
export interface Payload {
  readonly contentType: string;
  readonly data: Uint8Array;
}

export interface TaskError {
  /** Stable word for programs, e.g. `timeout`, `poison`, or the handler's own. */
  readonly code: string;
  readonly message: string;
  readonly stack?: string;
  readonly retryable: boolean;
}

/** How the delay grows from retry to retry: initial * multiplier^(n-1), initial * n, or initial. */
export type Backoff = "exponential" | "linear" | "fixed";

/** Delay before retry n (from 1): what `backoff` says of n, at most the max, spread by +-jitter. */
export interface RetryPolicy {
  readonly initialBackoffMs: number;
  readonly maxBackoffMs: number;
  readonly multiplier: number;
  /** 0 to 1: the share of the delay that chance may add or take. */
  readonly jitter: number;
  readonly nonRetryableCodes: readonly string[];
  readonly backoff: Backoff;
  /** Not empty: the delays themselves, the last one for all later retries. */
  readonly delaysMs: readonly number[];
}

export type UniqueScope = "until_final" | "until_started" | "for_time";
export type UniqueConflict = "return_existing" | "reject" | "replace" | "debounce";

/** At most one task of a queue holds the key, while the scope lasts. */
export interface UniqueRule {
  readonly key: string;
  readonly scope: UniqueScope;
  /** Of `for_time` and `debounce`: from submission. */
  readonly windowMs: number | undefined;
  readonly onConflict: UniqueConflict;
}

/** What few tasks ask for. Undefined on the others, which so pay nothing for it. */
export interface TaskTerms {
  readonly unique?: UniqueRule | undefined;
  /** Not started in this run by then: EXPIRED. */
  readonly expireAt?: number | undefined;
  /** Longest silence of a running attempt. */
  readonly heartbeatTimeoutMs?: number | undefined;
  /** Final by then. */
  readonly deadline?: number | undefined;
  readonly batchId?: string | undefined;
  /** A batch called for it. */
  readonly batchCallback?: BatchCallback | undefined;
  /** Id of the ended task it was made from. */
  readonly redrivenFrom?: string | undefined;
  readonly schedule?: string | undefined;
  /** The tick of that schedule. */
  readonly scheduledFor?: number | undefined;
}

export type BatchEvent = "complete" | "success" | "failure";

/** Of which batch it is a callback, and how that stood when it was called. */
export interface BatchCallback {
  readonly batchId: string;
  readonly event: BatchEvent;
  readonly counts: Readonly<Partial<Record<Status, number>>>;
}

/** What was asked. Never changes after submission. */
export interface TaskSpec {
  readonly namespace: string;
  readonly queue: string;
  readonly type: string;
  readonly priority: Priority;
  readonly payload: Payload | undefined;
  /** Retries after handler failures; a task runs to failure at most maxRetries + 1 times. */
  readonly maxRetries: number;
  readonly retry: RetryPolicy;
  /** Not before; undefined: at once. */
  readonly runAt: number | undefined;
  /** Longest run of one attempt. */
  readonly timeoutMs: number;
  readonly groupKey: string;
  readonly requiredLabels: Readonly<Record<string, string>>;
  readonly tags: readonly string[];
  readonly idempotencyKey: string;
  /** How long the finished row is kept. */
  readonly retentionMs: number;
  /** W3C traceparent and tracestate of the producer, as given. */
  readonly traceContext: Readonly<Record<string, string>>;
  readonly durability: Durability;
  /** As submitted. */
  readonly createdAt: number;
  readonly terms: TaskTerms | undefined;
}

/**
 * What became of it. Written by the broker's scripts only (RUNNING and live states) and by history
 * (final ones).
 */
export interface TaskState {
  readonly status: Status;
  /** +1 at every transition; orders what history is told. Goes on across runs. */
  readonly version: number;
  /** From 1; +1 with each RetryTask of an ended task. Each run ends once. */
  readonly run: number;
  /** Grants so far, in all runs. */
  readonly attempt: number;
  /** Retries scheduled after handler failures, in this run. */
  readonly retryCount: number;
  /** Sessions lost while they held it, in this run. */
  readonly leaseLosses: number;
  /** Releases in a row. */
  readonly releases: number;
  /** Of the last grant; 0 before the first. Kept when the task waits again. */
  readonly fencingToken: number;
  /** Session that holds, or last held, it; "" before the first grant. */
  readonly sessionId: string;
  /** Display name of that worker. */
  readonly workerId: string;
  /** When a scheduled or retrying task becomes ready. */
  readonly readyAt: number | undefined;
  readonly startedAt: number | undefined;
  readonly completedAt: number | undefined;
  /** When a cancel of the running task was asked for. */
  readonly cancelRequestedAt: number | undefined;
  readonly result: Payload | undefined;
  /** Of the latest failed attempt. */
  readonly error: TaskError | undefined;
  readonly progress: Progress | undefined;
  /** How the cancel went; `cancelRequestedAt` above says when it was asked for. */
  readonly cancellation: Cancellation | undefined;
  /** What the handler last kept for the next attempt. */
  readonly checkpoint: Payload | undefined;
}

/** Proof of a cancel, step by step. */
export interface Cancellation {
  readonly reason: string;
  /** The worker's stream was told. */
  readonly deliveredAt: number | undefined;
  /** The worker has stopped and said so. */
  readonly acknowledgedAt: number | undefined;
  /** The grace was over, the lease revoked. */
  readonly forcedAt: number | undefined;
}

export interface Progress {
  /** 0 to 1. */
  readonly fraction: number;
  readonly message: string;
}

export interface Task extends TaskSpec, TaskState {
  /** UUIDv7, lower case with hyphens; its rand_a bits are the partition slot. */
  readonly id: string;
}

/** One grant that ended, or is running: own rows in history, keyed by (task, fencing token). */
export interface Attempt {
  readonly taskId: string;
  readonly fencingToken: number;
  readonly attempt: number;
  readonly run: number;
  readonly sessionId: string;
  readonly workerId: string;
  readonly startedAt: number;
  readonly endedAt: number | undefined;
  readonly outcome: AttemptOutcome | undefined;
  readonly error: TaskError | undefined;
}

export type AttemptOutcome = "completed" | "failed" | "timeout" | "released" | "cancelled" | "lost";

/** All of them, in the order of a task's life. */
export const allStatuses: readonly Status[] = [
  "blocked",
  "scheduled",
  "pending",
  "running",
  "retrying",
  "completed",
  "failed",
  "cancelled",
  "expired",
];

export const finalStatuses: readonly FinalStatus[] = [
  "completed",
  "failed",
  "cancelled",
  "expired",
];

export const isFinal = (status: Status): status is FinalStatus =>
  (finalStatuses as readonly Status[]).includes(status);

export const defaultNamespace = "default";
export const defaultQueue = "default";

/** What tasks of one type in a queue fall back on; what is left out is the queue's. */
export interface TypeSettings {
  readonly maxRetries?: number | undefined;
  readonly retry?: Partial<RetryPolicy> | undefined;
  readonly timeoutMs?: number | undefined;
}

/** Settings of a queue; a queue exists from its first use, with these defaults. */
export interface QueueSettings {
  readonly namespace: string;
  readonly name: string;
  readonly paused: boolean;
  readonly durability: Durability;
  /** Default of tasks that give none of their own. */
  readonly maxRetries: number;
  readonly retry: RetryPolicy;
  readonly retentionMs: number;
  /** Defaults of tasks of one type, before those above. */
  readonly types: Readonly<Record<string, TypeSettings>>;
  /** +1 with every change; 0: never set, all defaults. */
  readonly version: number;
}
