import { limits } from "../../limits.js";
import { fencingEpochUnit } from "../../task/ids.js";
import { mustNext, type StatusEvent } from "../../task/status.js";
import { attemptEnd, waitEnd } from "../../task/times.js";
import { isFinal, type Attempt, type AttemptOutcome, type Task } from "../../task/task.js";
import type { Hint, Lane, QueueCount, Transition } from "../broker.js";
import { ExpiringMap } from "./expiring-map.js";
import { Heap } from "./heap.js";
import { laneKeyOf, queueKeyOf, LaneState, type QueueState } from "./lanes.js";
import { Outbox } from "./outbox.js";
import { createRecord, sameBytes, type Deadline, type TaskRecord } from "./record.js";
import { Sessions } from "./sessions.js";
import type { Wakeups } from "./wakeups.js";

export type MemoryBounds = Record<"outboxEntries" | "outboxBytes" | "lanesPerQueue", number>;

/**
 * Stands where an ended task stood: later enqueues of its run do nothing, a repeated report is
 * known.
 */
export interface Tombstone {
  readonly run: number;
  readonly token: Uint8Array | undefined;
  readonly ended: AttemptOutcome | undefined;
  readonly sessionId: string;
}

export interface PartitionParts {
  readonly number: number;
  readonly bounds: MemoryBounds;
  readonly wakeups: Wakeups;
  readonly hint: (hint: Hint) => void;
  /** To those who watch the task. */
  readonly news: (kind: "changed" | "logged", taskId: string) => void;
  readonly now: () => number;
}

/**
 * The structures of one partition and the few moves that keep them in step: every record stands in
 * exactly one place, and the counts follow. Decisions (enqueue, lease, settle ...) are functions
 * over it.
 */
export class Partition {
  readonly number: number;
  readonly bounds: MemoryBounds;
  readonly wakeups: Wakeups;
  readonly hint: (hint: Hint) => void;
  /** To those who watch the task. */
  readonly news: (kind: "changed" | "logged", taskId: string) => void;
  readonly now: () => number;

  readonly records = new Map<string, TaskRecord>();
  readonly queues = new Map<string, QueueState>();
  readonly readyLanes = new Set<LaneState>();
  readonly delayed = new Heap<TaskRecord>();
  readonly deadlines = new Heap<Deadline>();
  readonly cancels = new Heap<Deadline>();
  readonly waits = new Heap<Deadline>();
  readonly sessions = new Sessions();
  readonly tombstones = new ExpiringMap<Tombstone>(limits.tombstoneMs);
  readonly keys = new ExpiringMap<string>(limits.idempotencyKeyMs);
  /** By namespace, then by "priority status queue". */
  readonly counts = new Map<string, Map<string, number>>();
  readonly outbox: Outbox;

  openedOn = "";
  epoch = 0;
  fencing = 0;
  lastSweepAt: number | undefined;
  noReapBefore = 0;
  noTimeoutBefore = 0;
  private enqueued = 0;

  constructor(parts: PartitionParts) {
    this.number = parts.number;
    this.bounds = parts.bounds;
    this.wakeups = parts.wakeups;
    this.hint = parts.hint;
    this.news = parts.news;
    this.now = parts.now;
    this.outbox = new Outbox(parts.bounds);
  }

  queue(namespace: string, queue: string): QueueState {
    const key = queueKeyOf(namespace, queue);
    let state = this.queues.get(key);
    if (!state) {
      state = { namespace, queue, paused: false, grants: 0, lanes: new Map() };
      this.queues.set(key, state);
    }
    return state;
  }

  findLane(lane: Lane): LaneState | undefined {
    return this.queues.get(queueKeyOf(lane.namespace, lane.queue))?.lanes.get(laneKeyOf(lane));
  }

  /** Undefined: the queue has as many lanes with work as it may have. */
  lane(lane: Lane): LaneState | undefined {
    const queue = this.queue(lane.namespace, lane.queue);
    const key = laneKeyOf(lane);
    const known = queue.lanes.get(key);
    if (known) return known;
    if (queue.lanes.size >= this.bounds.lanesPerQueue && !this.dropUnusedLane(queue))
      return undefined;
    const { namespace, type, requiredLabels } = lane;
    const named = { namespace, queue: lane.queue, type, requiredLabels };
    const state = new LaneState(named, key, queue);
    queue.lanes.set(key, state);
    this.hint({ kind: "lanes", namespace: lane.namespace, queue: lane.queue });
    return state;
  }

  admit(task: Task, lane: LaneState, adoptFrom: number | undefined): TaskRecord {
    this.enqueued += 1;
    const record = createRecord(task, this.enqueued, lane, adoptFrom);
    this.records.set(task.id, record);
    this.place(record);
    return record;
  }

  /** Ends what is known of a task, wherever it stands. */
  forget(record: TaskRecord): void {
    this.displace(record);
    this.records.delete(record.task.id);
  }

  /**
   * The one way to change a status: the event must be allowed, and the record changes its place
   * with it.
   */
  move(record: TaskRecord, event: StatusEvent, changes: Partial<Task>): void {
    const { task } = record;
    this.displace(record);
    const status = mustNext(task.status, event);
    const completedAt = isFinal(status) ? this.now() : task.completedAt;
    record.task = { ...task, completedAt, ...changes, status, version: task.version + 1 };
    this.place(record);
    // The end of a DURABLE task is shown, and so told, once history has it: see `bury`.
    if (!isFinal(status) || task.durability === "relaxed") this.news("changed", task.id);
  }

