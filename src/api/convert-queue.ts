import {
  Durability as WireDurability,
  type Queue as WireQueue,
  type TypeSettings as WireType,
  type Worker,
} from "../../gen/drover/v1/admin_pb.js";
import type { Stats as WireStats } from "../../gen/drover/v1/task_pb.js";
import type { SessionInfo } from "../broker/broker.js";
import type { QueueChange, QueueView, Stats } from "../coordinator/coordinator.js";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { refuse } from "../task/rules.js";
import { defaultRetry } from "../task/validate.js";
import { checkRetry, toTypeSettings } from "../task/retry-policy.js";
import type { Durability, TypeSettings } from "../task/task.js";
import type { Opaque, OpaqueInit } from "./contract.js";
import { toRetry, toWireRetry } from "./convert-task.js";
import { durationMs, durationMsIf, toDuration, toDurationIf, toTimestamp } from "./convert-time.js";

/** Queues, counts and worker sessions between the wire and the vocabulary. */

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export const toWireStats = (stats: Stats): OpaqueInit<WireStats> => ({
  pending: BigInt(stats.pending),
  processing: BigInt(stats.running),
  completed: BigInt(stats.completed),
  failed: BigInt(stats.failed),
  scheduled: BigInt(stats.scheduled),
  retrying: BigInt(stats.retrying),
  blocked: BigInt(stats.blocked),
  cancelled: BigInt(stats.cancelled),
  expired: BigInt(stats.expired),
  workers: BigInt(stats.workers),
});

export const toWireQueue = (queue: QueueView): OpaqueInit<WireQueue> => ({
  name: queue.name,
  paused: queue.paused,
  durability: queue.durability === "durable" ? WireDurability.DURABLE : WireDurability.RELAXED,
  maxRetries: queue.maxRetries,
  retryPolicy: toWireRetry(queue.retry),
  retention: toDuration(queue.retentionMs),
  types: Object.fromEntries(
    Object.entries(queue.types).map(([type, settings]) => [type, toWireType(settings)]),
  ),
  stats: toWireStats(queue.stats),
  etag: String(queue.version),
});

const toWireType = ({ maxRetries, retry, timeoutMs }: TypeSettings): OpaqueInit<WireType> => ({
  maxRetries,
  retryPolicy: retry && toWireRetry(retry),
  timeout: toDurationIf(timeoutMs),
});

function toType(wire: Opaque<WireType>, field: string): TypeSettings {
  const { maxRetries, retryPolicy, timeout } = wire;
  return {
    maxRetries,
    retry: retryPolicy && toRetry(retryPolicy, `${field}.retry_policy`),
    timeoutMs: durationMsIf(timeout, `${field}.timeout`),
  };
}

/** Settings an update can name, with what clears them. */
const settings: Readonly<
  Record<string, (queue: Opaque<WireQueue>, change: Mutable<QueueChange>) => void>
> = {
  paused: (queue, change) => {
    change.paused = queue.paused ?? false;
  },
  durability: (queue, change) => {
    change.durability = toDurability(queue.durability);
  },
  max_retries: (queue, change) => {
    change.maxRetries = queue.maxRetries ?? limits.maxRetries;
  },
  retry_policy: (queue, change) => {
    const given = queue.retryPolicy ? toRetry(queue.retryPolicy, "queue.retry_policy") : {};
    checkRetry("queue.retry_policy", given);
    change.retry = { ...defaultRetry, ...given };
  },
  retention: (queue, change) => {
    const { retention } = queue;
    change.retentionMs = retention
      ? Math.ceil(durationMs(retention, "queue.retention"))
      : limits.retentionMs;
  },
  types: ({ types }, change) => {
    const field = "queue.types";
    const given = Object.entries(types).map(
      ([type, wire]) => [type, toType(wire, `${field}[${type.slice(0, 60)}]`)] as const,
    );
    change.types = toTypeSettings(Object.fromEntries(given), field);
  },
};

/**
 * `mask` undefined or empty: the settings that are set. A masked setting that is not set goes back
 * to its default.
 */
export function toQueueChange(
  queue: Opaque<WireQueue>,
  mask: readonly string[] | undefined,
): QueueChange {
  if (queue.stats) {
    const field = "queue.stats";
    throw new DroverError("output_only_field", `${field} is set by Drover`, { field });
  }
  const change: Mutable<QueueChange> = {};
  const names = mask && mask.length > 0 ? mask : givenSettings(queue);
  for (const name of names) {
    const apply = Object.hasOwn(settings, name) ? settings[name] : undefined;
    if (!apply) refuse("update_mask", `names of ${Object.keys(settings).join(", ")}`, name);
    apply(queue, change);
  }
  if (names.length === 0) {
    refuse("queue", `at least one of ${Object.keys(settings).join(", ")}`, "none");
  }
  if (queue.etag !== "") change.ifVersion = toVersion(queue.etag);
  return change;
}

const givenSettings = (queue: Opaque<WireQueue>): string[] => [
  ...(queue.paused === undefined ? [] : ["paused"]),
  ...(queue.durability === WireDurability.UNSPECIFIED ? [] : ["durability"]),
  ...(queue.maxRetries === undefined ? [] : ["max_retries"]),
  ...(queue.retryPolicy ? ["retry_policy"] : []),
  ...(queue.retention ? ["retention"] : []),
  ...(Object.keys(queue.types).length > 0 ? ["types"] : []),
];

function toDurability(wire: WireDurability): Durability {
  if (wire === WireDurability.DURABLE) return "durable";
  if (wire === WireDurability.RELAXED) return "relaxed";
  return refuse("queue.durability", "DURABLE or RELAXED", "none");
}

function toVersion(etag: string): number {
  if (!/^\d{1,15}$/.test(etag)) refuse("queue.etag", "an etag as GetQueue gave it", etag);
  return Number(etag);
}

export const toWireWorker = (info: SessionInfo): OpaqueInit<Worker> => ({
  workerId: info.workerId,
  sessionId: info.sessionId,
  coordinatorId: info.coordinatorId,
  host: info.host,
  sdk: info.sdk,
  subscriptions: info.subscriptions.map(({ queue, types, weight }) => ({
    queue,
    types: [...types],
    weight,
  })),
  labels: { ...info.labels },
  slots: info.slots,
  running: info.running,
  draining: info.draining,
  connectedAt: toTimestamp(info.connectedAt),
  lastHeartbeatAt: toTimestamp(info.lastHeartbeatAt),
  eventLoopDelay: toDuration(info.eventLoopDelayMs),
  cpu: info.cpu,
});
