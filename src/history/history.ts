import type { RecordedItem, Transition } from "../broker/broker.js";
import type { TaskFilter } from "../task/filter.js";
import type { NewTask } from "../task/fresh-task.js";
import type { LogEntry, LogPlace } from "../task/log.js";
import type { BatchBar, BatchHistory } from "./batches.js";
import type { ScheduleHistory } from "./schedules.js";
import type { Attempt, Durability, QueueSettings, Status, Task } from "../task/task.js";

/**
 * What Postgres keeps: tasks, attempts, queue settings, keys. Two implementations,
 * `postgres/postgres-history.ts` and `memory-history.ts`, pass one conformance suite, whose tests
 * cite these promises:
 *
 * - H1 `insert` is one transaction: rows, idempotency and unique keys won, one commit marker. Group
 *      commit is the caller's business. A unique key is released with the row that shows the start
 *      or the end of its holder, as its scope says, and no sooner. The successor of a replaced task
 *      comes in, under a marker of its own id, in the transaction that writes the end of that one,
 *      and takes its key.
 * - H2 `record` may be replayed and reordered: a row takes only a larger version, and a final
 *      status of a run is written once; a second, different one is `refused`.
 * - H3 An update that finds no row is `missing` and changes nothing, unless the transition carries
 *      the whole task.
 * - H4 Ended rows are kept for their retention, then pruned with their attempts and keys; live rows
 *      are never pruned.
 * - H5 Reads never cross namespaces; pages are stable under inserts.
 * - H6 A row whose columns cannot be decoded is never a failed page.
 * - H7 A log entry is kept once by (task, fencing token, sequence), and pruned with its task. A
 *      crash of the store may lose those of its last second.
 *
 * H8 stands with the batches, in `batches.ts`.
 *
 * Every call rejects with `history_unavailable` when the store does not answer: the outcome is then
 * unknown. Decisions about time use the store's clock.
 */
export interface History {
  start(): Promise<void>;
  stop(): Promise<void>;
  readonly available: boolean;

  /**
   * DURABLE submission. The marker stands until `clearMarkers`: it finds commits that never reached
   * the broker.
   */
  insert(
    tasks: readonly NewTask[],
  ): Promise<{ outcomes: InsertOutcome[]; marker: string | undefined }>;
  clearMarkers(markers: readonly string[]): Promise<void>;
  /** Markers at least `idleMs` old with their live rows. */
  staleMarkers(idleMs: number, limit: number): Promise<{ marker: string; tasks: Task[] }[]>;

  /**
   * The same transition as this history holds it best until it is recorded. Its task may be read
   * anew each time.
   */
  prepare(told: Told): Told;
  /**
   * Writes transitions; several of one task may be given, the newest counts. Attempts are written
   * whatever the version.
   */
  record(transitions: readonly Told[]): Promise<RecordOutcome[]>;
  /** Undefined: this history holds ends of tasks no better than its callers do. */
  readonly sheets: EndSheets | undefined;
  /**
   * Cancels a row that is live here, when the broker does not know it. Undefined: no such live row.
   */
  cancelLive(namespace: string, taskId: string, reason?: string): Promise<Task | undefined>;
  /**
   * A new run of ended tasks (at most limits.reviveBatch): status pending, budgets reset, run and
   * version + 1, one commit marker for all. Outcomes in the order given.
   */
  revive(
    namespace: string,
    taskIds: readonly string[],
  ): Promise<{ outcomes: ReviveOutcome[]; marker: string | undefined }>;
  /**
   * Removes ended tasks with their attempts and keys, before their retention is over. Returns how
   * many went; live ones stay.
   */
  purge(namespace: string, taskIds: readonly string[]): Promise<number>;

  /** `namespace` undefined: any (the coordinator's own work). */
  get(namespace: string | undefined, taskIds: readonly string[]): Promise<(Task | undefined)[]>;
  /**
   * Newest first. Bounded in cost: a page may be short, or empty, and lead on all the same; it ends
   * where its token is empty.
   */
  list(query: ListQuery): Promise<TaskPage>;
  /** As `list`, but ids only. */
  match(query: ListQuery): Promise<MatchPage>;
  attempts(namespace: string, taskId: string): Promise<Attempt[]>;
  /** Keeps log entries, also of a task that is not here yet. Those that stand already stay. */
  addLogs(entries: readonly LogEntry[]): Promise<void>;
  /** In the order of their places. Whose task it is, is the caller's to check. */
  logs(query: LogQuery): Promise<LogEntry[]>;
  /** Whether there are entries behind each place; for many tasks at once. */
  haveLogs(places: readonly LogsBehind[]): Promise<boolean[]>;
  /** Holder of an idempotency key within its 24 h. */
  keyHolder(namespace: string, queue: string, key: string): Promise<string | undefined>;
  /** Ended tasks by queue and status, from counters kept by `record` and `prune`. */
  finalCounts(namespace: string): Promise<{ queue: string; status: Status; tasks: number }[]>;

