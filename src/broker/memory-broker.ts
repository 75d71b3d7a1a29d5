import type { Clock, Random } from "../clock.js";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { decodeLeaseToken, partitionOfSlot, slotOfId } from "../task/ids.js";
import type { Task } from "../task/task.js";
import type * as api from "./broker.js";
import { birthOf, birthsOf } from "./memory/births.js";
import { eagerLanes, enqueue } from "./memory/enqueue.js";
import { laneKeyOf, type LaneState } from "./memory/lanes.js";
import { Leasing } from "./memory/lease.js";
import type { MemoryBounds, Partition } from "./memory/partition.js";
import { close, cut, newerGeneration, renew, resume } from "./memory/resume.js";
import { bury, cancel, delivered, replace } from "./memory/cancel.js";
import { checkpoint, progress, settle } from "./memory/settle.js";
import { MemoryStore } from "./memory/store.js";
import { fateOf, promoteNow, recorded, sweep } from "./memory/sweep.js";

export interface MemoryBrokerOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Power of two. Default 1. */
  readonly partitions?: number;
  /** Lower bounds for tests. Default: those of limits.ts. */
  readonly bounds?: Partial<MemoryBounds>;
  /**
   * Default: a new, empty one. Brokers that share a store behave as coordinators that share a
   * Redis.
   */
  readonly store?: MemoryStore;
}

export function createMemoryStore(options: Omit<MemoryBrokerOptions, "store">): MemoryStore {
  const { clock, random, partitions = 1, bounds = {} } = options;
  const { outboxEntries, outboxBytes, lanesPerQueue } = limits;
  const all = { outboxEntries, outboxBytes, lanesPerQueue, ...bounds };
  return new MemoryStore({ clock, random, partitions, bounds: all });
}

/**
 * The broker of `drover dev`, of tests and of embedding: all promises of Broker, kept in this
 * process. It starts COLD and empty, so that the rebuild that refills an emptied Redis fills it
 * too.
 */
export function createMemoryBroker(options: MemoryBrokerOptions): api.Broker {
  return new MemoryBroker(options.store ?? createMemoryStore(options), options.clock);
}

class MemoryBroker implements api.Broker {
  available = false;
  private readonly store: MemoryStore;
  private readonly clock: Clock;
  private readonly waits = new Set<() => void>();

  constructor(store: MemoryStore, clock: Clock) {
    this.store = store;
    this.clock = clock;
  }

  get partitions(): number {
    return this.store.partitions.length;
  }

  async start(): Promise<void> {
    this.available = true;
  }

  async stop(): Promise<void> {
    this.available = false;
    for (const giveUp of this.waits) giveUp();
  }

  serves(): boolean {
    return this.available;
  }

  async now(): Promise<number> {
    return this.store.now();
  }

  async enqueue(
    items: readonly api.EnqueueItem[],
    eager?: api.LeaseRequest,
  ): Promise<api.EnqueueReply> {
    const outcomes = items.map((item) => enqueue(this.of(item.task.id), item));
    const births = birthsOf(items, outcomes, (id) => this.of(id));
    if (!eager) return { outcomes, births, leases: [] };
    const lanes = eagerLanes(this.at(eager.partition), items, outcomes, eager);
    return { outcomes, births, leases: this.leaseFrom(eager, lanes).leases };
  }

  async lease(request: api.LeaseRequest): Promise<api.LeaseReply> {
    return this.leaseNow(request);
  }

  async settle(settlements: readonly api.Settlement[]): Promise<api.SettleReply[]> {
    return this.settleNow(settlements);
  }

  async settleAndLease(
    settlements: readonly api.Settlement[],
    request: api.LeaseRequest,
  ): Promise<api.SettledLeased> {
    return { replies: this.settleNow(settlements), leased: this.leaseNow(request) };
  }

  async progress(items: readonly api.ProgressItem[]): Promise<void> {
    for (const item of items) progress(this.ofToken(item.token), item);
  }

  async checkpoint(items: readonly api.CheckpointItem[]): Promise<boolean[]> {
    return items.map((item) => checkpoint(this.ofToken(item.token), item));
  }

