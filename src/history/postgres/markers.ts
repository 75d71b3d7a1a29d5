import type { Task } from "../../task/task.js";
import { plainArray } from "./literals.js";
import type { Database } from "./pool.js";
import { type TaskRow, taskOf } from "./rows.js";
import { sql } from "./sql.js";

const clear = sql("clear_markers");
const stale = sql("stale_markers");

export async function clearMarkers(database: Database, markers: readonly string[]): Promise<void> {
  if (markers.length > 0) await database.rows(clear, [plainArray(markers)]);
}

export async function staleMarkers(
  database: Database,
  idleMs: number,
  limit: number,
): Promise<{ marker: string; tasks: Task[] }[]> {
  type Row = { marker: string } & (TaskRow | { id: null });
  const found = new Map<string, Task[]>();
  for (const row of await database.rows<Row>(stale, [idleMs, limit])) {
    const tasks = found.get(row.marker) ?? [];
    found.set(row.marker, tasks);
    if (row.id !== null) tasks.push(taskOf(row));
  }
  return [...found].map(([marker, tasks]) => ({ marker, tasks }));
}
