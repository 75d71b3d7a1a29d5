import type { OverlapPolicy, Schedule, ScheduleSpec, Tick } from "../task/schedule/schedule.js";
import type { Page } from "./coordinator.js";

/** What people do with schedules. Like the rest of the coordinator, never beyond the namespace. */
export interface Schedules {
  create(namespace: string, wanted: WantedSchedule): Promise<ScheduleView>;
  /** With its latest ticks. */
  get(namespace: string, name: string): Promise<ScheduleView>;
  list(
    namespace: string,
    page: Page,
  ): Promise<{ schedules: ScheduleView[]; nextPageToken: string }>;
  /** Replaces what is asked. Ticks go on from the last one; with another timing, from now. */
  update(namespace: string, wanted: WantedSchedule, ifVersion?: number): Promise<ScheduleView>;
  remove(namespace: string, name: string, ifVersion?: number): Promise<void>;
  /** `note` undefined: the one that stands stays. */
  pause(namespace: string, name: string, note: string | undefined): Promise<ScheduleView>;
  /** Goes on with the next tick; those of the meantime are not caught up with. */
  resume(namespace: string, name: string, note: string | undefined): Promise<ScheduleView>;
  /** One task now, whatever the overlap policy, paused or not. */
  trigger(namespace: string, name: string, requestId: string): Promise<Triggered>;
  /** Takes the ticks of a past range that were not taken. */
  backfill(namespace: string, name: string, range: BackfillRange): Promise<Backfilled>;
  /** Ticks to come after a time, of a schedule that stands. Undefined `after`: now. */
  preview(namespace: string, name: string, ask: PreviewAsk): Promise<Preview>;
  /** The same of one that nobody has made yet, judged as `create` would. */
  previewWanted(wanted: WantedSchedule, ask: PreviewAsk): Promise<Preview>;
}

export interface WantedSchedule extends ScheduleSpec {
  readonly name: string;
  /** Undefined: as it is; false for a new one. */
  readonly paused: boolean | undefined;
  /** Undefined: as it is. */
  readonly note: string | undefined;
}

export interface ScheduleView extends Schedule {
  /** Undefined while it is paused, and once it is over. */
  readonly nextTickAt: number | undefined;
  /** Latest first; empty in lists. */
  readonly recentTicks: readonly Tick[];
}

export interface Triggered {
  readonly taskId: string;
  /** The same request id came before: the task is the one of then. */
  readonly existing: boolean;
}

export interface BackfillRange {
  /** Both included. */
  readonly from: number;
  readonly until: number;
  /** Undefined: allow_all. */
  readonly overlap: OverlapPolicy | undefined;
}

export interface Backfilled {
  readonly taskIds: readonly string[];
  /** Ticks that wait for the tasks before them. */
  readonly waiting: number;
  /** Ticks of the range that were taken, or waited, before. */
  readonly existing: number;
}

export interface PreviewAsk {
  readonly after: number | undefined;
  readonly count: number;
}

export interface Preview {
  readonly ticks: readonly number[];
  /** Zone to show them in. */
  readonly timeZone: string;
}
