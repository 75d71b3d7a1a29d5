import type { TaskDraft } from "../../task/draft.js";
import {
  noTicks,
  type Schedule,
  type ScheduleSpec,
  type ScheduleState,
  type Tick,
  type TickCause,
  type TickOutcome,
} from "../../task/schedule/schedule.js";
import { limits } from "../../limits.js";
import type { NewSchedule } from "../schedules.js";
import { bigint, optionalBigint, restored, storable } from "./literals.js";

/** What `{schedule}` selects. */
export interface ScheduleRow {
  namespace: string;
  name: string;
  version: number;
  revision: number;
  created_at: number;
  updated_at: number;
  due_at: number | null;
  last_tick: number;
  paused: boolean;
  note: string;
  spec: string;
  state: string;
  payload_type: string | null;
  payload: Buffer | null;
}

type SpecColumn = Omit<ScheduleSpec, "task"> & { readonly task: Omit<TaskDraft, "payload"> };
type StateColumn = Omit<ScheduleState, "cursor" | "dueAt">;

/** A draft of an earlier version may lack what a later one added. */
export const blankDraft: TaskDraft = {
  type: "",
  queue: undefined,
  priority: undefined,
  payload: undefined,
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

export function scheduleOf(row: ScheduleRow): Schedule {
  const spec = JSON.parse(row.spec) as SpecColumn;
  const state = JSON.parse(row.state) as Partial<StateColumn>;
  const payload = row.payload
    ? { contentType: restored(row.payload_type ?? ""), data: row.payload }
    : undefined;
  return {
    namespace: restored(row.namespace),
    name: restored(row.name),
    version: row.version,
    revision: row.revision,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    paused: row.paused,
    note: restored(row.note),
    timing: spec.timing,
    task: { ...blankDraft, ...spec.task, payload },
    overlap: spec.overlap,
    catchUpMs: spec.catchUpMs,
    jitterMs: spec.jitterMs,
    cursor: row.last_tick,
    dueAt: row.due_at ?? undefined,
    waiting: state.waiting ?? [],
    counts: { ...noTicks, ...state.counts },
    lastTaken: state.lastTaken,
    lastError: state.lastError,
  };
}

/** Parameters 1 to 10 of `create_schedule.sql` and `change_schedule.sql`. */
export function scheduleParameters(schedule: NewSchedule): unknown[] {
  const { timing, overlap, catchUpMs, jitterMs, task } = schedule;
  const spec: SpecColumn = {
    timing,
    overlap,
    catchUpMs,
    jitterMs,
    task: { ...task, payload: undefined } as Omit<TaskDraft, "payload">,
  };
  return [
    storable(schedule.namespace),
    storable(schedule.name),
    optionalBigint(schedule.dueAt) ?? null,
    bigint(schedule.cursor),
    schedule.paused,
    storable(schedule.note),
    JSON.stringify(spec),
    stateColumn(schedule),
    task.payload ? storable(task.payload.contentType) : null,
    task.payload?.data ?? null,
  ];
}

export function stateColumn(state: ScheduleState): string {
  const { waiting, counts, lastTaken, lastError } = state;
  const column: StateColumn = {
    waiting,
    counts,
    lastTaken,
    lastError: lastError?.slice(0, limits.errorMessageLength),
  };
  return JSON.stringify(column);
}

export interface TickRow {
  tick_at: number;
  outcome: string;
  cause: string;
  task_id: string | null;
  error: string;
  recorded_at: number;
}

export const tickOf = (row: TickRow): Tick => ({
  at: row.tick_at,
  outcome: row.outcome as TickOutcome,
  cause: row.cause as TickCause,
  taskId: row.task_id ?? "",
  error: restored(row.error),
  recordedAt: row.recorded_at,
});
