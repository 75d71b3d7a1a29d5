import type { TaskDraft } from "../draft.js";

/**
 * The vocabulary of schedules: what is asked (timing, task, policies), and how far it has come. All
 * times are milliseconds since 1970, all durations milliseconds. A tick is (schedule, time): the
 * time it stands for, not the one at which somebody got round to it.
 */

/** What becomes of a tick that comes while a task of an earlier one lives. */
export type OverlapPolicy = "skip" | "buffer_one" | "buffer_all" | "allow_all" | "cancel_other";

export const overlapPolicies: readonly OverlapPolicy[] = [
  "skip",
  "buffer_one",
  "buffer_all",
  "allow_all",
  "cancel_other",
];

/** When the ticks are. */
export type Timing =
  /** A cron expression of five or six fields, read in an IANA time zone. */
  | { readonly kind: "cron"; readonly cron: string; readonly timeZone: string }
  /** anchor + n x every, from the anchor on. */
  | { readonly kind: "every"; readonly everyMs: number; readonly anchor: number }
  | { readonly kind: "once"; readonly at: number };

/** What is asked. Changes as a whole, by UpdateSchedule. */
export interface ScheduleSpec {
  readonly timing: Timing;
  /** The task of each tick. What it leaves open comes from its queue as that stands at the tick. */
  readonly task: TaskDraft;
  readonly overlap: OverlapPolicy;
  /** A tick that comes to be looked at later than this is missed. */
  readonly catchUpMs: number;
  /** A tick is taken up to this much later, by an amount of its own that never changes. */
  readonly jitterMs: number;
}

/** How far it has come. */
export interface ScheduleState {
  /** Ticks up to here, itself included, are dealt with. */
  readonly cursor: number;
  /** When to look at it next; undefined: paused, or over. */
  readonly dueAt: number | undefined;
  /** Ticks that wait for the task of an earlier one to end, oldest first. */
  readonly waiting: readonly number[];
  readonly counts: TickCounts;
  readonly lastTaken: LastTaken | undefined;
  /** Why the latest refused tick was refused; undefined again once one is taken. */
  readonly lastError: string | undefined;
}

/** Ticks since the schedule was made. */
export interface TickCounts {
  /** Those that have a task; triggers and backfills are among them. */
  readonly taken: number;
  /** Those that the overlap policy dropped. */
  readonly skipped: number;
  /** Those that nobody looked at within the catch-up window. */
  readonly missed: number;
  /** Those whose task was refused, as no valid task could be made of the template. */
  readonly refused: number;
}

export interface LastTaken {
  readonly at: number;
  readonly taskId: string;
}

export interface Schedule extends ScheduleSpec, ScheduleState {
  readonly namespace: string;
  readonly name: string;
  readonly paused: boolean;
  /** For people, e.g. why it is paused. */
  readonly note: string;
  readonly createdAt: number;
  /** Of the latest change by people. */
  readonly updatedAt: number;
  /** +1 with every change by people: the etag. */
  readonly version: number;
  /** +1 with every write, ticks included: nobody writes over what he has not seen. */
  readonly revision: number;
}

/** `waiting`: it has its place in the schedule's `waiting`. */
export type TickOutcome = "taken" | "skipped" | "waiting" | "refused";
export type TickCause = "timing" | "trigger" | "backfill";

/** A tick that was dealt with, as history keeps it. */
export interface Tick {
  readonly at: number;
  readonly outcome: TickOutcome;
  readonly cause: TickCause;
  /** "" unless taken. */
  readonly taskId: string;
  /** Why it was refused; else "". */
  readonly error: string;
  /** When it was written. */
  readonly recordedAt: number;
}

export const noTicks: TickCounts = Object.freeze({ taken: 0, skipped: 0, missed: 0, refused: 0 });
