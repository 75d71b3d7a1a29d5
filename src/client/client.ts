import { setMaxListeners } from "node:events";
import { create } from "@bufbuild/protobuf";
import {
  CancelTaskRequestSchema,
  GetStatsRequestSchema,
  GetTaskRequestSchema,
  ListAttemptsRequestSchema,
  ListLogsRequestSchema,
  ListTasksRequestSchema,
  RetryTaskRequestSchema,
  TaskService,
  WaitTaskRequestSchema,
} from "../../gen/drover/v1/task_pb.js";
import { type Clock, type Random, systemClock, systemRandom } from "../clock.js";
import { Code } from "../errors.js";
import { parseAddresses } from "../transport/addresses.js";
import { freshId } from "../transport/ids.js";
import { createHold } from "../transport/hold.js";
import { methodCodec } from "../transport/methods.js";
import { opaque } from "../transport/opaque.js";
import { refusal } from "../transport/status.js";
import type { AnyTasks, TaskMap } from "../transport/task-map.js";
import { toDuration } from "../transport/times.js";
import { type Names, refuseUnknown } from "../transport/unknown-names.js";
import type { Batches } from "./batch.js";
import { createBatches } from "./batches.js";
import {
  type BulkOptions,
  type BulkOutcome,
  type CancelManyOptions,
  type CancelManyOutcome,
  type CancelOptions,
  cancelMany,
  purgeMany,
  retryMany,
} from "./bulk.js";
import { type CallOptions, Calls } from "./calls.js";
import { ChannelPool } from "./channel-pool.js";
import { encodePayload, fromWireAttempt, fromWireStats, fromWireTask, present } from "./convert.js";
import { clientClosed, DroverClientError } from "./errors.js";
import { checkParts, shown } from "./known-names.js";
import { type TaskFilter, toListFields } from "./filter.js";
import { everyPage } from "./pages.js";
import { pollUntil } from "./polling.js";
import { createQueues, createWorkers, type Queues, type Workers } from "./queues.js";
import type { Schedules } from "./schedule.js";
import { createSchedules } from "./schedules.js";
import { ManySink, OneSink } from "./sinks.js";
import { Submitter, type SubmitPlan } from "./submitter.js";
import type {
  Client,
  ClientOptions,
  ListOptions,
  LogOptions,
  NewTask,
  Receipt,
  RetryOptions,
  SubmitOptions,
  SubmitOutcome,
  TaskPage,
  TaskRef,
  WaitOptions,
} from "./surface.js";
import { encodeItem } from "./encode-task.js";
import type { Attempt, LogEntry, Stats, Task, TaskEvent, TaskOptions } from "./task.js";
import { activeTrace } from "./trace.js";
import type { TraceContext } from "../traceparent.js";
import { fromWireLogEntry, watchTasks, type WatchOptions } from "./watch.js";

const { method } = TaskService;
const codecs = {
  get: methodCodec(method.getTask, opaque(method.getTask.output)),
  list: methodCodec(method.listTasks, opaque(method.listTasks.output)),
  cancel: methodCodec(method.cancelTask, opaque(method.cancelTask.output)),
  retry: methodCodec(method.retryTask, opaque(method.retryTask.output)),
  wait: methodCodec(method.waitTask, opaque(method.waitTask.output)),
  attempts: methodCodec(method.listAttempts),
  stats: methodCodec(method.getStats),
  logs: methodCodec(method.listLogs),
};

const defaultGraceMs = 5_000;
function idOf(task: TaskRef<string>): string {
  const id: unknown = typeof task === "string" ? task : (task as Partial<Receipt> | undefined)?.id;
  if (typeof id === "string") return id;
  throw new TypeError(`task: expected an id, or the receipt that came with it, got ${shown(task)}`);
}

/** Connects with the first call. Throws a TypeError on malformed options. */
export function createClient<Tasks extends TaskMap<Tasks> = AnyTasks>(
  options: ClientOptions = {},
): Client<Tasks> {
  return new PooledClient(options) as unknown as Client<Tasks>;
}

const known: Names<ClientOptions> = {
  address: true,
  credentials: true,
  headers: true,
  clock: true,
  random: true,
};

