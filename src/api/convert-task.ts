import {
  PendingReason as WireReason,
  SubmitStatus,
  TaskStatus,
  type Attempt as WireAttempt,
  type Blob,
  type Error as WireError,
  type RetryPolicy as WireRetry,
  type Task as WireTask,
} from "../../gen/drover/v1/task_pb.js";
import type { PendingReason, TaskView } from "../coordinator/coordinator.js";
import { DroverError } from "../errors.js";
import type { TaskDraft } from "../task/draft.js";
import { checkName, refuse } from "../task/rules.js";
import type { Attempt, Payload, RetryPolicy, Status, Task, TaskError } from "../task/task.js";
import { inspectValue } from "../task/value-bytes.js";
import type { Opaque, OpaqueInit } from "./contract.js";
import {
  durationMs,
  durationMsIf,
  timestampMs,
  toDuration,
  toDurationIf,
  toTimestamp,
  toTimestampIf,
} from "./convert-time.js";
import {
  addTerms,
  toBackoff,
  toTerms,
  toWireBackoff,
  toWireCancellation,
} from "./convert-terms.js";

/**
 * Tasks between the wire and the vocabulary. Judging is task/validate.ts's; here is only what the
 * wire can get wrong.
 */

export const wireStatus: Readonly<Record<Status, TaskStatus>> = {
  blocked: TaskStatus.BLOCKED,
  scheduled: TaskStatus.SCHEDULED,
  pending: TaskStatus.PENDING,
  running: TaskStatus.RUNNING,
  retrying: TaskStatus.RETRYING,
  completed: TaskStatus.COMPLETED,
  failed: TaskStatus.FAILED,
  cancelled: TaskStatus.CANCELLED,
  expired: TaskStatus.EXPIRED,
};

const statuses = new Map(
  Object.entries(wireStatus).map(([status, wire]) => [wire, status as Status]),
);

/** Unspecified is no filter. */
export const toStatus = (wire: TaskStatus): Status | undefined => statuses.get(wire);

const wireReasons: Readonly<Record<PendingReason, WireReason>> = {
  paused: WireReason.PAUSED,
  no_worker: WireReason.NO_WORKER,
  no_slot: WireReason.NO_SLOT,
  cold: WireReason.COLD,
};

const outputOnly: readonly [keyof Opaque<WireTask>, string][] = [
  ["id", "id"],
  ["status", "status"],
  ["pendingReason", "pending_reason"],
  ["retryCount", "retry_count"],
  ["attempt", "attempt"],
  ["createdAt", "created_at"],
  ["startedAt", "started_at"],
  ["completedAt", "completed_at"],
  ["workerId", "worker_id"],
  ["result", "result"],
  ["resultBlob", "result_blob"],
  ["error", "error"],
  ["version", "version"],
  ["run", "run"],
  ["leaseLosses", "lease_losses"],
  ["cancelRequestedAt", "cancel_requested_at"],
  ["progress", "progress"],
  ["progressMessage", "progress_message"],
  ["cancellation", "cancellation"],
  ["checkpoint", "checkpoint"],
  ["checkpointBlob", "checkpoint_blob"],
  ["redrivenFrom", "redriven_from"],
  ["schedule", "schedule"],
  ["scheduledFor", "scheduled_for"],
  ["batchCallback", "batch_callback"],
];

const isSet = (value: unknown): boolean =>
  value !== undefined && value !== "" && value !== 0 && value !== 0n;

/** `task` undefined: the request has none. Throws what the wire alone can get wrong. */
export function toDraft(task: Opaque<WireTask> | undefined): TaskDraft {
  if (!task) return refuse("task", "a task", undefined);
  // Its settings are looked up before the rest is judged.
  if (task.queue !== "") checkName("task.queue", task.queue);
  for (const [key, name] of outputOnly) {
    if (isSet(task[key])) {
      const field = `task.${name}`;
      throw new DroverError("output_only_field", `${field} is set by Drover`, { field });
    }
  }
  refuseUnknown(task);
  return {
    type: task.type,
    queue: task.queue === "" ? undefined : task.queue,
    priority: task.priority,
    payload: toPayload("task.payload", task.payload, task.payloadBlob),
    maxRetries: task.maxRetries,
    retry: task.retryPolicy && toRetry(task.retryPolicy, "task.retry_policy"),
    runAt: task.runAt && timestampMs(task.runAt, "task.run_at"),
    delayMs: durationMsIf(task.delay, "task.delay"),
    timeoutMs: durationMsIf(task.timeout, "task.timeout"),
    groupKey: task.groupKey,
    requiredLabels: task.requiredLabels,
    tags: task.tags,
    idempotencyKey: task.idempotencyKey,
    retentionMs: durationMsIf(task.retention, "task.retention"),
    traceContext: task.traceContext,
    terms: toTerms(task),
  };
}

/**
 * A field of a newer contract may change what the task means: it is refused, never accepted and
 * ignored.
 */
function refuseUnknown(task: Opaque<WireTask>): void {
  const unknown = task.$unknown?.[0];
  if (!unknown) return;
  const message = `task has field number ${unknown.no}, which this version does not know`;
  throw new DroverError("unsupported_field", message, { field: "task" });
}

/**
 * `field`: path of the Value field; the blob's is the same with `_blob`. An empty Value is none.
 */
export function toPayload(
  field: string,
  value: Uint8Array | undefined,
  blob: Opaque<Blob> | undefined,
): Payload | undefined {
  const given = value !== undefined && value.length > 0;
  if (blob) {
    if (given) refuse(`${field}_blob`, `either it or ${field}`, "both");
    if (blob.contentType === "") {
      refuse(`${field}_blob.content_type`, "a media type, e.g. application/json", "none");
    }
    return { contentType: blob.contentType, data: blob.data };
  }
  return given ? { contentType: "", data: value } : undefined;
}

