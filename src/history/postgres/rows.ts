import { slotOfId } from "../../task/ids.js";
import type { Attempt, AttemptOutcome, Payload, Priority, QueueSettings } from "../../task/task.js";
import type {
  Cancellation,
  Durability,
  Progress,
  RetryPolicy,
  Status,
  Task,
  TaskError,
  TaskTerms,
} from "../../task/task.js";
import { defaultQueueSettings } from "../../task/validate.js";
import { asRead } from "../rules.js";
import {
  bigint,
  int,
  optionalBigint,
  packBytes,
  plainArray,
  restored,
  storable,
  textArray,
} from "./literals.js";

/** What `{task}` selects; big integers come as numbers. */
export interface TaskRow {
  id: string;
  version: number;
  fencing_token: number;
  created_at: number;
  ready_at: number | null;
  started_at: number | null;
  completed_at: number | null;
  cancel_requested_at: number | null;
  retention_ms: number;
  run: number;
  attempt: number;
  retry_count: number;
  lease_losses: number;
  releases: number;
  priority: number;
  status: string;
  namespace: string;
  queue: string;
  type: string;
  session_id: string;
  worker_id: string;
  idempotency_key: string | null;
  spec: string;
  error: string | null;
  progress: string | null;
  payload_type: string | null;
  payload: Buffer | null;
  result_type: string | null;
  result: Buffer | null;
  extra: string | null;
  now: number;
}

/**
 * Asked for, and never filtered by. Tags stand here as they came; their column is for the index.
 */
interface SpecColumn {
  maxRetries: number;
  retry: RetryPolicy;
  runAt?: number | undefined;
  timeoutMs: number;
  groupKey: string;
  requiredLabels: Readonly<Record<string, string>>;
  tags: readonly string[];
  traceContext: Readonly<Record<string, string>>;
  durability: Durability;
  terms?: TaskTerms | undefined;
}

/** Bytes in base64: few tasks have any. */
interface ExtraColumn {
  cancellation?: Cancellation | undefined;
  checkpoint?: { contentType: string; data: string } | undefined;
}

const bare = defaultQueueSettings("", "");

/** Never throws: a column that cannot be decoded is shown as if it had not been given (H6). */
export function taskOf(row: TaskRow): Task {
  // Not spread into a literal: so wide an object made that way costs 90 us.
  const task: Task = Object.assign({ id: row.id }, specOf(row), stateOf(row));
  return asRead(task, row.now);
}

function specOf(row: TaskRow): Omit<Task, keyof ReturnType<typeof stateOf> | "id"> {
  const spec: Partial<SpecColumn> = objectOf<SpecColumn>(row.spec) ?? {};
  return {
    namespace: shown(row.namespace),
    queue: shown(row.queue),
    type: shown(row.type),
    priority: row.priority as Priority,
    payload: payloadOf(row.payload_type, row.payload),
    maxRetries: spec.maxRetries ?? bare.maxRetries,
    retry: { ...bare.retry, ...objectOr(spec.retry) },
    runAt: spec.runAt,
    timeoutMs: spec.timeoutMs ?? 0,
    groupKey: spec.groupKey ?? "",
    requiredLabels: objectOr(spec.requiredLabels),
    tags: Array.isArray(spec.tags) ? spec.tags : [],
    idempotencyKey: shown(row.idempotency_key ?? ""),
    retentionMs: row.retention_ms,
    traceContext: objectOr(spec.traceContext),
    durability: spec.durability ?? "durable",
    createdAt: row.created_at,
    terms: spec.terms,
  };
}

