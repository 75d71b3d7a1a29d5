import type { Broker } from "../broker/broker.js";
import { limits } from "../limits.js";
import type { SettleDesk } from "./settle-desk.js";
import { BatchBook } from "./batch-book.js";
import { BatchDesk } from "./batch-desk.js";
import type { BatchWork } from "./batches.js";
import { Canceller } from "./canceller.js";
import type { Coordinator } from "./coordinator.js";
import { Dispatcher } from "./dispatcher.js";
import { EarlierTasks } from "./earlier-tasks.js";
import { Notes } from "./notes.js";
import type { Parts } from "./parts.js";
import { QueueBook } from "./queue-book.js";
import { Reader } from "./reader.js";
import { Rebalancer } from "./rebalancer.js";
import { Redriver } from "./redriver.js";
import { ResultDesk } from "./results.js";
import { ScheduleBook } from "./schedule-book.js";
import type { Schedules } from "./schedules.js";
import { SessionBook } from "./session-book.js";
import { Settler } from "./settle.js";
import { Submitter } from "./submitter.js";
import { TickEnds } from "./tick-ends.js";
import { TickOrders } from "./tick-orders.js";
import { TaskMaker } from "./task-maker.js";
import { type TickDesk, Ticker } from "./ticker.js";
import { createLoop, type Loop } from "../service.js";
import { TaskLoader } from "./task-loader.js";
import type { Task } from "../task/task.js";
import { Waiters } from "./waiters.js";
import { Watcher } from "./watcher.js";
import { WakeLoop } from "./wake-loop.js";

/** How often the sure ways behind hints and wake-ups are walked. */
const refreshMs = 2_000;
const drainPollMs = 50;
/** With no other coordinator to go to, workers get this long to take the news. */
const loneDrainMs = 1_000;
const shutdownSpreadMs = 1_000;

/** The parts of a coordinator, wired once. */
export class CoordinatorParts {
  readonly parts: Parts;
  readonly queues: QueueBook;
  readonly waiters: Waiters;
  readonly dispatcher: Dispatcher;
  readonly submitter: Submitter;
  readonly settler: Settler;
  readonly reader: Reader;
  readonly watcher: Watcher;
  readonly canceller: Canceller;
  readonly notes: Notes;
  readonly redriver: Redriver;
  readonly sessions: SessionBook;
  readonly rebalancer: Rebalancer;
  readonly schedules: Schedules;
  readonly ticker: Ticker;
  readonly batchDesk: BatchDesk;
  readonly batches: BatchBook;
  readonly wakes: WakeLoop[];
  readonly refresh: Loop;

  constructor(parts: Parts) {
    this.parts = parts;
    this.queues = new QueueBook(parts);
    this.waiters = new Waiters(parts);
    this.dispatcher = new Dispatcher(parts);
    this.submitter = new Submitter(parts, this.queues, this.dispatcher);
    this.settler = new Settler(parts, this.waiters, this.dispatcher);
    this.dispatcher.settling = () => this.settler.soon;
    const loader = new TaskLoader(parts);
    this.reader = new Reader(parts, this.queues, this.waiters, loader);
    this.watcher = new Watcher(parts, this.waiters, loader);
    this.canceller = new Canceller(parts, this.reader, this.waiters);
    this.redriver = new Redriver(parts, this.reader, this.submitter, this.dispatcher);
    this.notes = new Notes(parts);
    const results = new ResultDesk(parts, this.settler, this.notes);
    this.sessions = new SessionBook(parts, this.dispatcher, results, this.notes, this.settler);
    this.rebalancer = new Rebalancer(parts, this.sessions);
    const tasks = new TaskMaker(parts, this.queues);
    const { submitter, canceller } = this;
    this.batchDesk = new BatchDesk(parts, { tasks, submitter, canceller });
    this.batches = new BatchBook(parts, this.batchDesk);
    canceller.onCancelled = (task) => this.batchDesk.ended(task);
    const scheduling = createScheduling(this, tasks);
    this.schedules = scheduling.schedules;
    this.ticker = scheduling.ticker;
    this.wakes = Array.from(
      { length: parts.broker.partitions },
      (_, partition) => new WakeLoop(parts, partition, this.dispatcher),
    );
    this.refresh = createLoop({
      name: "refresh",
      clock: parts.clock,
      everyMs: refreshMs,
      run: async () => {
        await this.dispatcher.refresh();
        return undefined;
      },
      onError: (error, loop) => parts.events.emit("loop.failed", { loop, error }),
    });
    this.dispatcher.onUnmet = (partition) => this.wakes[partition]?.want();
    this.canceller.onRequested = (task, graceMs) =>
      this.sessions.requestCancel(task.sessionId, task.id, graceMs);
  }

  async start(): Promise<void> {
    this.queues.start();
    this.waiters.start();
    this.dispatcher.start();
    this.sessions.start();
    await Promise.all([...this.wakes.map((wake) => wake.start()), this.refresh.start()]);
    await this.rebalancer.start();
  }

  /** Loops first, so that nothing new is leased; then what is under way is finished. */
  async stop(): Promise<void> {
    await this.rebalancer.stop();
    await Promise.all([...this.wakes.map((wake) => wake.stop()), this.refresh.stop()]);
    this.sessions.stop();
    await this.notes.stop();
    this.dispatcher.stop();
    await Promise.all([this.submitter.drained(), this.settler.drained()]);
    await this.waiters.stop();
    this.queues.stop();
  }
}

