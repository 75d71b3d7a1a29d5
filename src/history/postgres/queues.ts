import type { QueueSettings } from "../../task/task.js";
import { bigint, int, storable, textArray } from "./literals.js";
import type { Database } from "./pool.js";
import { type QueueRow, queueOf } from "./rows.js";
import { sql } from "./sql.js";

const getQueue = sql("get_queue");
const listQueues = sql("list_queues");
const putQueueSql = sql("put_queue");
const touch = sql("touch_queues");

export async function queue(
  database: Database,
  namespace: string,
  name: string,
): Promise<QueueSettings | undefined> {
  const values = [storable(namespace), storable(name)];
  const [row] = await database.rows<QueueRow>(getQueue, values);
  return row && queueOf(row);
}

export async function queues(
  database: Database,
  namespace: string | undefined,
  after: { namespace: string; name: string },
  limit: number,
): Promise<QueueSettings[]> {
  const rows = await database.rows<QueueRow>(listQueues, [
    namespace === undefined ? null : storable(namespace),
    storable(after.namespace),
    storable(after.name),
    limit,
  ]);
  return rows.map(queueOf);
}

export async function putQueue(
  database: Database,
  settings: QueueSettings,
  ifVersion: number | undefined,
): Promise<QueueSettings | undefined> {
  const [row] = await database.rows<QueueRow>(putQueueSql, [
    storable(settings.namespace),
    storable(settings.name),
    settings.paused,
    settings.durability,
    int(settings.maxRetries),
    bigint(settings.retentionMs),
    JSON.stringify(settings.retry),
    ifVersion ?? null,
    JSON.stringify(settings.types),
  ]);
  return row && queueOf(row);
}

export async function touchQueues(
  database: Database,
  names: readonly { namespace: string; name: string }[],
): Promise<void> {
  if (names.length === 0) return;
  await database.rows(touch, [
    textArray(names.map(({ namespace }) => storable(namespace))),
    textArray(names.map(({ name }) => storable(name))),
  ]);
}
