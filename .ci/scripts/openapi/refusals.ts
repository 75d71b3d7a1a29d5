/**
 * Which errors of the catalog a call may end with. Descriptors do not say it; test/api/openapi
 * finds what is missing here.
 */
import { catalog, DroverError, type ErrorId } from "../../../src/errors.js";
import { httpStatus } from "../../../src/api/rest/errors.js";
import type { Schema } from "./rules.js";

const always: readonly ErrorId[] = [
  "invalid_field",
  "malformed_message",
  "message_too_large",
  "overloaded",
  "history_unavailable",
  "broker_unavailable",
  "shutting_down",
  "internal",
];

const submitting: readonly ErrorId[] = [
  "unsupported_field",
  "output_only_field",
  "payload_too_large",
  "idempotency_conflict",
  "submit_id_conflict",
  "unique_conflict",
  "outbox_full",
  "too_many_unqueued",
  "too_many_lanes",
  "batch_not_found",
  "batch_not_open",
];

const scheduling: readonly ErrorId[] = [
  "unsupported_field",
  "output_only_field",
  "payload_too_large",
];

const byMethod: Readonly<Record<string, readonly ErrorId[]>> = {
  SubmitTask: submitting,
  SubmitTasks: ["too_many_items"],
  GetTask: ["invalid_id", "task_not_found"],
  ListTasks: ["invalid_page_token"],
  CancelTask: ["invalid_id", "task_not_found", "task_already_final"],
  CancelTasks: ["invalid_page_token"],
  RetryTask: [...submitting, "invalid_id", "task_not_found", "task_not_retryable"],
  RetryTasks: ["invalid_page_token"],
  PurgeTasks: ["invalid_page_token"],
  WaitTask: ["invalid_id", "task_not_found"],
  ListAttempts: ["invalid_id", "task_not_found"],
  ListLogs: ["invalid_id", "task_not_found", "invalid_page_token"],
  WatchTasks: ["invalid_id", "task_not_found", "invalid_cursor", "too_many_items"],
  GetStats: [],
  GetQueue: ["queue_not_found"],
  ListQueues: ["invalid_page_token"],
  UpdateQueue: ["output_only_field", "too_many_items", "queue_not_drained", "stale_queue"],
  ListWorkers: ["invalid_page_token"],
  CreateSchedule: [...scheduling, "schedule_exists", "too_many_schedules"],
  GetSchedule: ["schedule_not_found"],
  ListSchedules: ["invalid_page_token"],
  UpdateSchedule: [...scheduling, "schedule_not_found", "stale_schedule"],
  DeleteSchedule: ["schedule_not_found", "stale_schedule"],
  PauseSchedule: ["schedule_not_found", "stale_schedule"],
  ResumeSchedule: ["schedule_not_found", "stale_schedule"],
  TriggerSchedule: ["schedule_not_found", "stale_schedule", "unsupported_field"],
  BackfillSchedule: ["schedule_not_found", "stale_schedule", "unsupported_field"],
  PreviewSchedule: [...scheduling, "schedule_not_found"],
  CreateBatch: [...scheduling, "submit_id_conflict"],
  GetBatch: ["invalid_id", "batch_not_found"],
  ListBatches: ["invalid_page_token"],
  CloseBatch: ["invalid_id", "batch_not_found"],
  CancelBatch: ["invalid_id", "batch_not_found", "batch_completed"],
  WaitBatch: ["invalid_id", "batch_not_found"],
};

/** Responses by HTTP status; each says which codes it carries and how to mend them. */
export function refusalsOf(method: string): Record<string, Schema> {
  const own = byMethod[method];
  if (!own) throw new Error(`say in ${import.meta.filename} how ${method} may end`);
  const byStatus = new Map<number, ErrorId[]>();
  for (const id of [...own, ...always]) {
    const status = httpStatus(new DroverError(id, ""));
    byStatus.set(status, [...(byStatus.get(status) ?? []), id]);
  }
  const statuses = [...byStatus.keys()].toSorted((a, b) => a - b);
  return Object.fromEntries(
    statuses.map((status) => [String(status), refusal(status, byStatus.get(status)!)] as const),
  );
}

const retried = new Set([429, 503]);

function refusal(status: number, ids: readonly ErrorId[]): Schema {
  const lines = ids.map((id) => `- \`${id}\`: ${catalog[id].hint}`);
  return {
    description: ["One of these codes:", "", ...lines].join("\n"),
    ...(retried.has(status) && { headers: { "Retry-After": retryAfter } }),
    content: { "application/json": { schema: { $ref: "#/components/schemas/ErrorReply" } } },
  };
}

const retryAfter: Schema = {
  description: "Seconds to wait, where the coordinator knows.",
  schema: { type: "integer" },
};

/** The one error shape of the HTTP door. */
export const errorReply: Schema = {
  type: "object",
  description: "Every refusal of the HTTP door.",
  properties: {
    error: {
      type: "object",
      properties: {
        code: {
          type: "string",
          description: "Stable word for programs.",
          examples: ["invalid_id"],
        },
        message: { type: "string", description: "For people: what was expected, what came." },
        field: { type: "string", description: "Path of the offending field, if one is to blame." },
        hint: { type: "string", description: "How to mend it." },
        status: {
          description: "What the task is instead, where that is why the call was refused.",
          $ref: "#/components/schemas/TaskStatus",
        },
      },
      required: ["code", "message"],
      additionalProperties: false,
    },
  },
  required: ["error"],
  additionalProperties: false,
};
