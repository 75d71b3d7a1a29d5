import "./shape.js";
import type { Task, TaskSpec } from "./task.js";

/**
 * A task as it stands before anything happened to it. Every field is named: an object as wide as
 * this one, made by spreading, costs 90 us instead of half a microsecond (it leaves V8's fast
 * shape).
 */
export function newTask(
  id: string,
  spec: TaskSpec,
  traceContext = spec.traceContext,
  payload = spec.payload,
): Task {
  const waits = spec.runAt !== undefined && spec.runAt > spec.createdAt;
  return {
    id,
    namespace: spec.namespace,
    queue: spec.queue,
    type: spec.type,
    priority: spec.priority,
    payload,
    maxRetries: spec.maxRetries,
    retry: spec.retry,
    runAt: spec.runAt,
    timeoutMs: spec.timeoutMs,
    groupKey: spec.groupKey,
    requiredLabels: spec.requiredLabels,
    tags: spec.tags,
    idempotencyKey: spec.idempotencyKey,
    retentionMs: spec.retentionMs,
    traceContext,
    durability: spec.durability,
    createdAt: spec.createdAt,
    terms: spec.terms,
    status: waits ? "scheduled" : "pending",
    version: 1,
    run: 1,
    attempt: 0,
    retryCount: 0,
    leaseLosses: 0,
    releases: 0,
    fencingToken: 0,
    sessionId: "",
    workerId: "",
    readyAt: waits ? spec.runAt : undefined,
    startedAt: undefined,
    completedAt: undefined,
    cancelRequestedAt: undefined,
    result: undefined,
    error: undefined,
    progress: undefined,
    cancellation: undefined,
    checkpoint: undefined,
  };
}