/** Undefined parts are left to the queue's policy. */
export function toRetry(policy: Opaque<WireRetry>, field: string): Partial<RetryPolicy> {
  const { initialBackoff, maxBackoff, multiplier, jitter, nonRetryableCodes, delays } = policy;
  const backoff = toBackoff(policy.backoff, `${field}.backoff`);
  return {
    ...(initialBackoff && {
      initialBackoffMs: durationMs(initialBackoff, `${field}.initial_backoff`),
    }),
    ...(maxBackoff && { maxBackoffMs: durationMs(maxBackoff, `${field}.max_backoff`) }),
    ...(multiplier !== undefined && { multiplier }),
    ...(jitter !== undefined && { jitter }),
    ...(nonRetryableCodes.length > 0 && { nonRetryableCodes }),
    ...(backoff && { backoff }),
    ...(delays.length > 0 && {
      delaysMs: delays.map((delay, n) => durationMs(delay, `${field}.delays[${n}]`)),
    }),
  };
}

export const toWireRetry = (retry: Partial<RetryPolicy>): OpaqueInit<WireRetry> => ({
  initialBackoff: toDurationIf(retry.initialBackoffMs),
  maxBackoff: toDurationIf(retry.maxBackoffMs),
  multiplier: retry.multiplier,
  jitter: retry.jitter,
  nonRetryableCodes: [...(retry.nonRetryableCodes ?? [])],
  backoff: retry.backoff && toWireBackoff(retry.backoff),
  delays: retry.delaysMs?.map(toDuration),
});

interface WirePayload {
  readonly value: Uint8Array | undefined;
  readonly blob: OpaqueInit<Blob> | undefined;
}

/**
 * Bytes that are no readable Value (a damaged row) go out as bytes, so that they never fail the
 * page around them.
 */
export function toWirePayload(payload: Payload | undefined): WirePayload {
  if (!payload) return { value: undefined, blob: undefined };
  const { contentType, data } = payload;
  if (contentType !== "") return { value: undefined, blob: { contentType, data } };
  if (inspectValue(data) === "ok") return { value: data, blob: undefined };
  return { value: undefined, blob: { contentType: "application/octet-stream", data } };
}

export function toWireTask(task: TaskView): OpaqueInit<WireTask> {
  const payload = toWirePayload(task.payload);
  const result = toWirePayload(task.result);
  const wire = toWireAsked(task);
  // Not spread into a literal: so wide an object made that way costs 80 us.
  return Object.assign(wire, {
    payload: payload.value,
    payloadBlob: payload.blob,
    retryPolicy: toWireRetry(task.retry),
    requiredLabels: { ...task.requiredLabels },
    retention: toDuration(task.retentionMs),
    status: wireStatus[task.status],
    pendingReason: task.pendingReason && wireReasons[task.pendingReason],
    startedAt: toTimestampIf(task.startedAt),
    completedAt: toTimestampIf(task.completedAt),
    workerId: task.workerId,
    result: result.value,
    resultBlob: result.blob,
    error: toWireError(task.error),
    version: BigInt(task.version),
    run: task.run,
    leaseLosses: task.leaseLosses,
    cancelRequestedAt: toTimestampIf(task.cancelRequestedAt),
    progress: task.progress?.fraction,
    progressMessage: task.progress?.message,
    cancellation: toWireCancellation(task),
  });
}

/** What a handler needs to know; the payload is put in by the caller. */
export function toWireAsked(task: Task): OpaqueInit<WireTask> {
  const checkpoint = toWirePayload(task.checkpoint);
  const wire: OpaqueInit<WireTask> = {
    id: task.id,
    type: task.type,
    queue: task.queue,
    priority: task.priority,
    maxRetries: task.maxRetries,
    runAt: toTimestampIf(task.runAt),
    timeout: toDuration(task.timeoutMs),
    groupKey: task.groupKey,
    tags: [...task.tags],
    idempotencyKey: task.idempotencyKey,
    traceContext: { ...task.traceContext },
    retryCount: task.retryCount,
    attempt: task.attempt,
    createdAt: toTimestamp(task.createdAt),
    checkpoint: checkpoint.value,
    checkpointBlob: checkpoint.blob,
  };
  if (task.terms) addTerms(wire, task.terms);
  return wire;
}

export const toWireError = (error: TaskError | undefined): OpaqueInit<WireError> | undefined =>
  error && { code: error.code, message: error.message, stack: error.stack };

/** A refusal as one item of a reply carries it. */
export const toItemError = (error: DroverError): OpaqueInit<WireError> => ({
  code: error.id,
  message: error.message,
  field: error.field,
  hint: error.hint,
  retryAfter: error.retryAfterMs === undefined ? undefined : toDuration(error.retryAfterMs),
});

const submitStatuses = {
  submitted: SubmitStatus.SUBMITTED,
  existing: SubmitStatus.EXISTING,
  replaced: SubmitStatus.REPLACED,
  debounced: SubmitStatus.DEBOUNCED,
} as const;

export const toSubmitStatus = (kind: keyof typeof submitStatuses): SubmitStatus =>
  submitStatuses[kind];

export const toWireAttempt = (attempt: Attempt): OpaqueInit<WireAttempt> => ({
  attempt: attempt.attempt,
  run: attempt.run,
  fencingToken: BigInt(attempt.fencingToken),
  workerId: attempt.workerId,
  sessionId: attempt.sessionId,
  startedAt: toTimestamp(attempt.startedAt),
  endedAt: toTimestampIf(attempt.endedAt),
  outcome: attempt.outcome,
  error: toWireError(attempt.error),
});
