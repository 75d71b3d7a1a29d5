import { expect } from "vitest";
import type {
  Broker,
  CancelReply,
  EnqueueOutcome,
  Lane,
  Lease,
  LeaseReply,
  LeaseRequest,
  SessionInfo,
  SessionOpenReply,
  Settlement,
  SettleReply,
  SweepReply,
  Transition,
} from "../../../src/broker/broker.js";
import { systemClock } from "../../../src/clock.js";
import { limits } from "../../../src/limits.js";
import type { Task } from "../../../src/task/task.js";
import { createSeededRandom } from "../../support/seeded-random.js";
import { createTaskFactory, laneOf, sessionInfo } from "../../support/task-factory.js";
import type { BrokerHarness, BrokerHarnessOptions } from "../broker-harness.js";
import { itemOf } from "../../support/outbox-items.js";

/**
 * One promise, tried on one broker. A plain function, so that a broken broker can be put to it as
 * well.
 */
export interface Check {
  readonly promise: string;
  readonly name: string;
  readonly options?: BrokerHarnessOptions;
  /** Only of DURABLE tasks, unless it says otherwise itself. */
  readonly durable?: boolean;
  run(kit: Kit): Promise<void>;
}

export const check = (
  promise: string,
  name: string,
  run: Check["run"],
  options: BrokerHarnessOptions = {},
): Check => ({ promise, name, run, options });

/** Counts on it that a submit tells the outbox nothing, as that of a DURABLE task does. */
export const checkDurable: typeof check = (...of) => ({ ...check(...of), durable: true });

export interface Holder {
  readonly sessionId: string;
  readonly generation: number;
}

type Without<T> = T extends unknown ? Omit<T, "token" | "sessionId"> : never;
export type Ending = Without<Settlement>;

export const done: Ending = { kind: "complete", result: undefined };
export const failure = { code: "boom", message: "it broke", retryable: true };
export const failed = (retryInMs?: number): Ending => ({
  kind: "fail",
  cause: "handler",
  error: failure,
  retryInMs,
});
export const timedOut = (retryInMs?: number): Ending => ({
  kind: "fail",
  cause: "timeout",
  error: { ...failure, code: "timeout" },
  retryInMs,
});
export const released = (delayMs = 0): Ending => ({ kind: "release", delayMs });
export const lost: Ending = { kind: "lose", then: "pending", delayMs: 0 };
export const quarantined = (delayMs = 1_000): Ending => ({
  kind: "lose",
  then: "quarantine",
  delayMs,
});
export const poisoned: Ending = { kind: "lose", then: "poison", delayMs: 0 };

/**
 * Has a hint said until it is heard. They are lossy by contract: who has just begun to listen may
 * not be heard of by the store yet. Once one has come, they keep their order, and none is lost
 * between neighbours in a test.
 */
export async function sayUntil(heard: Promise<void>, say: () => Promise<void>): Promise<void> {
  let over = false;
  void heard.then(() => (over = true));
  while (!over) {
    await say();
    await Promise.race([heard, systemClock.sleep(50)]);
  }
}

export const ids = (of: readonly (Lease | Task)[]): string[] =>
  of.map((one) => ("task" in one ? one.task.id : one.id));

/** What the checks do to a broker, in few words. Sees it only through its interface. */
export class Kit {
  readonly harness: BrokerHarness;
  readonly broker: Broker;
  readonly task: (change?: Partial<Task>) => Task;
  private readonly seen = new Map<string, Task>();
  private readonly lanesSeen = new Map<string, Lane>();
  private sessions = 0;

  /** `usual`: of every task that does not say otherwise. */
  constructor(harness: BrokerHarness, startMs: number, usual: Partial<Task> = {}) {
    this.harness = harness;
    this.broker = harness.broker;
    const { task } = createTaskFactory(createSeededRandom(1), () => startMs);
    this.task = (change) => task({ ...usual, ...change });
  }

  get lanes(): Lane[] {
    return [...this.lanesSeen.values()];
  }

  async openAll(epoch = 1): Promise<void> {
    for (let p = 0; p < this.broker.partitions; p += 1) await this.broker.open(p, epoch);
  }

  note(task: Task): Task {
    this.seen.set(task.id, task);
    this.lanesSeen.set(JSON.stringify(laneOf(task)), laneOf(task));
    return task;
  }

  /** Enqueues and expects to be taken in. */
  async submit(...tasks: Task[]): Promise<Task[]> {
    const outcomes = await this.enqueue(...tasks);
    expect(outcomes.map((outcome) => outcome.kind)).toEqual(tasks.map(() => "enqueued"));
    return tasks;
  }

  async submitOne(change: Partial<Task> = {}): Promise<Task> {
    const [task] = await this.submit(this.task(change));
    return task!;
  }

  async submitMany(count: number, change: Partial<Task> = {}): Promise<Task[]> {
    return this.submit(...Array.from({ length: count }, () => this.task(change)));
  }

  async enqueue(...tasks: Task[]): Promise<EnqueueOutcome[]> {
    for (const task of tasks) this.note(task);
    return (await this.broker.enqueue(tasks.map((task) => ({ task, origin: "submit" })))).outcomes;
  }

  async restore(task: Task, asOf?: number): Promise<EnqueueOutcome> {
    this.note(task);
    const at = asOf ?? (await this.broker.now());
    const reply = await this.broker.enqueue([{ task, origin: "restore", asOf: at }]);
    return reply.outcomes[0]!;
  }

