import { create } from "@bufbuild/protobuf";
import {
  Durability as WireDurability,
  AdminService,
  GetQueueRequestSchema,
  ListQueuesRequestSchema,
  ListWorkersRequestSchema,
  QueueSchema,
  QueueService,
  TypeSettingsSchema,
  UpdateQueueRequestSchema,
  type Queue as WireQueue,
  type TypeSettings as WireType,
  type Worker as WireWorker,
} from "../../gen/drover/v1/admin_pb.js";
import { methodCodec } from "../transport/methods.js";
import { durationMs, timestampDate, toDuration } from "../transport/times.js";
import type { CallOptions, Calls } from "./calls.js";
import { fromWireRetryPolicy, fromWireStats, present, toWireRetryPolicy } from "./convert.js";
import { everyPage, type Page, type PageOptions } from "./pages.js";
import type { RetryPolicy, Stats } from "./task.js";

/** What OK of a submission means: committed in Postgres, or in Redis and drained soon after. */
export type Durability = "durable" | "relaxed";

export interface Queue {
  readonly name: string;
  readonly paused: boolean;
  readonly durability: Durability;
  readonly maxRetries: number | undefined;
  readonly retryPolicy: RetryPolicy | undefined;
  readonly retentionMs: number | undefined;
  /** Defaults of single types, before those above. */
  readonly types: Readonly<Record<string, TypeSettings>>;
  readonly stats: Stats;
  /** Give it to `update` to be refused if the queue has changed since. */
  readonly etag: string;
}

/** Settings to change; the others stay. */
export interface QueueSettings {
  paused?: boolean;
  /** Changes only while the queue is empty. */
  durability?: Durability;
  maxRetries?: number;
  retryPolicy?: RetryPolicy;
  retentionMs?: number;
  /** Replaces all that are there; {} takes them away. */
  types?: Readonly<Record<string, TypeSettings>>;
  etag?: string;
}

/** What tasks of one type fall back on; what is left out is the queue's. */
export interface TypeSettings {
  maxRetries?: number;
  retryPolicy?: RetryPolicy;
  /** Longest run of one attempt, in ms. */
  attemptTimeoutMs?: number;
}

export interface Queues {
  get(name: string, options?: CallOptions): Promise<Queue>;
  list(options?: PageOptions): AsyncGenerator<Queue>;
  update(name: string, settings: QueueSettings, options?: CallOptions): Promise<Queue>;
}

/** A connected worker process. */
export interface WorkerInfo {
  readonly workerId: string;
  readonly sessionId: string;
  readonly coordinatorId: string;
  readonly host: string;
  readonly sdk: string;
  readonly subscriptions: readonly {
    readonly queue: string;
    readonly types: readonly string[];
    /** Share among subscriptions with work, 1 to 100. */
    readonly weight: number;
  }[];
  readonly labels: Readonly<Record<string, string>>;
  readonly slots: number;
  readonly running: number;
  readonly draining: boolean;
  readonly connectedAt: Date | undefined;
  readonly lastHeartbeatAt: Date | undefined;
  readonly eventLoopDelayMs: number;
  /** Share of one core. */
  readonly cpu: number;
}

export interface Workers {
  list(options?: PageOptions): AsyncGenerator<WorkerInfo>;
}

const codecs = {
  get: methodCodec(QueueService.method.getQueue),
  list: methodCodec(QueueService.method.listQueues),
  update: methodCodec(QueueService.method.updateQueue),
  workers: methodCodec(AdminService.method.listWorkers),
};

export function createQueues(calls: Calls): Queues {
  async function page(options: PageOptions): Promise<Page<Queue>> {
    const { pageSize, pageToken } = options;
    const request = create(ListQueuesRequestSchema, present({ pageSize, pageToken }));
    const { queues, nextPageToken } = await calls.unary(codecs.list, request, options);
    return { items: queues.map(fromWireQueue), nextPageToken };
  }
  return {
    async get(name, options) {
      const request = create(GetQueueRequestSchema, { name });
      return fromWireQueue((await calls.unary(codecs.get, request, options)).queue);
    },
    list: (options = {}) => everyPage(options, page),
    async update(name, settings, options) {
      const queue = toWireQueue(name, settings);
      const paths = Object.entries(maskNames).flatMap(([key, path]) =>
        settings[key as keyof typeof maskNames] === undefined ? [] : [path],
      );
      const request = create(UpdateQueueRequestSchema, { queue, updateMask: { paths } });
      // With an etag the second of two equal changes would be refused.
      const plan = { ...options, repeat: settings.etag === undefined };
      return fromWireQueue((await calls.unary(codecs.update, request, plan)).queue);
    },
  };
}

