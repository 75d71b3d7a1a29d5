import { once } from "node:events";
import type {
  BulkOutcome,
  BulkRequest,
  CancelManyRequest,
  Coordinator,
  QueueChange,
  QueueView,
  Stats,
  Submission,
  SubmitOutcome,
  TaskEvent,
  TaskView,
} from "../../src/coordinator/coordinator.js";
import type {
  CoordinatorFrame,
  Session,
  SessionHello,
  SessionPort,
  WorkerFrame,
} from "../../src/coordinator/frames.js";
import { DroverError } from "../../src/errors.js";
import { formTaskId, slotOfQueue } from "../../src/task/ids.js";
import { firstStatus } from "../../src/task/status.js";
import type { Batches } from "../../src/coordinator/batches.js";
import type { Schedules } from "../../src/coordinator/schedules.js";
import type { ListQuery } from "../../src/history/history.js";
import { fits } from "../../src/task/filter.js";
import { stepsSince, unseen } from "../../src/task/life.js";
import type { LogEntry } from "../../src/task/log.js";
import { isFinal, type Attempt, type Status } from "../../src/task/task.js";
import { defaultQueueSettings, toSpec } from "../../src/task/validate.js";
import { createSeededRandom } from "../support/seeded-random.js";

export interface FakeSession {
  readonly namespace: string;
  readonly hello: SessionHello;
  readonly port: SessionPort;
  readonly received: WorkerFrame[];
  disconnects: number;
  writables: number;
  send(frame: CoordinatorFrame): void;
  /** Resolves with the next frame received. */
  nextFrame(): Promise<WorkerFrame>;
  gone(): Promise<void>;
}

