import { create, toBinary } from "@bufbuild/protobuf";
import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";
import {
  type Attempt as WireAttempt,
  Backoff as WireBackoff,
  type Blob,
  type Cancellation as WireCancellation,
  type Error as WireError,
  PendingReason as WirePendingReason,
  type RetryPolicy as WireRetryPolicy,
  RetryPolicySchema,
  type Stats as WireStats,
  type StatusChange as WireStatusChange,
  type Task as GeneratedTask,
  TaskSchema,
  UniqueConflict as WireConflict,
  type UniquePolicy as WireUnique,
  UniquePolicySchema,
  UniqueScope as WireScope,
  TaskStatus as WireStatus,
} from "../../gen/drover/v1/task_pb.js";
import { limits } from "../limits.js";
import { fromWireCallback } from "../transport/batch.js";
import { decodeContent, encodeContent } from "../transport/content.js";
import type { WireTask } from "../transport/opaque.js";
import { durationMs, timestampDate, toDuration, toTimestamp } from "../transport/times.js";
import { invalid } from "./errors.js";
import {
  type Attempt,
  type AttemptOutcome,
  type Backoff,
  type Cancellation,
  type PendingReason,
  type Priority,
  type RetryPolicy,
  type Stats,
  type StatusChange,
  type Task,
  type TaskError,
  type TaskOptions,
  taskStatuses,
  type TaskStatus,
  type UniquePolicy,
} from "./task.js";

/** The words of an enum of the contract, in lower case as REST writes them. */
const word = (names: Record<number, string>, value: number): string =>
  (names[value] ?? "unspecified").toLowerCase();

const dateIf = (timestamp: Timestamp | undefined): Date | undefined =>
  timestamp && timestampDate(timestamp);
const msIf = (duration: Duration | undefined): number | undefined =>
  duration && durationMs(duration);
const durationIf = (ms: number | undefined): Duration | undefined =>
  ms === undefined ? undefined : toDuration(ms);

/** The generated type allows no undefined where a field is not there. */
export function present<T extends object>(fields: T): { [K in keyof T]: NonNullable<T[K]> } {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]: NonNullable<T[K]> };
}

/** As `encodeTask`, of any task. */
export function encodeAnyTask(type: string, payload: unknown, options: TaskOptions): Uint8Array {
  const task = create(
    TaskSchema,
    present({
      type,
      payloadBlob: encodePayload(payload),
      queue: options.queue,
      priority: options.priority,
      maxRetries: options.maxRetries,
      retryPolicy: options.retryPolicy && toWireRetryPolicy(options.retryPolicy),
      runAt: options.runAt && toTimestamp(options.runAt),
      delay: durationIf(options.delayMs),
      timeout: durationIf(options.attemptTimeoutMs),
      heartbeatTimeout: durationIf(options.heartbeatTimeoutMs),
      expireAt: options.expireAt && toTimestamp(options.expireAt),
      deadline: options.deadline && toTimestamp(options.deadline),
      groupKey: options.groupKey,
      requiredLabels: options.requiredLabels && { ...options.requiredLabels },
      tags: options.tags && [...options.tags],
      idempotencyKey: options.idempotencyKey,
      uniqueKey: options.uniqueKey,
      unique: options.unique && toWireUnique(options.unique),
      batchId: options.batchId,
      retention: durationIf(options.retentionMs),
      traceContext: options.traceContext && { ...options.traceContext },
    }),
  );
  return toBinary(TaskSchema, task);
}

export function encodePayload(payload: unknown): Blob | undefined {
  let blob;
  try {
    blob = encodeContent(payload);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const message = `the payload cannot be written as JSON: ${why}`;
    throw invalid("invalid_field", "task.payload", message, "Give plain JSON, or Content.");
  }
  if (!blob && payload !== undefined) {
    const message = `the payload cannot be written as JSON: a ${typeof payload} has none`;
    throw invalid("invalid_field", "task.payload", message, "Give plain JSON, or Content.");
  }
  const bytes = blob?.data.length ?? 0;
  if (bytes <= limits.payloadBytes) return blob;
  throw invalid(
    "payload_too_large",
    "task.payload",
    `the payload has ${bytes} bytes, at most ${limits.payloadBytes} are taken`,
    "Store large data elsewhere and send a reference to it.",
  );
}

const wireBackoffs: Readonly<Record<Backoff, WireBackoff>> = {
  exponential: WireBackoff.EXPONENTIAL,
  linear: WireBackoff.LINEAR,
  fixed: WireBackoff.FIXED,
};

export function toWireRetryPolicy(policy: RetryPolicy): WireRetryPolicy {
  return create(
    RetryPolicySchema,
    present({
      initialBackoff: durationIf(policy.initialBackoffMs),
      maxBackoff: durationIf(policy.maxBackoffMs),
      multiplier: policy.multiplier,
      jitter: policy.jitter,
      nonRetryableCodes: policy.nonRetryableCodes && [...policy.nonRetryableCodes],
      backoff: policy.backoff && wireBackoffs[policy.backoff],
      delays: policy.delaysMs?.map(toDuration),
    }),
  );
}

export function fromWireRetryPolicy(policy: WireRetryPolicy): RetryPolicy {
  return present({
    initialBackoffMs: msIf(policy.initialBackoff),
    maxBackoffMs: msIf(policy.maxBackoff),
    multiplier: policy.multiplier,
    jitter: policy.jitter,
    nonRetryableCodes: policy.nonRetryableCodes,
    backoff: policy.backoff ? (word(WireBackoff, policy.backoff) as Backoff) : undefined,
    delaysMs: policy.delays.length > 0 ? policy.delays.map(durationMs) : undefined,
  });
}