  /** Writes the present state of a record into the outbox. */
  log(record: TaskRecord, attempt: Attempt | undefined, successor?: Task): Transition {
    record.unrecorded += 1;
    const { task } = record;
    const payloadOmitted = task.durability === "durable";
    return this.outbox.append(
      {
        partition: this.number,
        task: payloadOmitted ? { ...task, payload: undefined } : task,
        payloadOmitted,
        attempt,
        ...(successor && { successor }),
      },
      this.now(),
    );
  }

  bury(record: TaskRecord): void {
    const { task, token, ended } = record;
    this.forget(record);
    this.news("changed", task.id);
    const tombstone = { run: task.run, token, ended, sessionId: task.sessionId };
    this.tombstones.set(task.id, tombstone, this.now());
  }

  holdsToken(record: TaskRecord, token: Uint8Array): boolean {
    return sameBytes(record.token, token);
  }

  tombstoneOf(taskId: string): Tombstone | undefined {
    return this.tombstones.get(taskId, this.now());
  }

  /** Whether the queue's next grant is one of the starvation share. */
  owesLowerLevels(queue: QueueState): boolean {
    return (queue.grants + 1) % limits.starvationEvery === 0;
  }

  nextFencing(): number {
    this.fencing = Math.max(this.fencing, this.epoch * fencingEpochUnit) + 1;
    return this.fencing;
  }

  wake(lane: LaneState): void {
    if (!lane.queue.paused) this.wakeups.mark(lane.key, lane.lane);
  }

  open(storeId: string, epoch: number): void {
    this.epoch = Math.max(this.epoch, epoch);
    this.openedOn = storeId;
    for (const lane of this.readyLanes) this.wake(lane);
  }

  setPaused(namespace: string, queue: string, paused: boolean): void {
    const state = this.queue(namespace, queue);
    state.paused = paused;
    for (const lane of state.lanes.values()) if (lane.ready > 0) this.wake(lane);
    this.hint({ kind: "queue", namespace, queue });
  }

  lanesOf(namespace: string, queue: string): Lane[] {
    const lanes = this.queues.get(queueKeyOf(namespace, queue))?.lanes.values() ?? [];
    return Array.from(lanes, ({ lane }) => lane);
  }

  countsOf(namespace: string): QueueCount[] {
    return Array.from(this.counts.get(namespace) ?? [], ([key, tasks]) => {
      const [priority, status] = key.split(" ", 2) as [string, QueueCount["status"]];
      const queue = key.slice(priority.length + status.length + 2);
      return { queue, priority: Number(priority), status, tasks };
    });
  }

  private place(record: TaskRecord): void {
    const { task, lane } = record;
    this.count(task, 1);
    if (!isFinal(task.status)) lane.live += 1;
    if (task.status === "running") return this.placeRunning(record);
    if (!isFinal(task.status)) this.watchWait(record);
    if (task.status === "pending") {
      record.key = record.order;
      lane.add(record);
      this.readyLanes.add(lane);
      this.wake(lane);
    } else if (!isFinal(task.status)) {
      record.key = task.readyAt ?? this.now();
      this.delayed.push(record);
    }
  }

  /** A wait that must end by some time. */
  private watchWait(record: TaskRecord): void {
    const { task, waitDue } = record;
    const endsAt = waitEnd(task) ?? Infinity;
    const asked = task.cancelRequestedAt !== undefined;
    // Asked to stop before the store forgot it: only the worker that runs it may still have it.
    waitDue.key = Math.min(endsAt, asked ? this.now() + limits.sessionLeaseMs : Infinity);
    if (waitDue.key < Infinity) this.waits.push(waitDue);
  }

  /** Past its time: out of the way of leases. A sweep ends it. */
  setAside(record: TaskRecord): void {
    const { lane } = record;
    lane.remove(record);
    if (lane.ready === 0) this.readyLanes.delete(lane);
  }

  /** The attempt that runs was heard of. */
  heard(record: TaskRecord): void {
    if (record.task.terms?.heartbeatTimeoutMs === undefined) return;
    this.deadlines.remove(record.deadline);
    record.deadline.key = attemptEnd(record.task, this.now());
    this.deadlines.push(record.deadline);
  }

  private placeRunning(record: TaskRecord): void {
    const { task } = record;
    record.deadline.key = attemptEnd(task, this.now());
    this.deadlines.push(record.deadline);
    if (task.cancelRequestedAt !== undefined) {
      // Brought back by history: its grace begins anew.
      record.cancelDue.key = this.now() + limits.cancelGraceMs;
      this.cancels.push(record.cancelDue);
    }
    const session = this.sessions.get(task.sessionId);
    if (session) this.sessions.attach(session, record);
  }

  private displace(record: TaskRecord): void {
    const { task, lane } = record;
    this.count(task, -1);
    if (!isFinal(task.status)) lane.live -= 1;
    if (task.status === "running") {
      this.deadlines.remove(record.deadline);
      this.cancels.remove(record.cancelDue);
      this.sessions.detach(record);
      return;
    }
    this.waits.remove(record.waitDue);
    if (task.status === "pending") {
      lane.remove(record);
      if (lane.ready === 0) this.readyLanes.delete(lane);
    } else {
      this.delayed.remove(record);
    }
  }

  private count(task: Task, by: number): void {
    if (isFinal(task.status)) return;
    let rows = this.counts.get(task.namespace);
    if (!rows) this.counts.set(task.namespace, (rows = new Map()));
    const key = `${task.priority} ${task.status} ${task.queue}`;
    const tasks = (rows.get(key) ?? 0) + by;
    if (tasks === 0) rows.delete(key);
    else rows.set(key, tasks);
  }

  private dropUnusedLane(queue: QueueState): boolean {
    for (const [key, lane] of queue.lanes) {
      if (lane.live > 0) continue;
      this.wakeups.clear(lane);
      return queue.lanes.delete(key);
    }
    return false;
  }
}
