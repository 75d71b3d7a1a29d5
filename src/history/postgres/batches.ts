import {
  addCount,
  type Batch,
  type BatchCall,
  type BatchEvent,
  dueEvents,
  isOver,
} from "../../task/batch/batch.js";
import { parseTaskId } from "../../task/ids.js";
import type { Status } from "../../task/task.js";
import type { BatchHistory, BatchTasks, CallReply } from "../batches.js";
import {
  type BatchRow,
  batchOf,
  batchParameters,
  cancelColumn,
  type FactsRow,
  factsOfRow,
} from "./batch-rows.js";
import { insertRows } from "./insert.js";
import { plainArray, storable } from "./literals.js";
import type { Database, Queryable } from "./pool.js";
import { sql } from "./sql.js";
import { withRowTypes } from "./types.js";
import type { RowTypes } from "./written.js";

const statements = {
  create: sql("create_batch"),
  get: sql("get_batch"),
  list: sql("list_batches"),
  close: sql("close_batch"),
  cancel: sql("cancel_batch"),
  lock: sql("lock_batch"),
  look: sql("look_batches"),
  note: sql("note_batch"),
  count: sql("count_batch"),
  watched: sql("watched_batches"),
  prune: sql("prune_batches"),
};

const noId = "00000000-0000-0000-0000-000000000000";

export function createPostgresBatches(database: Database, newMarker: () => string): BatchHistory {
  const one = async (
    statement: (typeof statements)["get"],
    namespace: string,
    id: string,
    ...more: readonly unknown[]
  ): Promise<Batch | undefined> => {
    const known = parseTaskId(id);
    if (!known) return undefined;
    const values = [storable(namespace), known, ...more];
    const [row] = await database.rows<BatchRow>(statement, values);
    return row && batchOf(row);
  };
  return {
    async create(batch) {
      const [made] = await database.rows<BatchRow>(statements.create, batchParameters(batch));
      if (made) return { batch: batchOf(made), existing: false };
      const known = await one(statements.get, batch.namespace, batch.id);
      if (!known) throw new Error(`batch ${batch.id} stands in another namespace`);
      return { batch: known, existing: true };
    },
    get: (namespace, id) => one(statements.get, namespace, id),
    async counts(id) {
      type Row = { status: Status; tasks: number };
      const counts = {};
      const rows = await database.rows<Row>(statements.count, [id]);
      for (const { status, tasks } of rows) addCount(counts, status, tasks);
      return counts;
    },
    async list(namespace, belowId, limit) {
      const values = [storable(namespace), belowId, limit];
      return (await database.rows<BatchRow>(statements.list, values)).map(batchOf);
    },
    close: (namespace, id) => one(statements.close, namespace, id),
    cancel: (namespace, id, how) => one(statements.cancel, namespace, id, cancelColumn(how)),
    async look(ids) {
      const rows = await database.rows<FactsRow>(statements.look, [plainArray(ids)]);
      return rows.map((row) => ({
        batch: batchOf(row),
        facts: factsOfRow(row),
        watched: row.watched,
      }));
    },
    call: (id, tasks) =>
      withRowTypes(database, (types) =>
        database.transaction((tx) => call(tx, types, id, tasks, newMarker())),
      ),
    async watched(aboveId, limit) {
      const values = [aboveId === "" ? noId : aboveId, limit];
      const rows = await database.rows<{ id: string }>(statements.watched, values);
      return rows.map(({ id }) => id);
    },
    async prune(olderThanMs, limit) {
      const values = [olderThanMs, limit];
      return (await database.rows<{ gone: number }>(statements.prune, values))[0]!.gone;
    },
  };
}

const nothing: CallReply = { called: [], marker: undefined, completed: false };

/** H8. The facts are read by a statement of their own: only such a one sees what was waited for. */
async function call(
  tx: Queryable,
  types: RowTypes,
  id: string,
  tasks: BatchTasks,
  marker: string,
): Promise<CallReply> {
  const [row] = await tx.rows<BatchRow>(statements.lock, [id]);
  if (!row) return nothing;
  const [looked] = await tx.rows<FactsRow>(statements.look, [plainArray([id])]);
  const batch = batchOf(row);
  const facts = factsOfRow(looked!);
  const due = dueEvents(batch, facts);
  const called = due.flatMap((event) => (tasks[event] ? [{ event, task: tasks[event] }] : []));
  const born = called.map(({ task }) => ({ task, payload: task.payload }));
  if (born.length > 0) await insertRows(tx, types, born, marker);
  const over = isOver(batch, facts);
  const watched = !over || called.length < due.length;
  await tx.rows(statements.note, [id, calledColumn(batch, called, row.now), over, watched]);
  return {
    called,
    marker: called.length > 0 ? marker : undefined,
    completed: over && batch.completedAt === undefined,
  };
}

function calledColumn({ called }: Batch, now: CallReply["called"], at: number): string {
  const column: Partial<Record<BatchEvent, BatchCall>> = { ...called };
  for (const { event, task } of now) column[event] = { taskId: task.id, at };
  return JSON.stringify(column);
}
