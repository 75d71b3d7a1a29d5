import type {
  EnqueueItem,
  EnqueueOutcome,
  EnqueueReply,
  Lane,
  Lease,
  LeaseRequest,
} from "../broker/broker.js";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { newSpecOf, FreshTask, idOf, type NewTask } from "../task/fresh-task.js";
import { partitionOfSlot, slotOfId } from "../task/ids.js";
import type { TaskSpec } from "../task/task.js";
import { Batcher, endOfTurn, Failed } from "./batcher.js";
import { CommitMarkers } from "./commit-markers.js";
import { LaneGuard } from "./lane-guard.js";
import { laneOf, lanesOf } from "./lanes.js";
import type { Parts } from "./parts.js";
import { partitionwise } from "./partitionwise.js";

/** Free slots that nobody else is given until a call has been answered. */
export interface Reservation {
  readonly request: LeaseRequest;
}

/** Work has come in: whoever has free slots for it may take it at once. */
export interface Demand<Reserved extends Reservation = Reservation> {
  /**
   * Slots reserved for so many tasks of this lane, or undefined. What is reserved must be given
   * back by `took`, once; undefined there means that the answer got lost.
   */
  reserve(lane: Lane, tasks: number): Reserved | undefined;
  took(reserved: Reserved, leases: readonly Lease[] | undefined): void;
  nudge(lanes: readonly Lane[]): void;
}

/** Hands tasks to the broker, and to whoever waits for work, in batches. */
export class Enqueuer {
  readonly #parts: Parts;
  readonly #demand: Demand;
  readonly #markers: CommitMarkers;
  readonly #lanes: LaneGuard;
  readonly #enqueues: Batcher<EnqueueItem, EnqueueOutcome>;
  readonly #unqueued: Unqueued;

  constructor(parts: Parts, demand: Demand) {
    this.#parts = parts;
    this.#demand = demand;
    this.#markers = new CommitMarkers(parts);
    this.#lanes = new LaneGuard(parts);
    this.#unqueued = new Unqueued(parts.broker.partitions);
    this.#enqueues = new Batcher({
      run: (items) => partitionwise(parts.broker, items, slotOfItem, (some) => this.#enqueue(some)),
      maxItems: limits.submitItems,
      maxInFlight: 4,
      maxWaiting: limits.pendingSubmits,
    });
  }

  async drained(): Promise<void> {
    await this.#enqueues.drained();
    await this.#markers.flush();
  }

  enqueue(items: readonly EnqueueItem[]): Promise<(EnqueueOutcome | Failed)[]> {
    return this.#enqueues.pushAll(items);
  }

  /** Refuses a task that is to be committed before the broker has seen it. */
  requireRoom(spec: TaskSpec): void {
    const { namespace } = spec;
    const unqueued = this.#unqueued.of(namespace);
    if (unqueued >= limits.unqueuedRows) {
      const message = `${unqueued} tasks are committed and wait for Redis to come back`;
      throw new DroverError("too_many_unqueued", message, { retryAfterMs: 5_000 });
    }
    this.#lanes.check(laneOf(spec));
  }

  /**
   * Tasks that history holds, under this marker. Never rejects: what the broker does not take is
   * enqueued by the reconciler.
   */
  async committed(tasks: readonly NewTask[], marker: string | undefined): Promise<void> {
    const replies = await this.enqueue(tasks.map(committedItem));
    const failed = tasks.filter((_, n) => replies[n] instanceof Failed);
    // The marker stays and the reconciler enqueues from it; here only the bound is kept.
    this.#unqueued.note(tasks, failed);
    if (failed.length > 0) return;
    const left = tasks.filter((_, n) => isOutcome(replies[n], "too_many_lanes"));
    try {
      for (const { namespace, queue } of left.map(newSpecOf)) {
        await this.#lanes.ranOut(namespace, queue);
      }
    } catch {
      return;
    }
    // What found no lane is found by the slow compare with history, once a lane is free.
    if (marker) this.#markers.clear(marker);
  }

  async #enqueue(items: EnqueueItem[]): Promise<EnqueueOutcome[]> {
    const lanes = lanesOf(items);
    const only = lanes.length === 1 ? lanes[0] : undefined;
    const eager = only && this.#demand.reserve(only, items.length);
    let reply: EnqueueReply | undefined;
    try {
      reply = await this.#parts.broker.enqueue(items, eager?.request);
    } finally {
      if (eager) this.#demand.took(eager, reply?.leases);
      if ((reply?.leases.length ?? 0) < items.length) this.#demand.nudge(lanes);
    }
    // The worker's frame leaves at the end of the turn: whoever else is told hears of it after
    // that.
    if (reply.leases.length > 0) await endOfTurn();
    for (const births of reply.births) this.#parts.recorder.born(births);
    return reply.outcomes;
  }
}

const committedItem = (task: NewTask): EnqueueItem =>
  task instanceof FreshTask ? task : { task, origin: "submit" };

const slotOfItem = (item: EnqueueItem): number => slotOfId(idOf(item));

/** DURABLE rows by namespace that a partition has not seen, since it last answered. */
class Unqueued {
  readonly #partitions: number;
  readonly #counts = new Map<number, Map<string, number>>();

  constructor(partitions: number) {
    this.#partitions = partitions;
  }

  of(namespace: string): number {
    let sum = 0;
    for (const counts of this.#counts.values()) sum += counts.get(namespace) ?? 0;
    return sum;
  }

  /** `failed`: those of the tasks that the broker did not take. */
  note(tasks: readonly NewTask[], failed: readonly NewTask[]): void {
    if (failed.length === 0 && this.#counts.size === 0) return;
    const silent = new Set(failed.map((task) => this.#partitionOf(task)));
    for (const task of tasks) {
      const partition = this.#partitionOf(task);
      if (!silent.has(partition)) this.#counts.delete(partition);
    }
    for (const task of failed) {
      const partition = this.#partitionOf(task);
      const { namespace } = newSpecOf(task);
      const counts = this.#counts.get(partition) ?? new Map<string, number>();
      this.#counts.set(partition, counts.set(namespace, (counts.get(namespace) ?? 0) + 1));
    }
  }

  #partitionOf({ id }: NewTask): number {
    return partitionOfSlot(slotOfId(id), this.#partitions);
  }
}

const isOutcome = (reply: EnqueueOutcome | Failed | undefined, kind: string): boolean =>
  reply !== undefined && !(reply instanceof Failed) && reply.kind === kind;
