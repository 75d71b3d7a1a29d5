/** The client SDK: everything a producer, and a tool that steers tasks, needs. */
export { createClient } from "./client.js";
export type {
  Client,
  ClientOptions,
  ListOptions,
  LogOptions,
  NewTask,
  Receipt,
  RetryOptions,
  SubmitOptions,
  SubmitOutcome,
  SubmitStatus,
  TaskPage,
  TaskRef,
  WaitOptions,
} from "./surface.js";
export type { Batch, Batches, BatchHandle, BatchStatus, NewBatch } from "./batch.js";
export type {
  BulkOptions,
  BulkOutcome,
  CancelManyOptions,
  CancelManyOutcome,
  CancelOptions,
} from "./bulk.js";
export type { CallOptions } from "./calls.js";
export type { TaskFilter } from "./filter.js";
export { DroverClientError } from "./errors.js";
export type { Page, PageOptions } from "./pages.js";
export type {
  Durability,
  Queue,
  Queues,
  QueueSettings,
  TypeSettings,
  WorkerInfo,
  Workers,
} from "./queues.js";
export type { WatchOptions } from "./watch.js";
export type {
  Backfill,
  BackfillOptions,
  NewSchedule,
  OverlapPolicy,
  PreviewedTick,
  PreviewOptions,
  Schedule,
  Schedules,
  ScheduleTask,
  ScheduleUpdate,
  TaskTemplate,
  Tick,
  TriggerReceipt,
} from "./schedule.js";
export type { SubmitPlan } from "./submitter.js";
export { isFinal, priorities, taskStatuses } from "./task.js";
export type {
  Attempt,
  AttemptOutcome,
  Backoff,
  BatchCallback,
  BatchCounts,
  Cancellation,
  Content,
  LogEntry,
  LogLevel,
  PendingReason,
  Priority,
  RetryPolicy,
  Stats,
  StatusChange,
  Task,
  TaskError,
  TaskEvent,
  TaskOptions,
  TaskStatus,
  UniquePolicy,
} from "./task.js";
export type { ChannelCredentials, Headers } from "../transport/channel.js";
export type { AnyTasks, TaskMap } from "../transport/task-map.js";
