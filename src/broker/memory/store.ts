import type { Clock, Random } from "../../clock.js";
import { limits } from "../../limits.js";
import { partitionOfSlot, slotOfQueue } from "../../task/ids.js";
import type { CoordinatorInfo, Hint } from "../broker.js";
import { ExpiringMap } from "./expiring-map.js";
import { Partition, type MemoryBounds } from "./partition.js";
import { Wakeups } from "./wakeups.js";

export interface MemoryStoreOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Power of two. */
  readonly partitions: number;
  readonly bounds: MemoryBounds;
}

/** Coordinators that spoke up within this time are alive. */
const announcedMs = 10_000;

/**
 * What brokers of one process share; several brokers on one store behave as several coordinators on
 * one Redis.
 */
export class MemoryStore {
  partitions: Partition[];
  storeId: string;
  private readonly options: MemoryStoreOptions;
  private readonly wakeups: Wakeups[];
  private readonly listeners = new Set<(hint: Hint) => void>();
  private watched = new ExpiringMap<true>(limits.watchMs);
  private coordinators = new Map<string, { info: CoordinatorInfo; at: number }>();
  private secrets: Uint8Array = new Uint8Array(0);
  private lastNow = 0;
  private lastMonotonic = 0;

  constructor(options: MemoryStoreOptions) {
    this.options = options;
    this.wakeups = Array.from({ length: options.partitions }, () => new Wakeups());
    this.partitions = this.createPartitions();
    this.storeId = this.newStoreId();
  }

  /** Never runs backwards: when the wall clock is set back, time goes on at its own pace. */
  now(): number {
    const { clock } = this.options;
    const monotonic = clock.monotonic();
    const paced = this.lastNow + Math.floor(monotonic - this.lastMonotonic);
    const now = Math.max(clock.now(), paced);
    if (now > this.lastNow) {
      this.lastNow = now;
      this.lastMonotonic = monotonic;
    }
    return now;
  }

  /** Eight bytes nobody can guess; drawn in bulk, since each draw costs microseconds. */
  secret(): Uint8Array {
    if (this.secrets.length < 8) this.secrets = this.options.random.bytes(4_096);
    const secret = this.secrets.subarray(0, 8);
    this.secrets = this.secrets.subarray(8);
    return secret;
  }

  partitionOfQueue(namespace: string, queue: string): Partition {
    const slot = slotOfQueue(namespace, queue);
    return this.partitions[partitionOfSlot(slot, this.partitions.length)]!;
  }

  /** Everything is gone, as after a restart of the process. Waiters wait on. */
  wipe(): void {
    for (const wakeups of this.wakeups) wakeups.clearAll();
    this.partitions = this.createPartitions();
    this.coordinators = new Map();
    this.watched = new ExpiringMap(limits.watchMs);
    this.storeId = this.newStoreId();
  }

  /** Another store process with the same data. */
  replace(): void {
    this.storeId = this.newStoreId();
    for (const partition of this.partitions) partition.lastSweepAt = undefined;
  }

  announce(info: CoordinatorInfo): CoordinatorInfo[] {
    const now = this.now();
    this.coordinators.set(info.coordinatorId, { info, at: now });
    for (const [id, { at }] of this.coordinators) {
      if (at + announcedMs <= now) this.coordinators.delete(id);
    }
    return Array.from(this.coordinators.values(), (entry) => entry.info);
  }

  onHint(listener: (hint: Hint) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  watch(taskIds: readonly string[]): void {
    const now = this.now();
    for (const id of taskIds) this.watched.set(id, true, now);
  }

  /** To those who watch the task. */
  private news(kind: "changed" | "logged", taskId: string): void {
    if (this.watched.get(taskId, this.now())) this.spread({ kind, taskId });
  }

  private createPartitions(): Partition[] {
    return this.wakeups.map(
      (wakeups, number) =>
        new Partition({
          number,
          wakeups,
          bounds: this.options.bounds,
          hint: (hint) => this.spread(hint),
          news: (kind, taskId) => this.news(kind, taskId),
          now: () => this.now(),
        }),
    );
  }

  /** After the call that causes it, as news from a store would come. */
  private spread(hint: Hint): void {
    if (this.listeners.size === 0) return;
    queueMicrotask(() => {
      for (const listener of this.listeners) listener(hint);
    });
  }

  private newStoreId(): string {
    return Buffer.from(this.options.random.bytes(8)).toString("hex");
  }
}
