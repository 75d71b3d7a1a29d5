import type {
  Schedule,
  ScheduleSpec,
  ScheduleState,
  Tick,
  TickCause,
  TickOutcome,
} from "../task/schedule/schedule.js";
import type { Task } from "../task/task.js";

/**
 * Schedules and their ticks, a part of history:
 *
 * - H7 A tick is unique by (schedule, time) and is taken once, whoever tries again: it commits
 *      together with its task, a commit marker and the state of its schedule, under a lock on the
 *      schedule's row, and only if nobody wrote the schedule since it was read.
 *
 * Times are by the store's clock.
 */
export interface ScheduleHistory {
  /** Milliseconds since 1970: the one clock that ticks are judged by. */
  now(): Promise<number>;
  /** `full`: the namespace has `most` of them. Version and revision start at 1. */
  create(schedule: NewSchedule, most: number): Promise<CreateOutcome>;
  get(namespace: string, name: string): Promise<Schedule | undefined>;
  /** By name, after the one given. */
  list(namespace: string, afterName: string, limit: number): Promise<Schedule[]>;
  /**
   * Writes what people changed if the schedule still has its revision: version + 1, revision + 1.
   * Undefined: it has another one, or is gone.
   */
  change(schedule: Schedule): Promise<Schedule | undefined>;
  /** With its ticks; its tasks live on. `ifVersion` undefined: whatever stands there. */
  remove(namespace: string, name: string, ifVersion: number | undefined): Promise<RemoveOutcome>;

  /** When the next schedule is due, of all namespaces; undefined: none is. */
  nextDue(): Promise<{ now: number; dueAt: number | undefined }>;
  /** Those due by now, the longest first. */
  due(limit: number): Promise<{ now: number; schedules: Schedule[] }>;
  /** Those of these names that there are; in no order. */
  named(names: readonly ScheduleName[]): Promise<{ now: number; schedules: Schedule[] }>;
  /** Ids of the tasks of each schedule that history holds as live; at most `limit` of each. */
  liveTasks(names: readonly ScheduleName[], limit: number): Promise<string[][]>;
  /** H7. All in one transaction; a schedule that was written meanwhile is left as it is. */
  take(changes: readonly TickChange[]): Promise<TakeReply>;
  /** Latest first; with times from `from` up to `until`, both included. */
  ticks(name: ScheduleName, range: TickRange): Promise<Tick[]>;
  /** Removes ticks written before the time they are kept; returns how many. */
  pruneTicks(olderThanMs: number, limit: number): Promise<number>;
}

export interface ScheduleName {
  readonly namespace: string;
  readonly name: string;
}

export type NewSchedule = ScheduleName &
  ScheduleSpec &
  ScheduleState &
  Pick<Schedule, "paused" | "note">;

export type CreateOutcome =
  | { readonly kind: "created"; readonly schedule: Schedule }
  | { readonly kind: "exists" }
  | { readonly kind: "full" };

export type RemoveOutcome = "removed" | "unknown" | "changed";

export interface TickRange {
  readonly from: number;
  readonly until: number;
  readonly limit: number;
}

/** What is written of a tick. With a task it is taken. */
export interface NewTick {
  readonly at: number;
  readonly outcome: TickOutcome;
  /** Of a tick that stands already, its own stays. */
  readonly cause: TickCause;
  readonly task: Task | undefined;
  readonly error: string;
}

export interface TickChange {
  /** As it was read: its revision must still stand there. */
  readonly schedule: Schedule;
  readonly state: ScheduleState;
  readonly ticks: readonly NewTick[];
}

export interface TakeReply {
  /** In the order of the changes. `stale`: nothing of it was written. */
  readonly outcomes: readonly ("written" | "stale")[];
  /** Those that were inserted: a tick that was taken before makes no second one. */
  readonly tasks: readonly Task[];
  readonly marker: string | undefined;
}
