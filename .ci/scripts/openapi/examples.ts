/** Examples of what is sent, by the name of the schema. */
const task = {
  type: "send_email",
  priority: 2,
  payload: { recipient: "user@example.com", subject: "Hello World", body: "This is a test email" },
  max_retries: 3,
};

export const inputExamples: Readonly<Record<string, unknown>> = {
  TaskInput: task,
  SubmitTasksRequest: { tasks: [task, { type: "generate_report", delay: "15m" }] },
  CancelTaskRequest: { grace: "10s" },
  CancelTasksRequest: { filter: { type: "send_email", tag: "campaign-7" }, dry_run: true },
  RetryTaskRequest: {},
  QueueInput: { paused: true, retention: "30d" },
};