function createScheduling(
  inner: CoordinatorParts,
  tasks: TaskMaker,
): { schedules: Schedules; ticker: Ticker } {
  const { parts, submitter, canceller, waiters } = inner;
  const earlier = new EarlierTasks(parts, canceller);
  const book = new ScheduleBook(parts);
  const orders = new TickOrders(parts, { book, tasks, submitter });
  const ticker = new Ticker(parts, { tasks, earlier, ends: new TickEnds(waiters), submitter });
  book.onChanged = () => ticker.onChanged();
  const schedules: Schedules = {
    create: (namespace, wanted) => book.create(namespace, wanted),
    get: (namespace, name) => book.get(namespace, name),
    list: (namespace, page) => book.list(namespace, page),
    update: (namespace, wanted, ifVersion) => book.update(namespace, wanted, ifVersion),
    remove: (namespace, name, ifVersion) => book.remove(namespace, name, ifVersion),
    pause: (namespace, name, note) => book.pause(namespace, name, note),
    resume: (namespace, name, note) => book.resume(namespace, name, note),
    trigger: (namespace, name, requestId) => orders.trigger(namespace, name, requestId),
    backfill: (namespace, name, range) => orders.backfill(namespace, name, range),
    preview: (namespace, name, ask) => book.preview(namespace, name, ask),
    previewWanted: (wanted, ask) => book.previewWanted(wanted, ask),
  };
  return { schedules, ticker };
}

/**
 * The coordinator, and the desks where loops bring their work: leases that must end, ticks that are
 * due, batches whose tasks have ended.
 */
export function createCoordinator(parts: Parts): {
  coordinator: Coordinator;
  desk: SettleDesk;
  ticks: TickDesk;
  batches: BatchWork & { ended(task: Task): void };
} {
  const inner = new CoordinatorParts(parts);
  const { reader, canceller, redriver, queues, sessions } = inner;
  let state: "new" | "serving" | "draining" | "stopped" = "new";
  const coordinator: Coordinator = {
    id: parts.coordinatorId,
    start: async () => {
      await inner.start();
      state = "serving";
    },
    drain: async () => {
      state = "draining";
      await drain(inner);
    },
    stop: async () => {
      state = "stopped";
      await inner.stop();
    },
    notReady: () => {
      if (state !== "serving") return `the coordinator is ${state}`;
      return parts.history.available ? undefined : "history (Postgres) does not answer";
    },
    degraded: () => degradedBy(parts.broker),
    submit: (namespace, items) => inner.submitter.submit(namespace, items),
    get: (namespace, taskId) => reader.get(namespace, taskId),
    list: (query) => reader.list(query),
    attempts: (namespace, taskId) => reader.attempts(namespace, taskId),
    logs: (namespace, taskId, attempt, page) => reader.logs(namespace, taskId, attempt, page),
    cancel: (namespace, taskId, graceMs, reason = "") =>
      canceller.cancel({ namespace, taskId, graceMs, reason }),
    cancelMany: (namespace, request) => canceller.cancelMany(namespace, request),
    retry: (namespace, taskId, redrive) => redriver.retry(namespace, taskId, redrive),
    retryMany: (namespace, request) => redriver.retryMany(namespace, request),
    purgeMany: (namespace, request) => redriver.purgeMany(namespace, request),
    wait: (namespace, taskId, timeoutMs, signal) =>
      reader.wait(namespace, taskId, timeoutMs, signal),
    watch: (namespace, taskIds, cursor, signal) =>
      inner.watcher.watch(namespace, taskIds, cursor, signal),
    stats: (namespace, queue) => queues.stats(namespace, queue),
    queue: (namespace, name) => queues.view(namespace, name),
    queues: (namespace, page) => queues.list(namespace, page),
    updateQueue: (namespace, name, change) => queues.update(namespace, name, change),
    workers: (namespace, page) => reader.workers(namespace, page),
    schedules: inner.schedules,
    batches: inner.batches,
    openSession: (namespace, hello, port) => sessions.open(namespace, hello, port),
  };
  return { coordinator, desk: inner.settler, ticks: inner.ticker, batches: inner.batchDesk };
}

function degradedBy(broker: Broker): string | undefined {
  const { partitions } = broker;
  if (!broker.available) {
    return "the broker (Redis) does not answer: DURABLE submissions go on, leasing waits";
  }
  let away = 0;
  for (let partition = 0; partition < partitions; partition += 1) {
    if (!broker.serves(partition)) away += 1;
  }
  return away === 0
    ? undefined
    : `${away} of ${partitions} partitions of the broker (Redis) do not answer: their tasks wait`;
}

/** Every session is asked to move; running handlers go on, and their leases with them. */
async function drain(inner: CoordinatorParts): Promise<void> {
  const { clock } = inner.parts;
  inner.waiters.release();
  inner.batches.release();
  await inner.rebalancer.stop();
  const patienceMs = inner.rebalancer.peers > 1 ? limits.drainMs : loneDrainMs;
  const endsAt = clock.monotonic() + patienceMs;
  inner.sessions.goAway(
    "shutdown",
    inner.sessions.size,
    Math.min(shutdownSpreadMs, patienceMs / 2),
  );
  while (inner.sessions.size > 0 && clock.monotonic() < endsAt) await clock.sleep(drainPollMs);
}