  /** Live rows of a partition in id order, for rebuild and compare. */
  liveTasks(partition: number, partitions: number, afterId: string, limit: number): Promise<Task[]>;
  /** Rows that ended within the last `withinMs`, for tombstones after a store change. */
  recentlyEnded(
    partition: number,
    partitions: number,
    withinMs: number,
    limit: number,
  ): Promise<Task[]>;
  liveCount(namespace: string): Promise<number>;

  queue(namespace: string, name: string): Promise<QueueSettings | undefined>;
  /**
   * By name; across namespaces (undefined) by namespace and name, and `afterName` is
   * `namespace/name`.
   */
  queues(namespace: string | undefined, afterName: string, limit: number): Promise<QueueSettings[]>;
  /** `ifVersion` undefined: whatever is there. Undefined result: another version stands there. */
  putQueue(
    settings: QueueSettings,
    ifVersion: number | undefined,
  ): Promise<QueueSettings | undefined>;
  /** Notes that a queue is used, so that it is listed. */
  touchQueues(names: readonly { namespace: string; name: string }[]): Promise<void>;

  /** First caller decides; a later one with another number gets the recorded one back. */
  claimPartitions(partitions: number): Promise<number>;
  /**
   * Raises and returns the epoch of a partition: fencing numbers never repeat, even when Redis
   * forgets.
   */
  raiseEpoch(partition: number): Promise<number>;
  /**
   * Runs `work` if nobody else holds this name now (an advisory lock); undefined if somebody does.
   */
  exclusively<T>(name: string, work: (signal: AbortSignal) => Promise<T>): Promise<T | undefined>;
  /**
   * Removes up to `limit` tasks past their retention, and as many old markers and keys. Returns how
   * many tasks or keys went, whichever are more: as many as asked for means that there may be more.
   */
  prune(limit: number): Promise<number>;

  readonly schedules: ScheduleHistory;
  readonly batches: BatchHistory;
}

export type * from "./batches.js";
export type * from "./schedules.js";

/** A transition with what its teller knows beside it. */
export interface Told extends Transition {
  /**
   * The task with its payload, if it has one, where the transition omits that: it is at hand. Need
   * not be said where the transition's own task has a payload all the same.
   */
  readonly asked?: Task | undefined;
  /** Of its task, where that itself would have to be read for it. */
  readonly taskId?: string;
  /** Of memory, where its task is not held as an object. Estimated. */
  readonly bytes?: number;
}

export type InsertOutcome =
  | { readonly kind: "inserted" }
  /** The same id stands already: a retry of an unknown outcome. */
  | { readonly kind: "known" }
  | { readonly kind: "key_taken"; readonly taskId: string }
  /** Another task holds its unique key. */
  | { readonly kind: "unique_taken"; readonly taskId: string }
  /** It asked for a batch that takes no tasks. */
  | { readonly kind: "barred"; readonly why: BatchBar };

/**
 * `applied`: written. `superseded`: this version or a later one stands. `missing`: no row yet, keep
 * it. `refused`: the run had ended otherwise.
 */
export type RecordOutcome = "applied" | "superseded" | "missing" | "refused";

export type ReviveOutcome =
  | { readonly kind: "revived"; readonly task: Task }
  | { readonly kind: "live"; readonly task: Task }
  | { readonly kind: "completed"; readonly task: Task }
  | { readonly kind: "unknown" };

export interface LogsBehind {
  readonly taskId: string;
  /** Only entries behind this place. */
  readonly after: LogPlace;
}

export interface LogQuery extends LogsBehind {
  /** Only of this attempt; undefined: of all. */
  readonly attempt?: number | undefined;
  readonly limit: number;
}

/** Ends of tasks, side by side, which wait to be written together. */
export interface EndSheet {
  readonly size: number;
  /** Of memory. Estimated. */
  readonly bytes: number;
  /**
   * `refused`: only a task of its durability that is plain and completed is kept here, with its
   * payload, omitted or not.
   */
  take(told: Told): "taken" | "full" | "refused";
  /** As they were taken, by their place. */
  taskIdOf(nth: number): string;
  itemOf(nth: number): RecordedItem;
  toldOf(nth: number): Told;
}

export interface EndSheets {
  /** For ends of tasks of this durability. */
  create(durability: Durability): EndSheet;
  /**
   * Writes all of them in one transaction, as if only those had a live row whose payload was
   * omitted: then these sheets must not be used any more. False: it is otherwise, or one is
   * refused, and nothing is written.
   */
  record(sheets: readonly EndSheet[]): Promise<boolean>;
}

export interface ListQuery extends TaskFilter {
  readonly namespace: string;
  /** 1 to 500; `match` takes up to 1,000. */
  readonly pageSize: number;
  readonly pageToken: string;
  /** Rows that may be looked at for this page. Default limits.scanRows. */
  readonly scanMax?: number;
}

interface ScanReply {
  /** Rows looked at. */
  readonly scanned: number;
  readonly nextPageToken: string;
}
export interface TaskPage extends ScanReply {
  readonly tasks: Task[];
}
export interface MatchPage extends ScanReply {
  readonly ids: string[];
}
