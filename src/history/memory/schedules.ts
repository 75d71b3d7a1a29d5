import type { Schedule, Tick } from "../../task/schedule/schedule.js";
import type { Task } from "../../task/task.js";
import type {
  CreateOutcome,
  NewSchedule,
  NewTick,
  RemoveOutcome,
  ScheduleHistory,
  ScheduleName,
  TakeReply,
  TickChange,
  TickRange,
} from "../schedules.js";
import { keyOf, type MemoryHistoryStore, putTask } from "./store.js";

interface MemorySchedulesOptions {
  readonly store: MemoryHistoryStore;
  readonly newMarker: () => string;
  /** Runs in one step, or rejects while the store is down. */
  readonly step: <T>(work: (now: number) => T) => Promise<T>;
}

/** What is kept of one schedule; its ticks by time. */
export interface StoredSchedule {
  schedule: Schedule;
  readonly ticks: Map<number, Tick>;
}

export function createMemorySchedules(options: MemorySchedulesOptions): ScheduleHistory {
  const { store, step, newMarker } = options;
  const { schedules } = store;
  const all = (): Schedule[] => [...schedules.values()].map(({ schedule }) => schedule);
  return {
    now: () => step((now) => now),
    create: (schedule, most) => step((now) => create(store, schedule, most, now)),
    get: (namespace, name) => step(() => schedules.get(keyOf(namespace, name))?.schedule),
    list: (namespace, afterName, limit) =>
      step(() =>
        all()
          .filter((each) => each.namespace === namespace && each.name > afterName)
          .toSorted((a, b) => (a.name < b.name ? -1 : 1))
          .slice(0, limit),
      ),
    change: (schedule) => step((now) => change(store, schedule, now)),
    remove: (namespace, name, ifVersion) => step(() => remove(store, namespace, name, ifVersion)),
    nextDue: () =>
      step((now) => {
        const times = all().flatMap(({ dueAt }) => (dueAt === undefined ? [] : [dueAt]));
        return { now, dueAt: times.length > 0 ? Math.min(...times) : undefined };
      }),
    due: (limit) => step((now) => ({ now, schedules: dueBy(all(), now).slice(0, limit) })),
    named: (names) =>
      step((now) => {
        const found = names.map(({ namespace, name }) => schedules.get(keyOf(namespace, name)));
        return { now, schedules: found.flatMap((each) => (each ? [each.schedule] : [])) };
      }),
    liveTasks: (names, limit) =>
      step(() => names.map((name) => liveOf(store, name).slice(0, limit))),
    take: (changes) => step((now) => take(store, changes, newMarker(), now)),
    ticks: (name, range) => step(() => ticksOf(store, name, range)),
    pruneTicks: (olderThanMs, limit) => step((now) => prune(store, now - olderThanMs, limit)),
  };
}

function create(
  store: MemoryHistoryStore,
  given: NewSchedule,
  most: number,
  now: number,
): CreateOutcome {
  const key = keyOf(given.namespace, given.name);
  if (store.schedules.has(key)) return { kind: "exists" };
  const { namespace } = given;
  const others = [...store.schedules.values()].filter((it) => it.schedule.namespace === namespace);
  if (others.length >= most) return { kind: "full" };
  const schedule: Schedule = { ...given, createdAt: now, updatedAt: now, version: 1, revision: 1 };
  store.schedules.set(key, { schedule, ticks: new Map() });
  return { kind: "created", schedule };
}

/** The stored one, if it is still as it was read. */
function unchanged(store: MemoryHistoryStore, read: Schedule): StoredSchedule | undefined {
  const stored = store.schedules.get(keyOf(read.namespace, read.name));
  return stored?.schedule.revision === read.revision ? stored : undefined;
}

function change(store: MemoryHistoryStore, wanted: Schedule, now: number): Schedule | undefined {
  const stored = unchanged(store, wanted);
  if (!stored) return undefined;
  const { createdAt, version, revision } = stored.schedule;
  stored.schedule = {
    ...wanted,
    createdAt,
    updatedAt: now,
    version: version + 1,
    revision: revision + 1,
  };
  return stored.schedule;
}

function remove(
  store: MemoryHistoryStore,
  namespace: string,
  name: string,
  ifVersion: number | undefined,
): RemoveOutcome {
  const key = keyOf(namespace, name);
  const stored = store.schedules.get(key);
  if (!stored) return "unknown";
  if (ifVersion !== undefined && stored.schedule.version !== ifVersion) return "changed";
  store.schedules.delete(key);
  return "removed";
}

const dueBy = (schedules: readonly Schedule[], now: number): Schedule[] =>
  schedules
    .filter(({ dueAt }) => dueAt !== undefined && dueAt <= now)
    .toSorted((a, b) => a.dueAt! - b.dueAt!);

const liveOf = ({ scheduled }: MemoryHistoryStore, { namespace, name }: ScheduleName): string[] =>
  [...(scheduled.get(keyOf(namespace, name)) ?? [])].toSorted();

function take(
  store: MemoryHistoryStore,
  changes: readonly TickChange[],
  marker: string,
  now: number,
): TakeReply {
  const tasks: Task[] = [];
  const outcomes = changes.map(({ schedule, state, ticks }) => {
    const stored = unchanged(store, schedule);
    if (!stored) return "stale";
    for (const tick of ticks) if (putTick(stored, tick, now) && tick.task) tasks.push(tick.task);
    const { cursor, dueAt, waiting, counts, lastTaken, lastError } = state;
    stored.schedule = {
      ...stored.schedule,
      cursor,
      dueAt,
      waiting,
      counts,
      lastTaken,
      lastError,
      revision: schedule.revision + 1,
    };
    return "written";
  });
  for (const task of tasks) putTask(store, task, now);
  if (tasks.length === 0) return { outcomes, tasks, marker: undefined };
  store.markers.set(marker, { createdAt: now, taskIds: tasks.map(({ id }) => id) });
  return { outcomes, tasks, marker };
}

/** False: it was taken before. */
function putTick({ ticks }: StoredSchedule, tick: NewTick, now: number): boolean {
  const { at, outcome, task, error } = tick;
  const before = ticks.get(at);
  if (before?.outcome === "taken") return false;
  const cause = before?.cause ?? tick.cause;
  ticks.set(at, { at, outcome, cause, taskId: task?.id ?? "", error, recordedAt: now });
  return true;
}

function ticksOf(
  store: MemoryHistoryStore,
  { namespace, name }: ScheduleName,
  { from, until, limit }: TickRange,
): Tick[] {
  const ticks = store.schedules.get(keyOf(namespace, name))?.ticks.values() ?? [];
  return [...ticks]
    .filter(({ at }) => at >= from && at <= until)
    .toSorted((a, b) => b.at - a.at)
    .slice(0, limit);
}

function prune(store: MemoryHistoryStore, before: number, limit: number): number {
  let gone = 0;
  for (const { ticks } of store.schedules.values()) {
    for (const { at, recordedAt, outcome } of ticks.values()) {
      if (recordedAt >= before || outcome === "waiting" || gone === limit) continue;
      ticks.delete(at);
      gone += 1;
    }
  }
  return gone;
}
