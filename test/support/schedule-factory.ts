import type { NewSchedule } from "../../src/history/history.js";
import type { TaskDraft } from "../../src/task/draft.js";
import { noTicks, type Schedule } from "../../src/task/schedule/schedule.js";

const template: TaskDraft = {
  type: "send_report",
  queue: undefined,
  priority: undefined,
  payload: { contentType: "application/json", data: Buffer.from('{"n":1}') },
  maxRetries: undefined,
  retry: undefined,
  runAt: undefined,
  delayMs: undefined,
  timeoutMs: undefined,
  groupKey: "",
  requiredLabels: {},
  tags: [],
  idempotencyKey: "",
  retentionMs: undefined,
  traceContext: {},
  terms: undefined,
};

/** What every tick's task is made of. */
export const templateOf = (change: Partial<TaskDraft> = {}): TaskDraft => ({
  ...template,
  ...change,
});

/** A schedule of each minute that nobody has made yet. */
export const newSchedule = (change: Partial<NewSchedule> = {}): NewSchedule => ({
  namespace: "default",
  name: "report",
  timing: { kind: "every", everyMs: 60_000, anchor: 0 },
  task: template,
  overlap: "skip",
  catchUpMs: 3_600_000,
  jitterMs: 0,
  cursor: 0,
  dueAt: undefined,
  waiting: [],
  counts: noTicks,
  lastTaken: undefined,
  lastError: undefined,
  paused: false,
  note: "",
  ...change,
});

export const scheduleOf = (change: Partial<Schedule> = {}): Schedule => ({
  ...newSchedule(),
  createdAt: 0,
  updatedAt: 0,
  version: 1,
  revision: 1,
  ...change,
});
