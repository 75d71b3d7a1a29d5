import type { Task } from "../task/task.js";
import type { CoveredBirths, RecordedBirths } from "./births.js";
import type { EnqueueItem, EnqueueReply, Lane, LeaseReply, LeaseRequest } from "./leases.js";
import type {
  CancelItem,
  CancelReply,
  CheckpointItem,
  DeliveredItem,
  ProgressItem,
  ReplaceItem,
  ReplaceReply,
} from "./running.js";
import type {
  CoordinatorInfo,
  RenewVerdict,
  SessionInfo,
  SessionOpen,
  SessionOpenReply,
  SessionRenewal,
} from "./sessions.js";
import type {
  RecordedItem,
  SettledLeased,
  Settlement,
  SettleReply,
  SweepReply,
  Transition,
} from "./transitions.js";

export type * from "./births.js";
export type * from "./leases.js";
export type * from "./running.js";
export type * from "./sessions.js";
export type * from "./transitions.js";

/**
 * The live queue. Two implementations, `redis/redis-broker.ts` and `memory-broker.ts`, pass one
 * conformance suite, whose tests cite these promises:
 *
 * - B1  A task enqueued stands in exactly one place until it ends; a second enqueue of a known id,
 *       or of a tombstone of the same or a later run, changes nothing.
 * - B2  Within (lane, group, priority) first leases are in enqueue order; a task that comes back
 *       keeps its place. Higher priority first, except every 16th grant of a queue, which comes
 *       from below the top level if there is work.
 * - B3  Groups share a lane's level evenly, ungrouped tasks being one flow; a newcomer waits behind
 *       at most one task of each other group.
 * - B4  A lease is granted only to a live session of the given generation, never above the quota,
 *       never twice at a time. Every grant has a larger fencing number than any before it in the
 *       partition.
 * - B5  `settle` is the only way out of RUNNING. It compares the whole token and the session: equal
 *       and running -> accepted, once; the same again -> duplicate; anything else -> stale. A late
 *       success is accepted only if the lease was lost and the task has not been leased again.
 * - B6  A session not renewed for its lease is dead: its leases are offered by `sweep` until
 *       settled as lost, and a renewal never revives it. An older generation neither renews, cuts,
 *       leases nor settles.
 * - B7  A delayed or retrying task is leased neither before its time nor later than one sweep after
 *       it.
 * - B8  After cancel answers `cancelled` the task is never leased. For a running task the request
 *       stands in its record, is hinted at once, told to history, and `sweep` offers the lease
 *       once the grace is over; repeating it postpones nothing. An attempt that ends meanwhile
 *       without ending the task (retry, release, loss) ends it CANCELLED. The record proves each
 *       step: delivered, acknowledged by the worker's own end of the lease, or forced.
 * - B9  Every transition except grants and promotions is in the outbox, written in the same step,
 *       until `recorded`. A finished task is readable until then, however long that takes, and then
 *       a tombstone holds its last token for 15 min, of which the first may have passed before.
 * - B10 Limits hold: paused queues lease nothing; a full outbox stops leasing and RELAXED enqueues
 *       only.
 * - B11 Counts equal the structures after every call.
 * - B12 A wake-up reaches one waiter per insert and is never lost: what nobody takes stays for the
 *       next waiter.
 * - B13 A partition whose store was emptied or replaced is COLD: it leases nothing until `open`.
 * - B14 While a task is watched, each change of it (transition, progress, request to stop, logs) is
 *       hinted to every coordinator; the end of a DURABLE one once it is recorded. A task that
 *       nobody watches is not hinted at all.
 * - B15 A checkpoint is kept if the lease runs, by the whole token and its session; every later
 *       grant of the run brings it, however the attempt ended, and each transition tells history of
 *       it. A completed task keeps none.
 * - B16 The first run of a task keeps its times. Past its `expireAt` (if it never started) or its
 *       deadline a waiting task is never leased, and the next sweep ends it: EXPIRED, or FAILED if
 *       it had started. A running one is offered as `timedOut` at its deadline, its timeout, or
 *       once it was not heard of for its heartbeat timeout. No retry is scheduled beyond a
 *       deadline.
 * - B17 A waiting task is replaced in one step: it ends CANCELLED, and the transition that says so
 *       brings the whole of its successor. One that runs is left alone; and none is replaced while
 *       the partition is COLD, as a worker may run what waits there.
 *
 * All calls are batches; replies have the order of the request. Every call rejects with
 * `broker_unavailable` when the store does not answer in 2 s: the outcome is then unknown. The
 * broker's clock is its store's.
 */
export interface Broker {
  /** Power of two. Partition of a task = slot of its id mod partitions. */
  readonly partitions: number;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** True while the store answers; of a Cluster, while any of its partitions is served. */
  readonly available: boolean;
  /**
   * The store of this partition answers. On a Cluster one may be away while others go on; what
   * takes several partitions then rejects, though the others may have done their part.
   */
  serves(partition: number): boolean;
  /** Milliseconds since 1970 by the clock of the partition's store; default partition 0. */
  now(partition?: number): Promise<number>;