function stateOf(row: TaskRow) {
  const extra = objectOf<ExtraColumn>(row.extra);
  return {
    status: row.status as Status,
    version: row.version,
    run: row.run,
    attempt: row.attempt,
    retryCount: row.retry_count,
    leaseLosses: row.lease_losses,
    releases: row.releases,
    fencingToken: row.fencing_token,
    sessionId: shown(row.session_id),
    workerId: shown(row.worker_id),
    readyAt: row.ready_at ?? undefined,
    startedAt: row.started_at ?? undefined,
    completedAt: row.completed_at ?? undefined,
    cancelRequestedAt: row.cancel_requested_at ?? undefined,
    result: payloadOf(row.result_type, row.result),
    error: objectOf<TaskError>(row.error),
    progress: objectOf<Progress>(row.progress),
    cancellation: extra?.cancellation,
    checkpoint: extra?.checkpoint && {
      contentType: extra.checkpoint.contentType,
      data: Buffer.from(extra.checkpoint.data, "base64"),
    },
  };
}

const objectOr = <T extends object>(value: T | undefined): T =>
  (typeof value === "object" && value !== null && !Array.isArray(value) ? value : {}) as T;

const payloadOf = (contentType: string | null, data: Buffer | null): Payload | undefined =>
  data ? { contentType: shown(contentType ?? ""), data } : undefined;

function shown(text: string): string {
  try {
    return restored(text);
  } catch {
    return text;
  }
}

function objectOf<T>(text: string | null): T | undefined {
  if (text === null) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as T) : undefined;
  } catch {
    return undefined;
  }
}

const json = (value: object | undefined): string | undefined => value && JSON.stringify(value);

/** Parameters of `insert_tasks.sql`. */
export function insertParameters(tasks: readonly Task[], marker: string | undefined): unknown[] {
  const bytes = packBytes([]);
  const payloads = { at: [], length: [] };
  const results = { at: [], length: [] };
  for (const task of tasks) {
    bytes.add(payloads, task.payload?.data);
    bytes.add(results, task.result?.data);
  }
  const { plain, text } = columns(tasks);
  return [
    plain((task) => task.id),
    plain((task) => bigint(task.version)),
    plain((task) => bigint(task.fencingToken)),
    plain((task) => bigint(task.createdAt)),
    plain((task) => optionalBigint(task.readyAt)),
    plain((task) => optionalBigint(task.startedAt)),
    plain((task) => optionalBigint(task.completedAt)),
    plain((task) => optionalBigint(task.cancelRequestedAt)),
    plain((task) => bigint(task.retentionMs)),
    plain((task) => int(task.run)),
    plain((task) => int(task.attempt)),
    plain((task) => int(task.retryCount)),
    plain((task) => int(task.leaseLosses)),
    plain((task) => int(task.releases)),
    plain((task) => slotOfId(task.id)),
    plain((task) => int(task.priority)),
    plain((task) => task.status),
    text((task) => storable(task.namespace)),
    text((task) => storable(task.queue)),
    text((task) => storable(task.type)),
    text((task) => storable(task.sessionId)),
    text((task) => storable(task.workerId)),
    text((task) => (task.idempotencyKey ? storable(task.idempotencyKey) : undefined)),
    text(tagColumn),
    text(specColumn),
    text((task) => json(task.error)),
    text((task) => json(task.progress)),
    text((task) => task.payload && storable(task.payload.contentType)),
    plainArray(payloads.at),
    plainArray(payloads.length),
    text((task) => task.result && storable(task.result.contentType)),
    plainArray(results.at),
    bytes.all(),
    marker ?? null,
    plainArray(results.length),
    plain((task) => task.terms?.batchId),
    text((task) => task.terms?.schedule && storable(task.terms.schedule)),
    text(extraColumn),
  ];
}

/** Parameters of `update_tasks.sql`. */
export function updateParameters(tasks: readonly Task[]): unknown[] {
  const bytes = packBytes([]);
  const results = { at: [], length: [] };
  for (const task of tasks) bytes.add(results, task.result?.data);
  const { plain, text } = columns(tasks);
  return [
    plain((task) => task.id),
    plain((task) => bigint(task.version)),
    plain((task) => bigint(task.fencingToken)),
    plain((task) => optionalBigint(task.readyAt)),
    plain((task) => optionalBigint(task.startedAt)),
    plain((task) => optionalBigint(task.completedAt)),
    plain((task) => optionalBigint(task.cancelRequestedAt)),
    plain((task) => int(task.run)),
    plain((task) => int(task.attempt)),
    plain((task) => int(task.retryCount)),
    plain((task) => int(task.leaseLosses)),
    plain((task) => int(task.releases)),
    plain((task) => int(task.priority)),
    plain((task) => task.status),
    text((task) => storable(task.sessionId)),
    text((task) => storable(task.workerId)),
    text((task) => json(task.error)),
    text((task) => json(task.progress)),
    bytes.all(),
    text((task) => task.result && storable(task.result.contentType)),
    plainArray(results.at),
    plainArray(results.length),
    text(extraColumn),
  ];
}