export function createWorkers(calls: Calls): Workers {
  async function page(options: PageOptions): Promise<Page<WorkerInfo>> {
    const { pageSize, pageToken } = options;
    const request = create(ListWorkersRequestSchema, present({ pageSize, pageToken }));
    const { workers, nextPageToken } = await calls.unary(codecs.workers, request, options);
    return { items: workers.map(fromWireWorker), nextPageToken };
  }
  return { list: (options = {}) => everyPage(options, page) };
}

/** Named, because no types at all could not be told from none given. */
const maskNames: Readonly<Record<keyof Omit<QueueSettings, "etag">, string>> = {
  paused: "paused",
  durability: "durability",
  maxRetries: "max_retries",
  retryPolicy: "retry_policy",
  retentionMs: "retention",
  types: "types",
};

function toWireQueue(name: string, settings: QueueSettings): WireQueue {
  const { paused, maxRetries, etag, durability, retryPolicy, retentionMs, types = {} } = settings;
  return create(
    QueueSchema,
    present({
      name,
      paused,
      maxRetries,
      etag,
      durability: durability && toWireDurability(durability),
      retryPolicy: retryPolicy && toWireRetryPolicy(retryPolicy),
      retention: retentionMs === undefined ? undefined : toDuration(retentionMs),
      types: Object.fromEntries(
        Object.entries(types).map(([type, wanted]) => [type, toWireType(wanted)]),
      ),
    }),
  );
}

const toWireType = ({ maxRetries, retryPolicy, attemptTimeoutMs }: TypeSettings): WireType =>
  create(
    TypeSettingsSchema,
    present({
      maxRetries,
      retryPolicy: retryPolicy && toWireRetryPolicy(retryPolicy),
      timeout: attemptTimeoutMs === undefined ? undefined : toDuration(attemptTimeoutMs),
    }),
  );

const fromWireType = ({ maxRetries, retryPolicy, timeout }: WireType): TypeSettings =>
  present({
    maxRetries,
    retryPolicy: retryPolicy && fromWireRetryPolicy(retryPolicy),
    attemptTimeoutMs: timeout && durationMs(timeout),
  });

const toWireDurability = (durability: Durability): WireDurability =>
  durability === "relaxed" ? WireDurability.RELAXED : WireDurability.DURABLE;

function fromWireQueue(queue: WireQueue = create(QueueSchema)): Queue {
  return {
    name: queue.name,
    paused: queue.paused ?? false,
    durability: queue.durability === WireDurability.RELAXED ? "relaxed" : "durable",
    maxRetries: queue.maxRetries,
    retryPolicy: queue.retryPolicy && fromWireRetryPolicy(queue.retryPolicy),
    retentionMs: queue.retention && durationMs(queue.retention),
    types: Object.fromEntries(
      Object.entries(queue.types).map(([type, settings]) => [type, fromWireType(settings)]),
    ),
    stats: fromWireStats(queue.stats),
    etag: queue.etag,
  };
}

function fromWireWorker(worker: WireWorker): WorkerInfo {
  const { connectedAt, lastHeartbeatAt, eventLoopDelay } = worker;
  return {
    workerId: worker.workerId,
    sessionId: worker.sessionId,
    coordinatorId: worker.coordinatorId,
    host: worker.host,
    sdk: worker.sdk,
    subscriptions: worker.subscriptions.map(({ queue, types, weight }) => ({
      queue: queue || "default",
      types,
      weight,
    })),
    labels: worker.labels,
    slots: worker.slots,
    running: worker.running,
    draining: worker.draining,
    connectedAt: connectedAt && timestampDate(connectedAt),
    lastHeartbeatAt: lastHeartbeatAt && timestampDate(lastHeartbeatAt),
    eventLoopDelayMs: eventLoopDelay ? durationMs(eventLoopDelay) : 0,
    cpu: worker.cpu,
  };
}
