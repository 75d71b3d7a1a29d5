/**
 * The one catalog of errors. Each says what was expected, what came, and how to mend it. Codes are
 * the gRPC status numbers, so that gRPC, Connect and REST derive theirs from one value.
 */
export const Code = Object.freeze({
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  aborted: 10,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  dataLoss: 15,
  unauthenticated: 16,
});
export type Code = (typeof Code)[keyof typeof Code];

/**
 * Stable identifiers: clients may act on them, so a name once published is never reused for
 * something else.
 */
export const catalog = Object.freeze({
  invalid_field: {
    code: Code.invalidArgument,
    hint: "Mend the field named and send the request again.",
  },
  output_only_field: { code: Code.invalidArgument, hint: "Leave this field out: Drover sets it." },
  unsupported_field: {
    code: Code.invalidArgument,
    hint: "This version cannot honour the field; leave it out.",
  },
  invalid_id: {
    code: Code.invalidArgument,
    hint: "A task id is a UUID such as the one SubmitTask returned.",
  },
  invalid_page_token: {
    code: Code.invalidArgument,
    hint: "Use next_page_token of the previous page, with the same filter.",
  },
  invalid_cursor: {
    code: Code.invalidArgument,
    hint: "Use the cursor of the last event of a watch of the same tasks, or none.",
  },
  malformed_message: {
    code: Code.invalidArgument,
    hint: "Send a message of the published contract (reflection shows it).",
  },
  payload_too_large: {
    code: Code.invalidArgument,
    hint: "Store large data elsewhere and send a reference to it.",
  },
  too_many_items: { code: Code.invalidArgument, hint: "Split the request." },
  message_too_large: {
    code: Code.resourceExhausted,
    hint: "Split the request, or send references instead of data.",
  },
  task_not_found: {
    code: Code.notFound,
    hint: "Check the id; finished tasks are kept for their retention only.",
  },
  queue_not_found: {
    code: Code.notFound,
    hint: "A queue exists from its first use: submit to it, or call UpdateQueue.",
  },
  schedule_not_found: {
    code: Code.notFound,
    hint: "Check the name; ListSchedules shows those there are.",
  },
  schedule_exists: {
    code: Code.alreadyExists,
    hint: "Change it with UpdateSchedule, or choose another name.",
  },
  stale_schedule: {
    code: Code.aborted,
    hint: "Read the schedule again and repeat the change.",
  },
  too_many_schedules: {
    code: Code.resourceExhausted,
    hint: "Delete schedules that are over, or use fewer with wider timings.",
  },
  batch_not_found: {
    code: Code.notFound,
    hint: "Check the id; a batch that is over is kept 7 days, and as long as its tasks.",
  },
  batch_not_open: {
    code: Code.failedPrecondition,
    hint: "Make another batch: nothing joins one that was closed or cancelled.",
  },
  batch_completed: {
    code: Code.failedPrecondition,
    hint: "All its tasks had ended before; read it with GetBatch.",
  },
  idempotency_conflict: {
    code: Code.alreadyExists,
    hint: "Use another idempotency_key, or the same task as before.",
  },
  unique_conflict: {
    code: Code.alreadyExists,
    hint: "Wait for the task that holds the key, or submit with on_conflict return_existing.",
  },
  submit_id_conflict: { code: Code.alreadyExists, hint: "Use a fresh request id for each task." },
  task_already_final: {
    code: Code.failedPrecondition,
    hint: "The task ended before; read it with GetTask.",
  },
  task_not_retryable: {
    code: Code.failedPrecondition,
    hint: "Only failed, cancelled, expired or retrying tasks can be retried.",
  },
  queue_not_drained: {
    code: Code.failedPrecondition,
    hint: "Pause submitters and let the queue run empty, then change it.",
  },
  stale_queue: { code: Code.aborted, hint: "Read the queue again and repeat the change." },
  outbox_full: {
    code: Code.resourceExhausted,
    hint: "History is behind; wait for Postgres to come back, then retry.",
  },
  overloaded: { code: Code.resourceExhausted, hint: "Retry after the time given." },
  too_many_unqueued: {
    code: Code.resourceExhausted,
    hint: "Redis is down; retry once it is back.",
  },
  too_many_lanes: {
    code: Code.resourceExhausted,
    hint: "Use fewer distinct types and required_labels in one queue.",
  },
  history_unavailable: {
    code: Code.unavailable,
    hint: "The outcome is unknown; retry with the same idempotency_key.",
  },
  broker_unavailable: {
    code: Code.unavailable,
    hint: "The outcome is unknown; retry with the same idempotency_key.",
  },
  shutting_down: { code: Code.unavailable, hint: "Retry on another coordinator." },
  wait_too_long: { code: Code.deadlineExceeded, hint: "Call WaitTask again." },
  session_superseded: {
    code: Code.aborted,
    hint: "A newer stream of this session exists; use that one.",
  },
  slow_consumer: {
    code: Code.resourceExhausted,
    hint: "Read the stream faster, or offer fewer slots; a watch goes on from its last cursor.",
  },
  unimplemented: { code: Code.unimplemented, hint: "This call is not built yet." },
  config_invalid: { code: Code.invalidArgument, hint: "Mend the setting named and start again." },
  embedded_postgres_missing: {
    code: Code.failedPrecondition,
    hint: "Start with --memory, or set DATABASE_URL to a Postgres of your own.",
  },
  embedded_postgres_failed: {
    code: Code.failedPrecondition,
    hint: "Start with --memory, or set DATABASE_URL to a Postgres of your own.",
  },
  partition_mismatch: {
    code: Code.failedPrecondition,
    hint: "All coordinators of a database share one partition count; drain and rebuild change it.",
  },
  migration_failed: {
    code: Code.failedPrecondition,
    hint: "See the cause; the schema was left as it was.",
  },
  internal: {
    code: Code.internal,
    hint: "This is a defect in Drover; please report it with the log entry.",
  },
} as const satisfies Record<string, { code: Code; hint: string }>);
export type ErrorId = keyof typeof catalog;

export interface ErrorDetails {
  /**
   * Path of the offending field in the contract's own names, e.g. `task.retry_policy.multiplier`.
   */
  field?: string;
  /** Overrides the catalog's hint. */
  hint?: string;
  /** When to try again, in milliseconds; set with every overload refusal. */
  retryAfterMs?: number;
  /** What the task is instead, e.g. `completed`: set where that is why the call was refused. */
  status?: string;
  cause?: unknown;
}

export class DroverError extends Error {
  readonly id: ErrorId;
  readonly code: Code;
  readonly field: string | undefined;
  readonly hint: string;
  readonly retryAfterMs: number | undefined;
  readonly status: string | undefined;

  constructor(id: ErrorId, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "DroverError";
    this.id = id;
    this.code = catalog[id].code;
    this.field = details.field;
    this.hint = details.hint ?? catalog[id].hint;
    this.retryAfterMs = details.retryAfterMs;
    this.status = details.status;
  }

  /**
   * Anything thrown as a DroverError: what is not one is a defect, and keeps its cause for the log
   * only.
   */
  static from(thrown: unknown): DroverError {
    if (thrown instanceof DroverError) return thrown;
    return new DroverError("internal", "internal error", { cause: thrown });
  }
}