  async session(change: Partial<SessionInfo> = {}, generation = 1): Promise<Holder> {
    this.sessions += 1;
    const sessionId = change.sessionId ?? `session-${this.sessions}`;
    const reply = await this.resume({ sessionId, generation }, [], change);
    expect(reply.kind).toBe("opened");
    return { sessionId, generation };
  }

  resume(
    { sessionId, generation }: Holder,
    heldTokens: Uint8Array[],
    change: Partial<SessionInfo> = {},
  ): Promise<SessionOpenReply> {
    return this.broker.openSession({
      sessionId,
      generation,
      leaseMs: limits.sessionLeaseMs,
      info: sessionInfo({ ...change, sessionId }),
      heldTokens,
      partitions: Array.from({ length: this.broker.partitions }, (_, p) => p),
    });
  }

  request(holder: Holder, slots: number, lanes: readonly Lane[] = this.lanes): LeaseRequest {
    return {
      partition: 0,
      lanes,
      sessions: [{ ...holder, slots }],
      maxBytes: limits.leaseBatchBytes,
    };
  }

  leaseReply(holder: Holder, slots = 1, lanes = this.lanes): Promise<LeaseReply> {
    return this.broker.lease(this.request(holder, slots, lanes));
  }

  async lease(holder: Holder, slots = 1, lanes = this.lanes): Promise<Lease[]> {
    const reply = await this.leaseReply(holder, slots, lanes);
    expect(reply.kind).toBe("ok");
    return reply.leases;
  }

  /** Exactly one lease. */
  async take(holder: Holder): Promise<Lease> {
    const leases = await this.lease(holder, 1);
    expect(leases).toHaveLength(1);
    return leases[0]!;
  }

  async settle(lease: Lease, ending: Ending, sessionId?: string | null): Promise<SettleReply> {
    const by = sessionId === null ? undefined : (sessionId ?? lease.sessionId);
    const settlement = { ...ending, token: lease.token, sessionId: by } as Settlement;
    return (await this.broker.settle([settlement]))[0]!;
  }

  /** Settles and expects it to count. */
  async end(lease: Lease, ending: Ending, sessionId?: string | null): Promise<Transition> {
    const reply = await this.settle(lease, ending, sessionId);
    expect(reply.verdict).toBe("accepted");
    return reply.transition!;
  }

  async verdict(lease: Lease, ending: Ending, sessionId?: string | null): Promise<string> {
    return (await this.settle(lease, ending, sessionId)).verdict;
  }

  async get(task: Pick<Task, "id">): Promise<Task | undefined> {
    return (await this.broker.get([task.id]))[0];
  }

  async statusOf(task: Pick<Task, "id">): Promise<string | undefined> {
    return (await this.get(task))?.status;
  }

  async cancel(task: Task, graceMs: number = limits.cancelGraceMs): Promise<CancelReply> {
    const { id: taskId, namespace } = task;
    return (await this.broker.cancel([{ taskId, namespace, graceMs }]))[0]!;
  }

  recorded(transition: Transition): Promise<void> {
    return this.broker.recorded([itemOf(transition)]);
  }

  outbox(limit = 1_000): Promise<Transition[]> {
    return this.broker.readOutbox(0, 0, limit);
  }

  /** Time passes as in life: sweeps go on, and the sessions named renew. The last sweep's reply. */
  async elapse(ms: number, ...alive: Holder[]): Promise<SweepReply> {
    let reply: SweepReply | undefined;
    for (let left = ms; left > 0; left -= 1_000) {
      await this.harness.advance(Math.min(left, 1_000));
      if (alive.length > 0) await this.renew(...alive);
      reply = await this.broker.sweep(0);
    }
    return reply ?? this.broker.sweep(0);
  }

  renew(...holders: Holder[]): Promise<string[]> {
    const leaseMs = limits.sessionLeaseMs;
    return this.broker.renewSessions(
      0,
      holders.map((holder) => ({ ...holder, leaseMs })),
    );
  }

  /** Lets the grace of the first sweep pass, so that who dies from now on is reaped in time. */
  async warmUp(): Promise<void> {
    await this.elapse(limits.reapGraceMs + 1_500);
  }

  /** A task whose session died, settled as lost. */
  async loseOne(ending: Ending = lost): Promise<{ lease: Lease; holder: Holder }> {
    const holder = await this.session();
    const lease = await this.take(holder);
    await this.broker.cutSession(holder.sessionId, holder.generation, 0);
    await this.harness.advance(100);
    await this.end(lease, ending, null);
    return { lease, holder };
  }

  async wakeFor(lanes = this.lanes, timeoutMs = 50): Promise<Lane | undefined> {
    const waiting = this.broker.waitForWork(0, lanes, timeoutMs, new AbortController().signal);
    await this.harness.advance(timeoutMs);
    return waiting;
  }

  /** B11, after every check: counts are what the tasks add up to. */
  async assertCounts(): Promise<void> {
    const tasks = await this.broker.get([...this.seen.keys()]);
    const expected = new Map<string, number>();
    for (const task of tasks) {
      if (!task || task.completedAt !== undefined) continue;
      const key = [task.namespace, task.queue, task.priority, task.status].join("/");
      expected.set(key, (expected.get(key) ?? 0) + 1);
    }
    expect(await this.counts()).toEqual(Object.fromEntries(expected));
  }

  async counts(): Promise<Record<string, number>> {
    const found: Record<string, number> = {};
    for (const namespace of new Set(Array.from(this.seen.values(), (task) => task.namespace))) {
      for (const { queue, priority, status, tasks } of await this.broker.counts(namespace)) {
        if (tasks !== 0) found[[namespace, queue, priority, status].join("/")] = tasks;
      }
    }
    return found;
  }
}