/** A task as read. Its message type is the generated one, its bytes were decoded as WireTask. */
export function fromWireTask<Payload, Result>(
  generated: GeneratedTask | undefined,
): Task<Payload, Result> {
  const task = (generated ?? create(TaskSchema)) as unknown as WireTask;
  return {
    id: task.id,
    type: task.type,
    queue: task.queue || "default",
    status: word(WireStatus, task.status) as TaskStatus,
    pendingReason: task.pendingReason
      ? (word(WirePendingReason, task.pendingReason) as PendingReason)
      : undefined,
    priority: (task.priority ?? 1) as Priority,
    payload: readable(task.payload, task.payloadBlob) as Payload,
    result: readable(task.result, task.resultBlob) as Result | undefined,
    error: fromWireError(task.error),
    maxRetries: task.maxRetries ?? limits.maxRetries,
    retryPolicy: task.retryPolicy && fromWireRetryPolicy(task.retryPolicy),
    retryCount: task.retryCount,
    attempt: task.attempt,
    run: task.run,
    leaseLosses: task.leaseLosses,
    createdAt: dateIf(task.createdAt),
    runAt: dateIf(task.runAt),
    startedAt: dateIf(task.startedAt),
    completedAt: dateIf(task.completedAt),
    cancelRequestedAt: dateIf(task.cancelRequestedAt),
    cancellation: fromWireCancellation(task.cancellation),
    workerId: task.workerId || undefined,
    progress: task.progress,
    progressMessage: task.progressMessage || undefined,
    attemptTimeoutMs: msIf(task.timeout),
    heartbeatTimeoutMs: msIf(task.heartbeatTimeout),
    expireAt: dateIf(task.expireAt),
    deadline: dateIf(task.deadline),
    retentionMs: msIf(task.retention),
    groupKey: task.groupKey || undefined,
    idempotencyKey: task.idempotencyKey || undefined,
    uniqueKey: task.uniqueKey || undefined,
    unique: task.unique && fromWireUnique(task.unique),
    requiredLabels: task.requiredLabels,
    tags: task.tags,
    traceContext: task.traceContext,
    redrivenFrom: task.redrivenFrom || undefined,
    batchId: task.batchId || undefined,
    batchCallback: fromWireCallback(task.batchCallback),
    version: Number(task.version),
  };
}

/** What cannot be decoded is shown as the bytes it is: it must not spoil the page it stands on. */
function readable(value: Uint8Array, blob: Blob | undefined): unknown {
  try {
    return decodeContent(value, blob);
  } catch {
    if (blob) return { contentType: blob.contentType, data: blob.data };
    return { contentType: "application/x-protobuf", data: value };
  }
}

function fromWireError(error: WireError | undefined): TaskError | undefined {
  return error && { code: error.code, message: error.message, stack: error.stack || undefined };
}

function toWireUnique({ scope, windowMs, onConflict }: UniquePolicy): WireUnique {
  return create(
    UniquePolicySchema,
    present({
      scope: scope && WireScope[scope.toUpperCase() as keyof typeof WireScope],
      window: durationIf(windowMs),
      onConflict: onConflict && WireConflict[onConflict.toUpperCase() as keyof typeof WireConflict],
    }),
  );
}

const fromWireUnique = ({ scope, window, onConflict }: WireUnique): UniquePolicy =>
  present({
    scope: word(WireScope, scope) as UniquePolicy["scope"],
    windowMs: msIf(window),
    onConflict: word(WireConflict, onConflict) as UniquePolicy["onConflict"],
  });

function fromWireCancellation(proof: WireCancellation | undefined): Cancellation | undefined {
  return (
    proof && {
      requestedAt: dateIf(proof.requestedAt),
      reason: proof.reason,
      deliveredAt: dateIf(proof.deliveredAt),
      acknowledgedAt: dateIf(proof.acknowledgedAt),
      forcedAt: dateIf(proof.forcedAt),
    }
  );
}

export const fromWireStatusChange = (change: WireStatusChange): StatusChange => ({
  status: word(WireStatus, change.status) as TaskStatus,
  final: change.final,
  attempt: change.attempt,
  run: change.run,
  time: dateIf(change.time),
  workerId: change.workerId || undefined,
  error: fromWireError(change.error),
  cancelRequested: change.cancelRequested,
});

export function fromWireAttempt(attempt: WireAttempt): Attempt {
  return {
    attempt: attempt.attempt,
    run: attempt.run,
    fencingToken: Number(attempt.fencingToken),
    workerId: attempt.workerId,
    sessionId: attempt.sessionId,
    startedAt: dateIf(attempt.startedAt),
    endedAt: dateIf(attempt.endedAt),
    outcome: (attempt.outcome || "running") as AttemptOutcome,
    error: fromWireError(attempt.error),
  };
}

export function fromWireStats(stats: WireStats | undefined): Stats {
  const count = (name: keyof Stats): number => Number(stats?.[name] ?? 0n);
  return {
    pending: count("pending"),
    processing: count("processing"),
    completed: count("completed"),
    failed: count("failed"),
    scheduled: count("scheduled"),
    retrying: count("retrying"),
    blocked: count("blocked"),
    cancelled: count("cancelled"),
    expired: count("expired"),
    workers: count("workers"),
  };
}

export function toWireStatus(status: TaskStatus): WireStatus {
  if (taskStatuses.includes(status)) {
    return WireStatus[status.toUpperCase() as keyof typeof WireStatus];
  }
  throw new TypeError(
    `status: expected one of ${taskStatuses.join(", ")}, got ${JSON.stringify(status)}`,
  );
}