class PooledClient implements Client {
  readonly queues: Queues;
  readonly schedules: Schedules;
  readonly batches: Batches;
  readonly workers: Workers;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #pool: ChannelPool;
  readonly #calls: Calls;
  readonly #submitter: Submitter;
  readonly #closing = new AbortController();

  constructor(options: ClientOptions) {
    refuseUnknown("createClient", options, known);
    const { clock = systemClock, random = systemRandom, credentials, headers } = options;
    const addresses = parseAddresses(options.address);
    this.#clock = clock;
    this.#random = random;
    // As many watches as there are.
    setMaxListeners(0, this.#closing.signal);
    this.#pool = new ChannelPool(addresses, random, { clock, credentials, headers });
    this.#calls = new Calls({ clock, random, pool: this.#pool, hold: createHold() });
    this.#submitter = new Submitter({ clock, random, pool: this.#pool });
    this.queues = createQueues(this.#calls);
    this.workers = createWorkers(this.#calls);
    this.batches = createBatches({ calls: this.#calls, clock, random, client: this });
    this.schedules = createSchedules(this.#calls, () => freshId(clock, random));
  }

  submit<Type extends string>(
    type: Type,
    payload: unknown,
    options: SubmitOptions = {},
  ): Promise<Receipt<Type>> {
    // Neither a turn nor a copy for those who trace nothing.
    const tracing = options.traceContext === undefined ? activeTrace() : undefined;
    const submitted = tracing
      ? tracing.then((trace) => this.#submit(type, payload, traced(options, trace)))
      : this.#submit(type, payload, options);
    return submitted as Promise<Receipt<Type>>;
  }

  #submit(type: string, payload: unknown, options: SubmitOptions): Promise<Receipt> {
    return new Promise((resolve, reject) => {
      const item = encodeItem(type, payload, options);
      this.#submitter.submit(type, item, options, new OneSink(resolve, reject), 0);
    });
  }

  async submitMany(
    tasks: readonly NewTask<AnyTasks>[],
    plan: SubmitPlan = {},
  ): Promise<SubmitOutcome[]> {
    if (!Array.isArray(tasks)) {
      throw new TypeError(`submitMany: expected a list of tasks, got ${shown(tasks)}`);
    }
    const trace = await activeTrace();
    if (tasks.length === 0) return [];
    return new Promise((resolve) => {
      const sink = new ManySink(tasks.length, resolve);
      for (let place = 0; place < tasks.length; place += 1) {
        const task = tasks[place]!;
        try {
          checkParts(task);
          const { type, payload, options } = task;
          const item = encodeItem(type, payload, traced(options ?? {}, trace));
          this.#submitter.submit(type, item, plan, sink, place);
        } catch (error) {
          sink.refused(place, error, task?.type);
        }
      }
    });
  }

  async get(task: TaskRef<string>, options?: CallOptions): Promise<Task> {
    const request = create(GetTaskRequestSchema, { taskId: idOf(task) });
    return fromWireTask((await this.#calls.unary(codecs.get, request, options)).task);
  }

  wait(task: TaskRef<string>, options: WaitOptions = {}): Promise<Task> {
    const taskId = idOf(task);
    return pollUntil(
      { clock: this.#clock, random: this.#random },
      async (ms, plan) => {
        const request = create(WaitTaskRequestSchema, { taskId, timeout: toDuration(ms) });
        const answer = await this.#calls.unary(codecs.wait, request, plan);
        return answer.finished ? fromWireTask(answer.task) : undefined;
      },
      options,
      (ms) => notEnded(taskId, ms),
    );
  }

  list(options: ListOptions = {}): AsyncGenerator<Task> {
    return everyPage(options, (page) => this.listPage(page));
  }

  async listPage(options: ListOptions = {}): Promise<TaskPage<Task>> {
    const { pageSize, pageToken } = options;
    const page = present({ pageSize, pageToken });
    const request = create(ListTasksRequestSchema, { ...toListFields(options), ...page });
    const answer = await this.#calls.unary(codecs.list, request, options);
    const { tasks, nextPageToken, scanned } = answer;
    return { items: tasks.map((task) => fromWireTask(task)), nextPageToken, scanned };
  }

  async cancel(task: TaskRef<string>, options: CancelOptions = {}): Promise<Task> {
    const { graceMs, reason } = options;
    const grace = graceMs === undefined ? undefined : toDuration(graceMs);
    const request = create(CancelTaskRequestSchema, present({ taskId: idOf(task), grace, reason }));
    return fromWireTask((await this.#calls.unary(codecs.cancel, request, options)).task);
  }

  cancelMany(filter: TaskFilter, options?: CancelManyOptions): Promise<CancelManyOutcome> {
    return cancelMany(this.#calls, filter, options);
  }

  async retry(task: TaskRef<string>, options: RetryOptions = {}): Promise<Task> {
    const taskId = idOf(task);
    const payloadBlob = options.payload === undefined ? undefined : encodePayload(options.payload);
    // A copy is safe to ask for again. The new run of the same task may have failed by the time of
    // a repeat, which would begin yet another one.
    const requestId = payloadBlob && freshId(this.#clock, this.#random);
    const request = create(RetryTaskRequestSchema, present({ taskId, payloadBlob, requestId }));
    const plan = { ...options, repeat: payloadBlob !== undefined };
    return fromWireTask((await this.#calls.unary(codecs.retry, request, plan)).task);
  }

  retryMany(filter: TaskFilter, options?: BulkOptions): Promise<BulkOutcome> {
    return retryMany(this.#calls, filter, options);
  }

  purgeMany(filter: TaskFilter, options?: BulkOptions): Promise<BulkOutcome> {
    return purgeMany(this.#calls, filter, options);
  }

  async attempts(task: TaskRef<string>, options?: CallOptions): Promise<readonly Attempt[]> {
    const request = create(ListAttemptsRequestSchema, { taskId: idOf(task) });
    const { attempts } = await this.#calls.unary(codecs.attempts, request, options);
    return attempts.map(fromWireAttempt);
  }

  logs(task: TaskRef<string>, options: LogOptions = {}): AsyncGenerator<LogEntry> {
    const { attempt } = options;
    return everyPage(options, async ({ pageSize, pageToken, ...plan }) => {
      const asked = present({ taskId: idOf(task), attempt, pageSize, pageToken });
      const request = create(ListLogsRequestSchema, asked);
      const { entries, nextPageToken } = await this.#calls.unary(codecs.logs, request, plan);
      return { items: entries.map(fromWireLogEntry), nextPageToken };
    });
  }

  watch(
    tasks: TaskRef<string> | readonly TaskRef<string>[],
    options: WatchOptions = {},
  ): AsyncGenerator<TaskEvent> {
    const given = Array.isArray(tasks) ? (tasks as readonly TaskRef<string>[]) : [tasks];
    const parts = { clock: this.#clock, random: this.#random, pool: this.#pool };
    const closing = this.#closing.signal;
    return watchTasks({ ...parts, closing }, (given as TaskRef<string>[]).map(idOf), options);
  }

  async stats({ queue, ...options }: CallOptions & { queue?: string } = {}): Promise<Stats> {
    const request = create(GetStatsRequestSchema, present({ queue }));
    return fromWireStats((await this.#calls.unary(codecs.stats, request, options)).stats);
  }

  async close({ graceMs = defaultGraceMs }: { graceMs?: number } = {}): Promise<void> {
    this.#closing.abort(clientClosed());
    this.#calls.close();
    await this.#submitter.close(graceMs);
    this.#pool.close();
  }
}

/** With the caller's trace, unless the task brings its own. */
const traced = <Options extends TaskOptions>(
  options: Options,
  traceContext: TraceContext | undefined,
): Options =>
  traceContext && options.traceContext === undefined ? { ...options, traceContext } : options;

const notEnded = (id: string, ms: number): DroverClientError =>
  new DroverClientError({
    ...refusal(Code.deadlineExceeded, "wait_too_long", `task ${id} has not ended within ${ms} ms`),
    hint: "Wait longer, or read it with get.",
  });
