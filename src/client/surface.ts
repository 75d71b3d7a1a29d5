import type { Clock, Random } from "../clock.js";
import type { ChannelCredentials, Headers } from "../transport/channel.js";
import type { AnyTasks, TaskMap } from "../transport/task-map.js";
import type { CallOptions } from "./calls.js";
import type { Batches } from "./batch.js";
import type {
  BulkOptions,
  BulkOutcome,
  CancelManyOptions,
  CancelManyOutcome,
  CancelOptions,
} from "./bulk.js";
import type { TaskFilter } from "./filter.js";
import type { Page, PageOptions } from "./pages.js";
import type { Queues, Workers } from "./queues.js";
import type { Schedules } from "./schedule.js";
import type { SubmitPlan } from "./submitter.js";
import type { Attempt, LogEntry, Stats, Task, TaskEvent, TaskOptions } from "./task.js";
import type { WatchOptions } from "./watch.js";

export interface ClientOptions {
  /** Coordinators, host:port. Default: the comma list in DROVER_ADDR, else localhost:50051. */
  address?: string | readonly string[];
  /** Default: plain text. */
  credentials?: ChannelCredentials;
  /** Sent with every call, e.g. `{ authorization: "Bearer ..." }`. */
  headers?: Headers;
  clock?: Clock;
  random?: Random;
}

/** Options of one submission: of the task, and of the call. */
export interface SubmitOptions extends TaskOptions {
  /** Gives up waiting for the answer; the task may stand all the same. */
  signal?: AbortSignal;
  /** Gives up repeating after this long, in ms. Default and at most 5 min. */
  timeoutMs?: number;
}

export type SubmitStatus = "submitted" | "existing" | "replaced" | "debounced";

/** An accepted submission; `wait` and the others take it in place of the id. */
export interface Receipt<Type extends string = string> {
  readonly id: string;
  /**
   * `existing`: a key was seen before, or its unique key is taken; id is the task that has it.
   * `replaced`, `debounced`: a new task stands, and the one that waited with its unique key was
   * cancelled for it.
   */
  readonly status: SubmitStatus;
  readonly type: Type;
}

/** One task for submitMany. */
export type NewTask<Tasks extends TaskMap<Tasks>> = {
  [Type in keyof Tasks & string]: {
    type: Type;
    payload: Tasks[Type]["payload"];
    options?: TaskOptions;
  };
}[keyof Tasks & string];

export type SubmitOutcome<Type extends string = string> =
  | { readonly ok: true; readonly id: string; readonly status: SubmitStatus; readonly type: Type }
  | { readonly ok: false; readonly error: unknown; readonly type: Type };

export type ListOptions = TaskFilter & PageOptions;

/**
 * A page may be short, or empty, and lead on all the same: what one call looks at is bounded.
 */
export interface TaskPage<Item> extends Page<Item> {
  /** Tasks looked at for it. */
  readonly scanned: number;
}

export interface WaitOptions {
  /** Longest wait in ms; then it throws with code 4. Default: none. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

export interface LogOptions extends PageOptions {
  /** Only this attempt. */
  attempt?: number;
}

export interface RetryOptions<Payload = unknown> extends CallOptions {
  /** Of the new task. */
  payload?: Payload;
}

/** A task id, or the receipt that came with it, which knows the type of the result. */
export type TaskRef<Type extends string> = string | Receipt<Type>;

type TypeOf<Tasks> = keyof Tasks & string;
type TaskOf<Tasks extends TaskMap<Tasks>, Type extends keyof Tasks> = Task<
  Tasks[Type]["payload"],
  Tasks[Type]["result"]
>;

export interface Client<Tasks extends TaskMap<Tasks> = AnyTasks> {
  /**
   * Submits one task; submits of the same tick ride together. An unknown outcome is repeated under
   * the same request id, so the task is never doubled. Throws a DroverClientError.
   */
  submit<Type extends TypeOf<Tasks>>(
    type: Type,
    payload: Tasks[Type]["payload"],
    options?: SubmitOptions,
  ): Promise<Receipt<Type>>;
  /** Any number of tasks, one outcome for each, in their order. Not all-or-nothing. */
  submitMany(
    tasks: readonly NewTask<Tasks>[],
    options?: SubmitPlan,
  ): Promise<SubmitOutcome<TypeOf<Tasks>>[]>;
  get<Type extends TypeOf<Tasks> = TypeOf<Tasks>>(
    task: TaskRef<Type>,
    options?: CallOptions,
  ): Promise<TaskOf<Tasks, Type>>;
  /** Waits until the task has ended, however it did, over as many long polls as it takes. */
  wait<Type extends TypeOf<Tasks> = TypeOf<Tasks>>(
    task: TaskRef<Type>,
    options?: WaitOptions,
  ): Promise<TaskOf<Tasks, Type>>;
  /** All that fit, newest first, fetched page by page. */
  list(options?: ListOptions): AsyncGenerator<TaskOf<Tasks, TypeOf<Tasks>>>;
  /** One page of the list. */
  listPage(options?: ListOptions): Promise<TaskPage<TaskOf<Tasks, TypeOf<Tasks>>>>;
  /** Queued: it never starts. Running: its handler is asked to stop. */
  cancel<Type extends TypeOf<Tasks> = TypeOf<Tasks>>(
    task: TaskRef<Type>,
    options?: CancelOptions,
  ): Promise<TaskOf<Tasks, Type>>;
  /**
   * Cancels all that fit and have not ended, slice by slice; the time given is for each slice. When
   * it throws, what was cancelled before stays so, and a repeat goes on.
   */
  cancelMany(filter: TaskFilter, options?: CancelManyOptions): Promise<CancelManyOutcome>;
  /**
   * A new run of a task that failed, was cancelled or expired; or the end of its backoff. With a
   * payload it stays as it ended, and a new task is made from it.
   */
  retry<Type extends TypeOf<Tasks> = TypeOf<Tasks>>(
    task: TaskRef<Type>,
    options?: RetryOptions<Tasks[Type]["payload"]>,
  ): Promise<TaskOf<Tasks, Type>>;
  /** New runs of all dead letters that fit; of other ended tasks, where `status` says so. */
  retryMany(filter: TaskFilter, options?: BulkOptions): Promise<BulkOutcome>;
  /** Removes all ended tasks that fit; `status` says which. */
  purgeMany(filter: TaskFilter, options?: BulkOptions): Promise<BulkOutcome>;
  /** Every grant of the task, oldest first. */
  attempts(task: TaskRef<string>, options?: CallOptions): Promise<readonly Attempt[]>;
  /** What its handlers logged, by attempt, oldest first, fetched page by page. */
  logs(task: TaskRef<string>, options?: LogOptions): AsyncGenerator<LogEntry>;
  /**
   * What becomes of tasks (at most 100), from the beginning or after a cursor: first what was
   * missed, then what happens, until all have ended. Reconnects by itself.
   */
  watch(
    tasks: TaskRef<string> | readonly TaskRef<string>[],
    options?: WatchOptions,
  ): AsyncGenerator<TaskEvent>;
  /** Tasks by status, of one queue or of all. */
  stats(options?: CallOptions & { queue?: string }): Promise<Stats>;
  readonly queues: Queues;
  readonly schedules: Schedules;
  readonly batches: Batches<Tasks>;
  readonly workers: Workers;
  /**
   * Waits for answers to what was submitted, at most `graceMs` (default 5,000), and disconnects.
   */
  close(options?: { graceMs?: number }): Promise<void>;
}
