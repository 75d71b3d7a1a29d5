import type {
  Attempt,
  AttemptOutcome,
  Durability,
  Payload,
  Priority,
  Progress,
  QueueSettings,
  RetryPolicy,
  Status,
  Task,
  TaskError,
  TypeSettings,
} from "../../task/task.js";
import { defaultQueueSettings } from "../../task/validate.js";
import { asRead } from "../rules.js";
import { restored } from "./literals.js";
import { checkpointOf, type ExtraColumn, saidIn, type SpecColumn } from "./spec-column.js";

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

/** Never throws: a column that cannot be decoded is shown as if it had not been given (H6). */
export function taskOf(row: TaskRow): Task {
  const said = saidIn(objectOf<SpecColumn>(row.spec) ?? {});
  // Not spread into a literal: so wide an object made that way costs 90 us.
  const task: Task = Object.assign({ id: row.id }, askedOf(row), said, stateOf(row));
  return asRead(task, row.now);
}

function askedOf(row: TaskRow) {
  return {
    namespace: shown(row.namespace),
    queue: shown(row.queue),
    type: shown(row.type),
    priority: row.priority as Priority,
    payload: payloadOf(row.payload_type, row.payload),
    idempotencyKey: shown(row.idempotency_key ?? ""),
    retentionMs: row.retention_ms,
    createdAt: row.created_at,
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
    checkpoint: checkpointOf(extra),
  };
}

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

export interface QueueRow {
  namespace: string;
  name: string;
  version: number;
  paused: boolean;
  durability: string;
  max_retries: number | null;
  retention_ms: number | null;
  retry: RetryPolicy | null;
  types: Readonly<Record<string, TypeSettings>> | null;
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
    types: row.types ?? defaults.types,
  };
}