const statuses: readonly Status[] = [
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

const noCounts = Object.fromEntries(statuses.map((it) => [it, 0])) as Record<Status, number>;
export const fakeNow = Date.UTC(2026, 10, 22, 8, 30);

/**
 * A coordinator without stores: it keeps the contract of the interface, for tests of the doors
 * alone.
 */
export class FakeCoordinator implements Coordinator {
  readonly id = "fake-coordinator";
  readonly tasks = new Map<string, TaskView>();
  readonly sessions: FakeSession[] = [];
  /** Sizes of the submit calls, in order. */
  readonly submitted: number[] = [];
  /** Why it is not ready. */
  reason: string | undefined;
  /** What does not work though it is ready. */
  trouble: string | undefined;
  /** Refuses every submission, while set. */
  refusal: DroverError | undefined;
  /** Submits wait for it, while set. */
  gate: Promise<void> | undefined;
  /** A defect: reads throw it, while set. */
  defect: Error | undefined;
  readonly #queues = new Map<string, QueueView>();
  readonly #openings: ((session: FakeSession) => void)[] = [];
  readonly #random = createSeededRandom(7);

  get schedules(): Schedules {
    throw new Error("this coordinator has no schedules");
  }

  get batches(): Batches {
    throw new Error("this coordinator has no batches");
  }

  async start() {}
  async drain() {}
  async stop() {}
  notReady = () => this.reason;
  degraded = () => this.trouble;

  /** Changes a task as a worker would. */
  change(id: string, change: Partial<TaskView>): void {
    this.tasks.set(id, { ...this.tasks.get(id)!, ...change });
  }

  /** Resolves with the next session that opens. */
  nextSession(): Promise<FakeSession> {
    return new Promise((resolve) => this.#openings.push(resolve));
  }

  async submit(namespace: string, items: readonly Submission[]): Promise<SubmitOutcome[]> {
    this.submitted.push(items.length);
    await this.gate;
    return items.map((item) => this.#submitOne(namespace, item));
  }

  #submitOne(namespace: string, { draft, requestId }: Submission): SubmitOutcome {
    try {
      if (this.refusal) throw this.refusal;
      const queue = this.#queue(namespace, draft.queue ?? "default");
      const spec = toSpec(draft, { namespace, queue, now: fakeNow });
      const key = spec.idempotencyKey;
      const held = key && [...this.tasks.values()].find((it) => it.idempotencyKey === key);
      if (held) return { kind: "existing", taskId: held.id };
      const slot = slotOfQueue(namespace, spec.queue);
      const id = requestId || formTaskId(fakeNow, slot, this.#random.bytes(8));
      const status = firstStatus(spec.runAt, fakeNow);
      this.tasks.set(id, { ...spec, ...untouched, id, status, readyAt: spec.runAt });
      return { kind: "submitted", taskId: id };
    } catch (error) {
      return { kind: "refused", error: DroverError.from(error) };
    }
  }

  #find(namespace: string, id: string): TaskView {
    if (this.defect) throw this.defect;
    const task = this.tasks.get(id);
    if (task?.namespace === namespace) return task;
    throw new DroverError("task_not_found", `there is no task ${id}`);
  }

  async get(namespace: string, id: string): Promise<TaskView> {
    return this.#find(namespace, id);
  }

  async list(query: ListQuery) {
    const all = [...this.tasks.values()]
      .filter((it) => it.namespace === query.namespace && fits(it, query))
      .reverse();
    const from = Number(query.pageToken || 0);
    const tasks = all.slice(from, from + query.pageSize);
    const next = from + tasks.length;
    const nextPageToken = next < all.length ? String(next) : "";
    return { tasks, nextPageToken, scanned: tasks.length };
  }

  async attempts(namespace: string, taskId: string): Promise<Attempt[]> {
    const { createdAt: startedAt } = this.#find(namespace, taskId);
    const worker = { sessionId: "s", workerId: "w" };
    const open = { endedAt: undefined, outcome: undefined, error: undefined };
    return [{ taskId, fencingToken: 1, attempt: 1, run: 1, startedAt, ...worker, ...open }];
  }

  async logs(namespace: string, taskId: string) {
    const { createdAt: time } = this.#find(namespace, taskId);
    const place = { taskId, fencingToken: 1, attempt: 1, sequence: 1, dropped: 0 };
    const entry: LogEntry = { ...place, time, level: "info", message: "said", fields: '{"n":1}' };
    return { entries: [entry], nextPageToken: "" };
  }

  async *watch(namespace: string, taskIds: readonly string[]): AsyncGenerator<TaskEvent> {
    for (const taskId of taskIds) {
      const task = this.#find(namespace, taskId);
      const [step] = stepsSince(unseen, task, []);
      yield { taskId, cursor: `after ${taskId}`, kind: "status", step: step!, task };
    }
  }

  async cancelMany(namespace: string, { filter, dryRun, limit }: CancelManyRequest) {
    const page = { namespace, pageSize: limit, pageToken: "" };
    const { tasks } = await this.list({ ...filter, ...page });
    const live = tasks.filter((task) => !isFinal(task.status));
    if (!dryRun) for (const { id } of live) await this.cancel(namespace, id);
    const cancelled = dryRun ? 0 : live.length;
    const none = { requested: 0, ended: 0, scanned: tasks.length, nextPageToken: "" };
    return { matched: live.length, cancelled, ...none };
  }

  async cancel(namespace: string, id: string): Promise<TaskView> {
    const task = this.#find(namespace, id);
    if (isFinal(task.status) && task.status !== "cancelled") {
      const { status } = task;
      throw new DroverError("task_already_final", `task ${id} is ${status}`, { status });
    }
    this.change(id, { status: "cancelled", completedAt: fakeNow });
    return this.#find(namespace, id);
  }

  async retry(namespace: string, id: string): Promise<TaskView> {
    const task = this.#find(namespace, id);
    if (task.status === "completed") {
      throw new DroverError("task_not_retryable", `task ${id} is completed`);
    }
    this.change(id, { status: "pending", run: task.run + 1 });
    return this.#find(namespace, id);
  }

  async retryMany(namespace: string, request: BulkRequest): Promise<BulkOutcome> {
    const { tasks, nextPageToken } = await this.list({
      ...request.filter,
      namespace,
      ...page(request),
    });
    for (const { id } of request.dryRun ? [] : tasks) await this.retry(namespace, id);
    const done = request.dryRun ? 0 : tasks.length;
    return { matched: tasks.length, done, scanned: tasks.length, nextPageToken };
  }

  async purgeMany(namespace: string, request: BulkRequest): Promise<BulkOutcome> {
    const { tasks, nextPageToken } = await this.list({
      ...request.filter,
      namespace,
      ...page(request),
    });
    for (const { id } of request.dryRun ? [] : tasks) this.tasks.delete(id);
    const done = request.dryRun ? 0 : tasks.length;
    return { matched: tasks.length, done, scanned: tasks.length, nextPageToken };
  }

  async wait(namespace: string, id: string, _timeoutMs: number, signal: AbortSignal) {
    const task = this.#find(namespace, id);
    if (!isFinal(task.status) && this.gate) {
      await Promise.race([this.gate, once(signal, "abort")]);
    }
    return { task, finished: isFinal(task.status) };
  }

  async stats(): Promise<Stats> {
    const counts = { ...noCounts };
    for (const task of this.tasks.values()) counts[task.status] += 1;
    return { ...counts, workers: this.sessions.length };
  }

  #queue(namespace: string, name: string): QueueView {
    const stats = { ...noCounts, workers: 0 };
    return this.#queues.get(name) ?? { ...defaultQueueSettings(namespace, name), stats };
  }

  async queue(namespace: string, name: string): Promise<QueueView> {
    return this.#queue(namespace, name);
  }

  async queues(namespace: string) {
    return { queues: [this.#queue(namespace, "default")], nextPageToken: "" };
  }

  async updateQueue(namespace: string, name: string, change: QueueChange): Promise<QueueView> {
    const { ifVersion, ...settings } = change;
    const before = this.#queue(namespace, name);
    if (ifVersion !== undefined && ifVersion !== before.version) {
      throw new DroverError("stale_queue", `queue ${name} has changed`);
    }
    this.#queues.set(name, { ...before, ...settings, version: before.version + 1 });
    return this.#queue(namespace, name);
  }

  async workers() {
    return { workers: [], nextPageToken: "" };
  }

  async openSession(namespace: string, hello: SessionHello, port: SessionPort): Promise<Session> {
    const { session, view } = createFakeSession(namespace, hello, port);
    this.sessions.push(view);
    const { sessionId } = hello;
    const lease = { leaseMs: 15_000, heartbeatMs: 5_000 };
    const welcome = { sessionId, resumed: false, revokedTokens: [], coordinatorId: this.id };
    port.send({ welcome: { ...welcome, ...lease } });
    this.#openings.shift()?.(view);
    return session;
  }
}

function createFakeSession(namespace: string, hello: SessionHello, port: SessionPort) {
  const waiting: ((frame: WorkerFrame) => void)[] = [];
  const leaving: (() => void)[] = [];
  const view: FakeSession = {
    namespace,
    hello,
    port,
    received: [],
    disconnects: 0,
    writables: 0,
    send: (frame) => port.send(frame),
    nextFrame: () => new Promise((resolve) => waiting.push(resolve)),
    gone: () =>
      new Promise((resolve) => (view.disconnects > 0 ? resolve() : leaving.push(resolve))),
  };
  const session = {
    sessionId: hello.sessionId,
    receive(frame: WorkerFrame) {
      view.received.push(frame);
      waiting.shift()?.(frame);
      const { heartbeat } = frame;
      if (heartbeat) {
        const { number } = heartbeat;
        port.send({ heartbeatAck: { number, renewed: true, unknownTokens: [] } });
      }
    },
    onWritable: () => void (view.writables += 1),
    disconnected() {
      view.disconnects += 1;
      for (const resolve of leaving) resolve();
    },
  };
  return { session, view };
}

const untouched = {
  version: 1,
  run: 1,
  attempt: 0,
  retryCount: 0,
  leaseLosses: 0,
  releases: 0,
  fencingToken: 0,
  sessionId: "",
  workerId: "",
  startedAt: undefined,
  completedAt: undefined,
  cancelRequestedAt: undefined,
  result: undefined,
  error: undefined,
  progress: undefined,
  cancellation: undefined,
  checkpoint: undefined,
  pendingReason: undefined,
};

const page = ({ limit, pageToken }: BulkRequest) => ({ pageSize: limit, pageToken });
