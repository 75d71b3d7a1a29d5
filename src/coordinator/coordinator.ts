import type { SessionInfo } from "../broker/broker.js";
import type { DroverError } from "../errors.js";
import type { ListQuery, TaskPage } from "../history/history.js";
import type { TaskDraft } from "../task/draft.js";
import type { Step } from "../task/life.js";
import type { LogEntry } from "../task/log.js";
import type { TaskFilter } from "../task/filter.js";
import type { Attempt, Payload, Progress, QueueSettings, Status, Task } from "../task/task.js";
import type { Session, SessionHello, SessionPort } from "./frames.js";
import type { Batches } from "./batches.js";
import type { Schedules } from "./schedules.js";

/**
 * The decisions, against the broker's and the history's interfaces only. The doors (api/) parse,
 * make one of these calls, and reply. Every call takes the namespace of the authenticated caller
 * and never reaches beyond it. Calls reject with a DroverError of the catalog.
 */
export interface Coordinator {
  /** Unique per process start. */
  readonly id: string;
  start(): Promise<void>;
  /** Readiness off, GoAway to every session, waits for them to move (at most 25 s), flushes. */
  drain(): Promise<void>;
  stop(): Promise<void>;
  /** Undefined: it takes submissions. Otherwise one line for people. */
  notReady(): string | undefined;
  /** What does not work though it is ready, in one line; undefined: nothing. */
  degraded(): string | undefined;

  /** One outcome per item, in order; never rejects for one item's sake. */
  submit(namespace: string, items: readonly Submission[]): Promise<SubmitOutcome[]>;
  get(namespace: string, taskId: string): Promise<TaskView>;
  list(query: ListQuery): Promise<TaskViewPage>;
  attempts(namespace: string, taskId: string): Promise<Attempt[]>;
  /** `attempt` undefined: of all. */
  logs(
    namespace: string,
    taskId: string,
    attempt: number | undefined,
    page: Page,
  ): Promise<{ entries: LogEntry[]; nextPageToken: string }>;
  /** `reason`: for people, default "". */
  cancel(namespace: string, taskId: string, graceMs: number, reason?: string): Promise<TaskView>;
  /** One slice; where `nextPageToken` is not empty there may be more. */
  cancelMany(namespace: string, request: CancelManyRequest): Promise<CancelManyOutcome>;
  /** A new run of an ended task; with `redrive` a new task from it, with another payload. */
  retry(namespace: string, taskId: string, redrive?: Redrive): Promise<TaskView>;
  /** One slice each; where `nextPageToken` is not empty there may be more. */
  retryMany(namespace: string, request: BulkRequest): Promise<BulkOutcome>;
  purgeMany(namespace: string, request: BulkRequest): Promise<BulkOutcome>;
  wait(
    namespace: string,
    taskId: string,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<{ task: TaskView; finished: boolean }>;
  /**
   * What happened to the tasks since the cursor ("": since they came in), then what happens, until
   * all have ended and everything was told. Rejects with `shutting_down` when this coordinator
   * does: the last cursor goes on elsewhere.
   */
  watch(
    namespace: string,
    taskIds: readonly string[],
    cursor: string,
    signal: AbortSignal,
  ): AsyncIterable<TaskEvent>;
  stats(namespace: string, queue: string | undefined): Promise<Stats>;

  queue(namespace: string, name: string): Promise<QueueView>;
  queues(namespace: string, page: Page): Promise<{ queues: QueueView[]; nextPageToken: string }>;
  updateQueue(namespace: string, name: string, change: QueueChange): Promise<QueueView>;
  workers(
    namespace: string,
    page: Page,
  ): Promise<{ workers: SessionInfo[]; nextPageToken: string }>;

  readonly schedules: Schedules;
  readonly batches: Batches;

  /** Opens or resumes a session; the port is how it speaks to its stream. */
  openSession(namespace: string, hello: SessionHello, port: SessionPort): Promise<Session>;
}

export interface Submission {
  readonly draft: TaskDraft;
  /** UUIDv7 of the client, or "". */
  readonly requestId: string;
}

export type SubmitOutcome =
  | {
      /** `replaced`, `debounced`: it stands in the place of another, which was cancelled for it. */
      readonly kind: "submitted" | "existing" | "replaced" | "debounced";
      readonly taskId: string;
    }
  | { readonly kind: "refused"; readonly error: DroverError };

/** One event of a watched task. */
export type TaskEvent = {
  readonly taskId: string;
  /** The watch goes on after this event, on any coordinator. */
  readonly cursor: string;
} & (
  | { readonly kind: "status"; readonly step: Step; readonly task: Task | undefined }
  | { readonly kind: "progress"; readonly attempt: number; readonly progress: Progress }
  | { readonly kind: "logs"; readonly entries: readonly LogEntry[] }
);

export interface Redrive {
  readonly payload: Payload | undefined;
  /** As in a submission. */
  readonly requestId: string;
}

export interface CancelManyRequest {
  readonly filter: TaskFilter;
  /** Tasks of the slice, 1 to 1,000. */
  readonly limit: number;
  /** Only count. */
  readonly dryRun: boolean;
  readonly pageToken: string;
  readonly graceMs: number;
  readonly reason: string;
}

export interface CancelManyOutcome {
  readonly matched: number;
  /** Of these waited, and never start. */
  readonly cancelled: number;
  /** Of these run, and were asked to stop. */
  readonly requested: number;
  /** Of these had ended meanwhile. */
  readonly ended: number;
  /** Rows looked at. */
  readonly scanned: number;
  readonly nextPageToken: string;
}

export interface BulkRequest {
  readonly filter: TaskFilter;
  /** Tasks of one slice, 1 to 1,000. */
  readonly limit: number;
  /** Only count. */
  readonly dryRun: boolean;
  readonly pageToken: string;
}

export interface BulkOutcome {
  readonly matched: number;
  /** Of those that matched: others had changed meanwhile. */
  readonly done: number;
  /** Rows looked at. */
  readonly scanned: number;
  readonly nextPageToken: string;
}

export type PendingReason = "paused" | "no_worker" | "no_slot" | "cold";

export interface TaskView extends Task {
  readonly pendingReason: PendingReason | undefined;
}

export interface TaskViewPage extends Omit<TaskPage, "tasks"> {
  readonly tasks: TaskView[];
}

export type Stats = Readonly<Record<Status, number>> & { readonly workers: number };

export interface Page {
  readonly pageSize: number;
  readonly pageToken: string;
}

export interface QueueView extends QueueSettings {
  readonly stats: Stats;
}

export interface QueueChange extends Partial<
  Omit<QueueSettings, "namespace" | "name" | "version">
> {
  /** Refuse unless the queue still has this version. */
  readonly ifVersion?: number;
}
