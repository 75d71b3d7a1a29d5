import type { CallOptions } from "./calls.js";
import type { Page, PageOptions } from "./pages.js";
import type { SubmitStatus } from "./surface.js";
import type { TaskOptions } from "./task.js";

/** What becomes of a tick that comes while the task of an earlier one has not ended. */
export type OverlapPolicy = "skip" | "buffer_one" | "buffer_all" | "allow_all" | "cancel_other";

type TemplateOption =
  | "queue"
  | "priority"
  | "maxRetries"
  | "retryPolicy"
  | "delayMs"
  | "attemptTimeoutMs"
  | "heartbeatTimeoutMs"
  | "groupKey"
  | "requiredLabels"
  | "tags"
  | "retentionMs";

/** What the tasks of a schedule, and callbacks of a batch, are made of. */
export interface TaskTemplate extends Pick<TaskOptions, TemplateOption> {
  type: string;
  payload?: unknown;
}

/** What every task of a schedule is made of. */
export type ScheduleTask = TaskTemplate;

/** A schedule as it is to be. One of cron, everyMs and at is needed. */
export interface NewSchedule {
  name: string;
  /** Five fields, or six with seconds first; or such as `@daily`. */
  cron?: string;
  /** Zone of the cron expression, e.g. `Europe/Berlin`. Default UTC. */
  timeZone?: string;
  /** From 1,000. */
  everyMs?: number;
  /** First tick of everyMs. Default 1970-01-01T00:00:00Z. */
  anchor?: Date;
  /** The one tick. */
  at?: Date;
  task: ScheduleTask;
  /** Default `skip`. */
  overlapPolicy?: OverlapPolicy;
  /** How late a tick is still taken, in ms. Default an hour, from 10,000. */
  catchUpWindowMs?: number;
  /** Ticks are taken up to this much later, each by an amount of its own. Default 0. */
  jitterMs?: number;
  /** Left out in an update: as it is. */
  paused?: boolean;
  /** Left out in an update: as it is. */
  note?: string;
}

/** A schedule as it is to be from now on; what is left out goes back to its default. */
export interface ScheduleUpdate extends NewSchedule {
  /** Of the schedule that was read: refused if it has changed since. */
  etag?: string;
}

export interface Tick {
  readonly tickAt: Date;
  readonly outcome: "taken" | "skipped" | "waiting" | "refused";
  readonly cause: "timing" | "trigger" | "backfill";
  readonly taskId: string | undefined;
  readonly error: string | undefined;
  readonly recordedAt: Date | undefined;
}

/** A schedule as it stands. */
export interface Schedule {
  readonly name: string;
  readonly cron: string | undefined;
  readonly timeZone: string | undefined;
  readonly everyMs: number | undefined;
  readonly anchor: Date | undefined;
  readonly at: Date | undefined;
  readonly task: Readonly<ScheduleTask>;
  readonly overlapPolicy: OverlapPolicy;
  readonly catchUpWindowMs: number;
  readonly jitterMs: number;
  readonly paused: boolean;
  readonly note: string;
  /** Undefined while it is paused, and once it is over. */
  readonly nextTickAt: Date | undefined;
  readonly lastTickAt: Date | undefined;
  readonly lastTaskId: string | undefined;
  readonly ticksWaiting: number;
  readonly ticksTaken: number;
  readonly ticksSkipped: number;
  readonly ticksMissed: number;
  readonly ticksRefused: number;
  readonly lastError: string | undefined;
  /** The latest 10, newest first; only from `get`. */
  readonly recentTicks: readonly Tick[];
  readonly createdAt: Date | undefined;
  readonly updatedAt: Date | undefined;
  readonly etag: string;
}

export interface PreviewOptions {
  /** Default 5, at most 100. */
  count?: number;
  /** Default now. */
  after?: Date;
}

export interface PreviewedTick {
  readonly tickAt: Date;
  /** The same in the schedule's zone, e.g. `2030-03-31T03:00:00+02:00`. */
  readonly local: string;
}

export interface BackfillOptions extends CallOptions {
  /** Both included; at most 1,000 ticks between them. */
  start: Date;
  end: Date;
  /** Default `allow_all`: all tasks at once. `buffer_all`: one after the other. */
  overlapPolicy?: "allow_all" | "buffer_all";
}

export interface Backfill {
  readonly taskIds: readonly string[];
  /** Ticks that wait for the tasks before them. */
  readonly ticksWaiting: number;
  /** Ticks of the range that were taken, or waited, before. */
  readonly ticksExisting: number;
}

export interface Schedules {
  create(wanted: NewSchedule, options?: CallOptions): Promise<Schedule>;
  get(name: string, options?: CallOptions): Promise<Schedule>;
  /** By name, fetched page by page; without their latest ticks. */
  list(options?: PageOptions): AsyncGenerator<Schedule>;
  listPage(options?: PageOptions): Promise<Page<Schedule>>;
  update(wanted: ScheduleUpdate, options?: CallOptions): Promise<Schedule>;
  /** Its tasks live on. */
  delete(name: string, options?: CallOptions & { etag?: string }): Promise<void>;
  pause(name: string, options?: CallOptions & { note?: string }): Promise<Schedule>;
  resume(name: string, options?: CallOptions & { note?: string }): Promise<Schedule>;
  /** One task now; give the receipt to `wait`. A repeat after a lost answer makes no second one. */
  trigger(name: string, options?: CallOptions): Promise<TriggerReceipt>;
  /** Takes the ticks of a past range that were not taken. */
  backfill(name: string, options: BackfillOptions): Promise<Backfill>;
  /** The next ticks of a schedule, or of one that nobody has made yet. */
  preview(
    schedule: string | NewSchedule,
    options?: PreviewOptions & CallOptions,
  ): Promise<readonly PreviewedTick[]>;
}

export interface TriggerReceipt {
  readonly id: string;
  readonly status: SubmitStatus;
}
