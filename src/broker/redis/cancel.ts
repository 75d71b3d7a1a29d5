import { uuidText } from "../../task/uuid.js";
import { isFinal, type Task } from "../../task/task.js";
import type { CancelItem, CancelReply } from "../broker.js";
import type { Argument } from "./connection.js";
import { checkpointKey, namespaceText, payloadKey, recordKey, resultKey } from "./keys.js";
import { idBytes, unpackTask } from "./record.js";
import { asBytes, asList, asNumber, asText, type Reply } from "./scripts.js";
import { unpackResult } from "./sections.js";
import { readEnded } from "./outbox.js";
import { readTransition, type Told } from "./transition.js";
import { inCalls, type Placed, type Store } from "./store.js";

const chunkItems = 200;

export async function cancel(store: Store, items: readonly CancelItem[]): Promise<CancelReply[]> {
  const replies: CancelReply[] = [];
  const partitionOf = ({ taskId }: CancelItem): number => store.partitionOf(taskId);
  await inCalls(items, partitionOf, { items: chunkItems }, (partition, chunk) =>
    cancelChunk(store, partition, chunk, replies),
  );
  return replies;
}

async function cancelChunk(
  store: Store,
  partition: number,
  chunk: readonly Placed<CancelItem>[],
  replies: CancelReply[],
): Promise<void> {
  const args = chunk.flatMap(({ item }): Argument[] => {
    const { taskId, namespace, graceMs, run = 1, reason = "" } = item;
    const grace = String(Math.floor(graceMs));
    return [idBytes(taskId), namespaceText(namespace), grace, String(run), reason];
  });
  const [entry, time, rows] = asList(
    await store.scripts.run("cancel", store.base(partition), args),
  );
  const told = { partition, entry: asText(entry), at: asNumber(time) };
  const ended: Placed<CancelItem>[] = [];
  asList(rows).forEach((row, i) => {
    const { item, index } = chunk[i]!;
    replies[index] = readReply(told, item.taskId, asList(row));
    if (asText(asList(row)[0]) === "told") ended.push(chunk[i]!);
  });
  if (ended.length > 0) await readTold(store, ended, replies);
}

/** They ended and left no record; history may have learned it meanwhile. */
async function readTold(
  store: Store,
  ended: readonly Placed<CancelItem>[],
  replies: CancelReply[],
): Promise<void> {
  const found = await get(
    store,
    ended.map(({ item }) => item.taskId),
  );
  for (const [nth, { item, index }] of ended.entries()) {
    const task = found[nth];
    const isOurs = task?.namespace === item.namespace;
    if (task && isOurs && isFinal(task.status)) replies[index] = { kind: "final", task };
  }
}

function readReply(told: Told, id: string, row: readonly Reply[]): CancelReply {
  const [kind, first, payload, result] = row;
  switch (asText(kind)) {
    case "cancelled":
      return { kind: "cancelled", transition: readTransition(told, id, 0, row, 1) };
    case "requested":
      return {
        kind: "requested",
        task: taskOf(id, first, payload),
        transition: row.length > 3 ? readTransition(told, id, 0, row, 3) : undefined,
      };
    case "final":
      return { kind: "final", task: taskOf(id, first, payload, result) };
    default:
      return { kind: "unknown" };
  }
}

const taskOf = (id: string, record: Reply | undefined, payload?: Reply, result?: Reply): Task =>
  unpackTask(id, asBytes(record), {
    payload: asBytes(payload),
    result: unpackResult(asBytes(result)),
  });

/** History knows these to have ended; see Broker.bury. */
export async function bury(store: Store, tasks: readonly Task[]): Promise<void> {
  const partitionOf = ({ id }: Task): number => store.partitionOf(id);
  await inCalls(tasks, partitionOf, { items: chunkItems }, (partition, chunk) => {
    const args = chunk.flatMap(({ item }): Argument[] => [idBytes(item.id), String(item.run)]);
    return store.scripts.run("bury", store.base(partition), args);
  });
}

export async function promoteNow(store: Store, taskId: string): Promise<Task | undefined> {
  const base = store.base(store.partitionOf(taskId));
  const reply = await store.scripts.run("promote_now", base, [idBytes(taskId)]);
  if (reply === null) return undefined;
  const [record, payload] = asList(reply);
  return taskOf(taskId, record, payload);
}

/**
 * One read of all that belongs to a task, so that no part of it can be of another moment. What has
 * no record may have ended and wait for history: the outbox tells of it then.
 */
export async function get(store: Store, taskIds: readonly string[]): Promise<(Task | undefined)[]> {
  const tasks: (Task | undefined)[] = taskIds.map(() => undefined);
  const partitionOf = (id: string): number => store.partitionOf(id);
  await inCalls(taskIds, partitionOf, { items: chunkItems }, (partition, chunk) =>
    getChunk(store, partition, chunk, tasks),
  );
  return tasks;
}

async function getChunk(
  store: Store,
  partition: number,
  chunk: readonly Placed<string>[],
  tasks: (Task | undefined)[],
): Promise<void> {
  const base = store.base(partition);
  const keys = chunk.flatMap(({ item }) => {
    const id = idBytes(item);
    const beside = [payloadKey(base, id), resultKey(base, id), checkpointKey(base, id)];
    return [recordKey(base, id), ...beside];
  });
  const values = asList(await store.nodes.send(base, "MGET", keys));
  const absent: Placed<string>[] = [];
  chunk.forEach(({ item, index }, i) => {
    const own = values.slice(i * 4, i * 4 + 4) as (Buffer | null)[];
    const [record, payload, result, checkpoint] = own;
    const apart = {
      payload,
      result: unpackResult(result),
      checkpoint: unpackResult(checkpoint),
    };
    if (record) tasks[index] = unpackTask(uuidText(idBytes(item)), record, apart);
    else absent.push(chunk[i]!);
  });
  if (absent.length > 0) await getWithoutRecord(store, partition, absent, tasks);
}

/** Those of a bundle; what left it meanwhile is read again where it stands now. */
async function getWithoutRecord(
  store: Store,
  partition: number,
  chunk: readonly Placed<string>[],
  tasks: (Task | undefined)[],
): Promise<void> {
  const ids = chunk.map(({ item }) => idBytes(item));
  const records = asList(await store.scripts.run("bundled", store.base(partition), ids));
  const left: Placed<string>[] = [];
  const absent: Placed<string>[] = [];
  chunk.forEach((placed, nth) => {
    const record = records[nth];
    if (!record) absent.push(placed);
    else if (asBytes(record).length === 0) left.push(placed);
    else tasks[placed.index] = unpackTask(uuidText(ids[nth]!), asBytes(record));
  });
  if (left.length > 0) await getChunk(store, partition, left, tasks);
  if (absent.length > 0) await getEnded(store, partition, absent, tasks);
}

/** Asked for last, as what stands in a bundle may have ended since. */
async function getEnded(
  store: Store,
  partition: number,
  chunk: readonly Placed<string>[],
  tasks: (Task | undefined)[],
): Promise<void> {
  const ids = chunk.map(({ item }) => idBytes(item));
  for (const [nth, snapshot] of await readEnded(store, partition, ids)) {
    tasks[chunk[nth]!.index] = unpackTask(uuidText(ids[nth]!), snapshot);
  }
}