  async cancel(items: readonly api.CancelItem[]): Promise<api.CancelReply[]> {
    return items.map((item) => cancel(this.of(item.taskId), item));
  }

  async replace(items: readonly api.ReplaceItem[]): Promise<api.ReplaceReply[]> {
    return items.map((item) => {
      const partition = this.of(item.taskId);
      return replace(partition, this.isCold(partition.number), item);
    });
  }

  async delivered(items: readonly api.DeliveredItem[]): Promise<void> {
    for (const item of items) delivered(this.ofToken(item.token), item);
  }

  async promoteNow(taskId: string): Promise<Task | undefined> {
    return promoteNow(this.of(taskId), taskId);
  }

  async get(taskIds: readonly string[]): Promise<(Task | undefined)[]> {
    return taskIds.map((id) => this.of(id).records.get(id)?.task);
  }

  async openSession(session: api.SessionOpen): Promise<api.SessionOpenReply> {
    const parts = new Map<Partition, Uint8Array[]>();
    for (const number of session.partitions) parts.set(this.at(number), []);
    const foreign: Uint8Array[] = [];
    for (const token of session.heldTokens) {
      const partition = this.ofToken(token);
      if (!partition) foreign.push(token);
      else parts.set(partition, [...(parts.get(partition) ?? []), token]);
    }
    for (const partition of parts.keys()) {
      const generation = newerGeneration(partition, session);
      if (generation !== undefined) return { kind: "superseded", generation };
    }
    const replies = [...parts].map(([partition, held]) => resume(partition, session, held));
    return {
      kind: "opened",
      resumed: replies.some((reply) => reply.resumed),
      kept: replies.flatMap((reply) => reply.kept),
      revoked: [...foreign, ...replies.flatMap((reply) => reply.revoked)],
      missing: replies.flatMap((reply) => reply.missing),
      lostInTransit: replies.flatMap((reply) => reply.lostInTransit),
      unreached: [],
    };
  }

  async renewSessions(
    partition: number,
    sessions: readonly api.SessionRenewal[],
  ): Promise<api.RenewVerdict[]> {
    return sessions.map((renewal) => renew(this.at(partition), renewal));
  }

  async cutSession(sessionId: string, generation: number, leaseMs: number): Promise<void> {
    for (const partition of this.all()) cut(partition, sessionId, generation, leaseMs);
  }

  async closeSession(sessionId: string, generation: number): Promise<void> {
    for (const partition of this.all()) close(partition, sessionId, generation);
  }

  async listSessions(): Promise<api.SessionInfo[]> {
    const now = this.store.now();
    const found = new Map<string, api.SessionInfo>();
    for (const { sessions } of this.all()) {
      for (const { id, info } of sessions.live(now)) found.set(id, info);
    }
    return [...found.values()];
  }

  async announce(coordinator: api.CoordinatorInfo): Promise<api.CoordinatorInfo[]> {
    this.assertRunning();
    return this.store.announce(coordinator);
  }

  async sweep(partition: number): Promise<api.SweepReply> {
    return sweep(this.at(partition));
  }

  async readOutbox(partition: number, idleMs: number, limit: number): Promise<api.Transition[]> {
    return this.at(partition).outbox.read(this.store.now() - idleMs, limit);
  }

  async recorded(
    items: readonly api.RecordedItem[],
    born: readonly api.RecordedBirths[] = [],
  ): Promise<void> {
    for (const { births, nths } of born) {
      for (const nth of nths) recorded(this.at(births.partition), birthOf(births, nth));
    }
    for (const item of items) recorded(this.at(item.partition), item);
  }

  async covered({ births, nths }: api.RecordedBirths): Promise<api.CoveredBirths> {
    const partition = this.at(births.partition);
    const fates = nths.map((nth) => fateOf(partition, births.ids[nth]!));
    return {
      recorded: nths.filter((_, place) => fates[place] === "recorded"),
      told: nths.filter((_, place) => fates[place] === "told"),
    };
  }

  async bury(tasks: readonly Task[]): Promise<void> {
    for (const task of tasks) bury(this.of(task.id), task);
  }

  async lanes(namespace: string, queue: string): Promise<api.Lane[]> {
    this.assertRunning();
    return this.store.partitionOfQueue(namespace, queue).lanesOf(namespace, queue);
  }