  /**
   * Takes tasks in; with `eager`, leases what just came in as `lease` would, to sessions with room
   * (one partition).
   */
  enqueue(items: readonly EnqueueItem[], eager?: LeaseRequest): Promise<EnqueueReply>;
  lease(request: LeaseRequest): Promise<LeaseReply>;
  settle(settlements: readonly Settlement[]): Promise<SettleReply[]>;
  /**
   * `settle`, and `lease` behind it, in one step for those settlements of the request's partition
   * that one call holds. Rejects when any of it may not have happened.
   */
  settleAndLease(settlements: readonly Settlement[], request: LeaseRequest): Promise<SettledLeased>;
  /** Latest wins, per token; unknown or stale tokens are ignored. Each is a sign of life. */
  progress(items: readonly ProgressItem[]): Promise<void>;
  /**
   * Kept with the task for its next attempt; latest wins. False: the lease is over, and nothing
   * changed.
   */
  checkpoint(items: readonly CheckpointItem[]): Promise<boolean[]>;
  cancel(items: readonly CancelItem[]): Promise<CancelReply[]>;
  /** See B17. */
  replace(items: readonly ReplaceItem[]): Promise<ReplaceReply[]>;
  /** The request to stop went out on the worker's stream; the first time counts. */
  delivered(items: readonly DeliveredItem[]): Promise<void>;
  /** A retrying or scheduled task becomes ready now. False: it does not wait for a time. */
  promoteNow(taskId: string): Promise<Task | undefined>;
  /** Undefined: not live and not waiting to be recorded. Payloads are included. */
  get(taskIds: readonly string[]): Promise<(Task | undefined)[]>;

  openSession(open: SessionOpen): Promise<SessionOpenReply>;
  /** One step for all sessions of a coordinator in a partition. */
  renewSessions(partition: number, sessions: readonly SessionRenewal[]): Promise<RenewVerdict[]>;
  /** The stream broke: at most `leaseMs` remain, unless a newer generation took over. */
  cutSession(sessionId: string, generation: number, leaseMs: number): Promise<void>;
  /**
   * The worker has said goodbye. Leases it still held are offered by the next sweep as released.
   */
  closeSession(sessionId: string, generation: number): Promise<void>;
  listSessions(): Promise<SessionInfo[]>;
  /** Says this coordinator lives; returns all that did within 10 s, itself included. */
  announce(coordinator: CoordinatorInfo): Promise<CoordinatorInfo[]>;

  /**
   * One maintenance step of a partition: promotes what is due, offers leases that must end. Safe to
   * run anywhere.
   */
  sweep(partition: number): Promise<SweepReply>;
  /** Outbox entries at least `idleMs` old, oldest first: their coordinator may be dead. */
  readOutbox(partition: number, idleMs: number, limit: number): Promise<Transition[]>;
  /**
   * History holds these versions: outbox entries go, finished records become tombstones. A later
   * version than an entry tells of is given with all entries of the task up to it: of an end that
   * left no record, the entry that tells of it is all there is to know that it was recorded.
   */
  recorded(items: readonly RecordedItem[], born?: readonly RecordedBirths[]): Promise<void>;
  /**
   * Which of these new tasks ended, perhaps by another coordinator: nothing is changed by asking.
   * Only ends that this store has proof of count; one that did not complete may be left out.
   */
  covered(born: RecordedBirths): Promise<CoveredBirths>;
  /**
   * History holds these ended tasks and the store may have forgotten it (emptied, or came back
   * without its last second): plants their tombstones, also while COLD. A live record of the same
   * or an earlier run goes without an outbox entry, and its lease with it; a finished record that
   * waits to be recorded, and any of a later run, stays.
   */
  bury(tasks: readonly Task[]): Promise<void>;

  /** Lanes known in a queue, at most 4,096. */
  lanes(namespace: string, queue: string): Promise<Lane[]>;
  /**
   * Resolves to a lane with new work, or undefined after `timeoutMs`. At most one waiter per
   * partition.
   */
  waitForWork(
    partition: number,
    lanes: readonly Lane[],
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<Lane | undefined>;
  /** Puts a wake-up back that its taker could not use. */
  wake(lane: Lane): Promise<void>;
  /** Fast, lossy news; the sure way is always a sweep or a heartbeat. */
  onHint(listener: (hint: Hint) => void): () => void;
  /** Hints every change of these tasks for the next 30 s (limits.watchMs); renew it before. */
  watch(taskIds: readonly string[]): Promise<void>;
  /** Log entries of these tasks stand in history: hints it where they are watched. */
  announceLogs(taskIds: readonly string[]): Promise<void>;

  setQueue(queue: QueueControl): Promise<void>;
  /** Tasks by (queue, priority, status), from incremental counts; never walks a backlog. */
  counts(namespace: string): Promise<QueueCount[]>;

  status(partition: number): Promise<PartitionStatus>;
  /** Stops serving the partition: it is COLD until `open`, and forgets nothing. */
  close(partition: number, reason: string): Promise<void>;
  /** Serves the partition: from now on fencing numbers start above epoch * 2^40. */
  open(partition: number, epoch: number): Promise<void>;
}

export type Hint =
  /** A running task of this session was asked to stop. */
  | {
      readonly kind: "cancel";
      readonly sessionId: string;
      readonly taskId: string;
      /** Left until the lease is revoked. */
      readonly graceMs: number;
    }
  | { readonly kind: "lanes"; readonly namespace: string; readonly queue: string }
  /** Of a watched task: its status, its progress, or that it was asked to stop. */
  | { readonly kind: "changed"; readonly taskId: string }
  /** Of a watched task: new log entries. */
  | { readonly kind: "logged"; readonly taskId: string }
  /** Hints may have been lost before this one. */
  | { readonly kind: "gap" }
  | { readonly kind: "queue"; readonly namespace: string; readonly queue: string };

export interface QueueControl {
  readonly namespace: string;
  readonly queue: string;
  readonly paused: boolean;
}

export interface QueueCount {
  readonly queue: string;
  readonly priority: number;
  /** Live statuses only; ended tasks are counted by history. */
  readonly status: Task["status"];
  readonly tasks: number;
}

export interface PartitionStatus {
  readonly cold: boolean;
  /** Of the store process; changes with every restart of it. */
  readonly storeId: string;
  /** The one the partition was opened on; "" if it never was. */
  readonly openedOn: string;
  readonly epoch: number;
}
