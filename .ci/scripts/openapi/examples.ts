/** Examples of what is sent, by the name of the schema. */
const task = {
  type: "send_email",
  priority: 2,
  payload: { recipient: "user@example.com", subject: "Hello World", body: "This is a test email" },
  max_retries: 3,
};

const schedule = {
  name: "nightly-report",
  cron: "30 2 * * *",
  time_zone: "Europe/Berlin",
  task: { type: "generate_report", payload: { kind: "daily" } },
};

const batch = {
  description: "October invoices",
  on_complete: { type: "send_report", payload: { to: "ops@example.com" } },
  on_failure: { type: "page_somebody" },
  failure_threshold: 10,
};

export const inputExamples: Readonly<Record<string, unknown>> = {
  TaskInput: task,
  SubmitTasksRequest: { tasks: [task, { type: "generate_report", delay: "15m" }] },
  CancelTaskRequest: { grace: "10s" },
  CancelTasksRequest: { filter: { type: "send_email", tag: "campaign-7" }, dry_run: true },
  RetryTaskRequest: {},
  ScheduleInput: schedule,
  TaskTemplateInput: schedule.task,
  BatchInput: batch,
  CloseBatchRequest: {},
  CancelBatchRequest: { reason: "wrong prices", grace: "10s" },
  PauseScheduleRequest: { note: "maintenance until Friday" },
  ResumeScheduleRequest: {},
  TriggerScheduleRequest: {},
  BackfillScheduleRequest: { start: "2025-01-01T00:00:00Z", end: "2025-01-02T00:00:00Z" },
  PreviewScheduleRequest: { schedule, count: 3 },
  RetryTasksRequest: { filter: { type: "send_email", error_code: "smtp_down" }, dry_run: true },
  PurgeTasksRequest: { filter: { status: ["failed"], created_before: "2026-01-31T08:00:00Z" } },
  QueueInput: { paused: true, retention: "30d" },
};
