import type { Database } from "./pool.js";
import type { RowTypes } from "./written.js";

const statement = {
  name: "row_types",
  text: `SELECT 'whole_task'::regtype::oid::int8 AS whole_task,
    'task_change'::regtype::oid::int8 AS task_change`,
};

const known = new WeakMap<Database, RowTypes>();

/**
 * Runs `work` with the numbers of Drover's own types in this schema. They are asked for once, and
 * again after a failure: the schema may have been made anew, as by a restore.
 */
export async function withRowTypes<T>(
  database: Database,
  work: (types: RowTypes) => Promise<T>,
): Promise<T> {
  const types = known.get(database) ?? (await ask(database));
  try {
    return await work(types);
  } catch (error) {
    known.delete(database);
    throw error;
  }
}

async function ask(database: Database): Promise<RowTypes> {
  type Row = { whole_task: number; task_change: number };
  const [row] = await database.rows<Row>(statement);
  const types = { wholeTask: row!.whole_task, taskChange: row!.task_change };
  known.set(database, types);
  return types;
}