function columns<T>(items: readonly T[]) {
  return {
    plain: (column: (item: T) => number | string | undefined) => plainArray(items.map(column)),
    text: (column: (item: T) => string | undefined) => textArray(items.map(column)),
  };
}

const tagColumn = (task: Task): string | undefined =>
  task.tags.length > 0 ? textArray(task.tags.map(storable)) : undefined;

function specColumn(task: Task): string {
  const spec: SpecColumn = {
    maxRetries: task.maxRetries,
    retry: task.retry,
    runAt: task.runAt,
    timeoutMs: task.timeoutMs,
    groupKey: task.groupKey,
    requiredLabels: task.requiredLabels,
    tags: task.tags,
    traceContext: task.traceContext,
    durability: task.durability,
    terms: task.terms,
  };
  return JSON.stringify(spec);
}

function extraColumn({ cancellation, checkpoint }: Task): string | undefined {
  if (!cancellation && !checkpoint) return undefined;
  const extra: ExtraColumn = {
    cancellation,
    checkpoint: checkpoint && {
      contentType: checkpoint.contentType,
      data: Buffer.from(checkpoint.data).toString("base64"),
    },
  };
  return JSON.stringify(extra);
}

export interface AttemptRow {
  task_id: string;
  fencing_token: number;
  started_at: number;
  ended_at: number | null;
  attempt: number;
  run: number;
  outcome: string | null;
  session_id: string;
  worker_id: string;
  error: string | null;
}

export const attemptOf = (row: AttemptRow): Attempt => ({
  taskId: row.task_id,
  fencingToken: row.fencing_token,
  attempt: row.attempt,
  run: row.run,
  sessionId: shown(row.session_id),
  workerId: shown(row.worker_id),
  startedAt: row.started_at,
  endedAt: row.ended_at ?? undefined,
  outcome: (row.outcome ?? undefined) as AttemptOutcome | undefined,
  error: objectOf<TaskError>(row.error),
});

/** Parameters of `upsert_attempts.sql`; one row per (task, fencing token). */
export function attemptParameters(attempts: readonly Attempt[]): unknown[] {
  const { plain, text } = columns(attempts);
  return [
    plain((attempt) => attempt.taskId),
    plain((attempt) => bigint(attempt.fencingToken)),
    plain((attempt) => bigint(attempt.startedAt)),
    plain((attempt) => optionalBigint(attempt.endedAt)),
    plain((attempt) => int(attempt.attempt)),
    plain((attempt) => int(attempt.run)),
    plain((attempt) => attempt.outcome),
    text((attempt) => storable(attempt.sessionId)),
    text((attempt) => storable(attempt.workerId)),
    text((attempt) => json(attempt.error)),
  ];
}

export interface QueueRow {
  namespace: string;
  name: string;
  version: number;
  paused: boolean;
  durability: string;
  max_retries: number | null;
  retention_ms: number | null;
  retry: RetryPolicy | null;
}

export function queueOf(row: QueueRow): QueueSettings {
  const defaults = defaultQueueSettings(shown(row.namespace), shown(row.name));
  if (row.version === 0) return defaults;
  return {
    ...defaults,
    version: row.version,
    paused: row.paused,
    durability: row.durability as Durability,
    maxRetries: row.max_retries ?? defaults.maxRetries,
    retentionMs: row.retention_ms ?? defaults.retentionMs,
    retry: { ...defaults.retry, ...row.retry },
  };
}
