import type { Schedule } from "../../task/schedule/schedule.js";
import type {
  CreateOutcome,
  NewSchedule,
  RemoveOutcome,
  ScheduleHistory,
  TakeReply,
  TickChange,
} from "../schedules.js";
import { insertRows } from "./insert.js";
import { bigint, optionalBigint, plainArray, storable, textArray } from "./literals.js";
import type { Database, Queryable } from "./pool.js";
import {
  type ScheduleRow,
  scheduleOf,
  scheduleParameters,
  stateColumn,
  type TickRow,
  tickOf,
} from "./schedule-rows.js";
import { sql } from "./sql.js";
import { withRowTypes } from "./types.js";
import type { RowTypes } from "./written.js";

const statements = {
  now: sql("store_now"),
  create: sql("create_schedule"),
  get: sql("get_schedule"),
  list: sql("list_schedules"),
  change: sql("change_schedule"),
  remove: sql("remove_schedule"),
  nextDue: sql("next_due_schedule"),
  due: sql("due_schedules"),
  named: sql("named_schedules"),
  live: sql("live_tasks_of_schedules"),
  lock: sql("lock_schedules"),
  putTicks: sql("put_ticks"),
  advance: sql("advance_schedules"),
  ticks: sql("list_ticks"),
  prune: sql("prune_ticks"),
};

export function createPostgresSchedules(
  database: Database,
  newMarker: () => string,
): ScheduleHistory {
  const found = async (namespace: string, name: string): Promise<Schedule | undefined> => {
    const values = [storable(namespace), storable(name)];
    const [row] = await database.rows<ScheduleRow>(statements.get, values);
    return row && scheduleOf(row);
  };
  return {
    async now() {
      return (await database.rows<{ now: number }>(statements.now))[0]!.now;
    },
    async create(schedule, most) {
      const created = await create(database, schedule, most);
      if (created) return created;
      return { kind: (await found(schedule.namespace, schedule.name)) ? "exists" : "full" };
    },
    get: found,
    async list(namespace, afterName, limit) {
      const values = [storable(namespace), storable(afterName), limit];
      return (await database.rows<ScheduleRow>(statements.list, values)).map(scheduleOf);
    },
    async change(schedule) {
      const values = [...scheduleParameters(schedule), schedule.revision];
      const [row] = await database.rows<ScheduleRow>(statements.change, values);
      return row && scheduleOf(row);
    },
    remove: (namespace, name, ifVersion) => remove(database, namespace, name, ifVersion),
    async nextDue() {
      type Row = { now: number; due_at: number | null };
      const [row] = await database.rows<Row>(statements.nextDue);
      return { now: row!.now, dueAt: row!.due_at ?? undefined };
    },
    due: async (limit) => asOf(await database.rows(statements.due, [limit])),
    named: async (names) => asOf(await database.rows(statements.named, nameColumns(names))),
    async liveTasks(names, limit) {
      const values = [...nameColumns(names), limit];
      // A plan kept from when the table was young would walk all live tasks for each schedule.
      const rows = await database.planned<{ place: number; id: string }>(statements.live, values);
      const ids: string[][] = names.map(() => []);
      for (const { place, id } of rows) ids[place - 1]!.push(id);
      return ids;
    },
    take: (changes) =>
      withRowTypes(database, (types) =>
        database.transaction((tx) => take(tx, types, changes, newMarker())),
      ),
    async ticks({ namespace, name }, { from, until, limit }) {
      const values = [storable(namespace), storable(name), bigint(from), bigint(until), limit];
      return (await database.rows<TickRow>(statements.ticks, values)).map(tickOf);
    },
    async pruneTicks(olderThanMs, limit) {
      const values = [olderThanMs, limit];
      return (await database.rows<{ gone: number }>(statements.prune, values))[0]!.gone;
    },
  };
}

const asOf = (rows: readonly (ScheduleRow & { now: number })[]) => ({
  now: rows[0]?.now ?? 0,
  schedules: rows.map(scheduleOf),
});

async function create(
  database: Database,
  schedule: NewSchedule,
  most: number,
): Promise<CreateOutcome | undefined> {
  const values = [...scheduleParameters(schedule), most];
  const [row] = await database.rows<ScheduleRow>(statements.create, values);
  return row && { kind: "created", schedule: scheduleOf(row) };
}

async function remove(
  database: Database,
  namespace: string,
  name: string,
  ifVersion: number | undefined,
): Promise<RemoveOutcome> {
  type Row = { removed: boolean; stood: boolean };
  const values = [storable(namespace), storable(name), ifVersion ?? null];
  const [row] = await database.rows<Row>(statements.remove, values);
  if (row!.removed) return "removed";
  return row!.stood ? "changed" : "unknown";
}

/** H7. */
async function take(
  tx: Queryable,
  types: RowTypes,
  changes: readonly TickChange[],
  marker: string,
): Promise<TakeReply> {
  const locked = await lock(tx, changes);
  const ours = changes.filter((_, index) => locked.has(index));
  const inserted = await putTicks(tx, types, ours, marker);
  if (ours.length > 0) await advance(tx, ours);
  const outcomes = changes.map((_, index) => (locked.has(index) ? "written" : "stale"));
  const tasks = ours
    .flatMap(({ ticks }) => ticks)
    .flatMap(({ task }) => (task && inserted.has(task.id) ? [task] : []));
  return { outcomes, tasks, marker: tasks.length > 0 ? marker : undefined };
}

async function lock(tx: Queryable, changes: readonly TickChange[]): Promise<Set<number>> {
  const rows = await tx.rows<{ place: number }>(statements.lock, [
    ...nameColumns(changes.map(({ schedule }) => schedule)),
    plainArray(changes.map(({ schedule }) => schedule.revision)),
  ]);
  return new Set(rows.map(({ place }) => place - 1));
}

async function putTicks(
  tx: Queryable,
  types: RowTypes,
  changes: readonly TickChange[],
  marker: string,
): Promise<Set<string>> {
  const ticks = changes.flatMap(({ schedule, ticks: own }) =>
    own.map((tick) => ({ ...tick, schedule })),
  );
  if (ticks.length === 0) return new Set();
  const rows = await tx.rows<{ task_id: string | null }>(statements.putTicks, [
    ...nameColumns(ticks.map(({ schedule }) => schedule)),
    plainArray(ticks.map(({ at }) => bigint(at))),
    textArray(ticks.map(({ outcome }) => outcome)),
    textArray(ticks.map(({ cause }) => cause)),
    plainArray(ticks.map(({ task }) => task?.id)),
    textArray(ticks.map(({ error }) => storable(error))),
  ]);
  const put = new Set(rows.map(({ task_id }) => task_id));
  const born = ticks.flatMap(({ task }) =>
    task && put.has(task.id) ? [{ task, payload: task.payload }] : [],
  );
  return insertRows(tx, types, born, marker);
}

async function advance(tx: Queryable, changes: readonly TickChange[]): Promise<void> {
  await tx.rows(statements.advance, [
    ...nameColumns(changes.map(({ schedule }) => schedule)),
    plainArray(changes.map(({ state }) => optionalBigint(state.dueAt))),
    plainArray(changes.map(({ state }) => bigint(state.cursor))),
    textArray(changes.map(({ state }) => stateColumn(state))),
  ]);
}

const nameColumns = (names: readonly { namespace: string; name: string }[]): string[] => [
  textArray(names.map(({ namespace }) => storable(namespace))),
  textArray(names.map(({ name }) => storable(name))),
];