  async waitForWork(
    partition: number,
    lanes: readonly api.Lane[],
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<api.Lane | undefined> {
    const { wakeups } = this.at(partition);
    const keys = lanes.map(laneKeyOf);
    const standing = wakeups.take(keys);
    if (standing || signal.aborted) return standing;
    return new Promise((resolve) => {
      const end = (lane: api.Lane | undefined) => {
        forget();
        timer.cancel();
        signal.removeEventListener("abort", giveUp);
        this.waits.delete(giveUp);
        resolve(lane);
      };
      const giveUp = () => end(undefined);
      const forget = wakeups.wait(keys, end);
      const timer = this.clock.after(timeoutMs, giveUp);
      signal.addEventListener("abort", giveUp, { once: true });
      this.waits.add(giveUp);
    });
  }

  async wake(lane: api.Lane): Promise<void> {
    this.assertRunning();
    this.store.partitionOfQueue(lane.namespace, lane.queue).wakeups.mark(laneKeyOf(lane), lane);
  }

  onHint(listener: (hint: api.Hint) => void): () => void {
    return this.store.onHint(listener);
  }

  async watch(taskIds: readonly string[]): Promise<void> {
    this.assertRunning();
    this.store.watch(taskIds);
  }

  async announceLogs(taskIds: readonly string[]): Promise<void> {
    for (const taskId of taskIds) this.of(taskId).news("logged", taskId);
  }

  async setQueue({ namespace, queue, paused }: api.QueueControl): Promise<void> {
    this.assertRunning();
    this.store.partitionOfQueue(namespace, queue).setPaused(namespace, queue, paused);
  }

  async counts(namespace: string): Promise<api.QueueCount[]> {
    return this.all().flatMap((partition) => partition.countsOf(namespace));
  }

  async status(partition: number): Promise<api.PartitionStatus> {
    const { epoch, openedOn } = this.at(partition);
    const { storeId } = this.store;
    return { cold: this.isCold(partition), storeId, openedOn, epoch };
  }

  async close(partition: number): Promise<void> {
    this.at(partition).openedOn = "";
  }

  async open(partition: number, epoch: number): Promise<void> {
    this.at(partition).open(this.store.storeId, epoch);
  }

  private settleNow(settlements: readonly api.Settlement[]): api.SettleReply[] {
    this.assertRunning();
    return settlements.map((settlement) => settle(this.ofToken(settlement.token), settlement));
  }

  private leaseNow(request: api.LeaseRequest): api.LeaseReply {
    const partition = this.at(request.partition);
    return this.leaseFrom(
      request,
      request.lanes.map((lane) => partition.findLane(lane)),
    );
  }

  private leaseFrom(
    request: api.LeaseRequest,
    lanes: readonly (LaneState | undefined)[],
  ): api.LeaseReply {
    const partition = this.at(request.partition);
    const none = { leases: [], more: false, lostSessions: [] };
    if (this.isCold(request.partition)) return { kind: "cold", ...none };
    if (partition.outbox.full) return { kind: "outbox_full", ...none };
    const known = [...new Set(lanes)].filter((lane) => lane !== undefined);
    return new Leasing(partition, () => this.store.secret(), request, known).run();
  }

  private isCold(partition: number): boolean {
    return this.at(partition).openedOn !== this.store.storeId;
  }

  private at(number: number): Partition {
    const partition = this.all()[number];
    if (partition) return partition;
    throw new RangeError(`partition ${number}: expected 0 to ${this.partitions - 1}`);
  }

  private all(): readonly Partition[] {
    this.assertRunning();
    return this.store.partitions;
  }

  private of(taskId: string): Partition {
    return this.at(partitionOfSlot(slotOfId(taskId), this.partitions));
  }

  /** Undefined: the token cannot be one of Drover. */
  private ofToken(token: Uint8Array): Partition | undefined {
    this.assertRunning();
    const parts = decodeLeaseToken(token);
    return parts && this.of(parts.taskId);
  }

  private assertRunning(): void {
    if (this.available) return;
    throw new DroverError("broker_unavailable", "the memory broker is not started");
  }
}
