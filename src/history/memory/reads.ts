import { limits } from "../../limits.js";
import { parseTaskId, partitionOfSlot, slotOfId } from "../../task/ids.js";
import {
  type Attempt,
  isFinal,
  type QueueSettings,
  type Status,
  type Task,
} from "../../task/task.js";
import { fits } from "../../task/filter.js";
import type { ListQuery, MatchPage, TaskPage } from "../history.js";
import { pageToken, startOfPage } from "../page-token.js";
import { asRead } from "../rules.js";
import { type MemoryHistoryStore, placeOf, type StoredTask } from "./store.js";

export function holderOf(store: MemoryHistoryStore, key: string, now: number): string | undefined {
  const held = store.keys.get(key);
  return held && held.expiresAt > now ? held.taskId : undefined;
}

export function staleMarkers(
  store: MemoryHistoryStore,
  now: number,
  idleMs: number,
  limit: number,
) {
  return [...store.markers]
    .filter(([, { createdAt }]) => createdAt <= now - idleMs)
    .slice(0, limit)
    .map(([marker, { taskIds }]) => ({
      marker,
      tasks: taskIds
        .map((id) => store.tasks.get(id))
        .filter((row) => row !== undefined && row.endedAt === undefined)
        .map((row) => asRead(row!.task, now)),
    }));
}

export function find(
  store: MemoryHistoryStore,
  namespace: string | undefined,
  taskId: string,
): StoredTask | undefined {
  const row = store.tasks.get(parseTaskId(taskId) ?? "");
  return namespace === undefined || row?.task.namespace === namespace ? row : undefined;
}

export const read = (row: StoredTask | undefined, now: number): Task | undefined =>
  row && asRead(row.task, now);

export function list(store: MemoryHistoryStore, query: ListQuery, now: number): TaskPage {
  const { scanMax = limits.scanRows, pageSize } = query;
  const tasks: Task[] = [];
  let scanned = 0;
  for (let at = placeOf(store.ids, startOfPage(query)) - 1; at >= 0; at -= 1) {
    const task = asRead(store.tasks.get(store.ids[at]!)!.task, now);
    if (task.namespace !== query.namespace) continue;
    if (scanned === scanMax) {
      return { tasks, scanned, nextPageToken: pageToken(query, store.ids[at + 1]!) };
    }
    scanned += 1;
    if (!fits(task, query)) continue;
    if (tasks.length === pageSize) {
      return { tasks, scanned, nextPageToken: pageToken(query, tasks.at(-1)!.id) };
    }
    tasks.push(task);
  }
  return { tasks, scanned, nextPageToken: "" };
}

export function match(store: MemoryHistoryStore, query: ListQuery, now: number): MatchPage {
  const { tasks, ...rest } = list(store, query, now);
  return { ids: tasks.map(({ id }) => id), ...rest };
}

export function attemptsOf(
  store: MemoryHistoryStore,
  namespace: string,
  taskId: string,
): Attempt[] {
  const row = find(store, namespace, taskId);
  const kept = row ? [...(store.attempts.get(row.task.id)?.values() ?? [])] : [];
  return kept.toSorted((a, b) => a.fencingToken - b.fencingToken);
}

export function finalCounts(store: MemoryHistoryStore, namespace: string) {
  return [...store.ended]
    .map(([key, tasks]) => ({ words: JSON.parse(key) as [string, string, Status], tasks }))
    .filter(({ words, tasks }) => words[0] === namespace && tasks > 0)
    .map(({ words: [, queue, status], tasks }) => ({ queue, status, tasks }))
    .toSorted((a, b) => compare(a.queue, b.queue) || compare(a.status, b.status));
}

const compare = (a: string, b: string): number => (a < b ? -1 : Number(a > b));

export function liveTasks(
  store: MemoryHistoryStore,
  partition: number,
  partitions: number,
  afterId: string,
  limit: number,
  now: number,
): Task[] {
  const tasks: Task[] = [];
  const start = placeOf(store.ids, afterId);
  for (let at = start; at < store.ids.length && tasks.length < limit; at += 1) {
    const id = store.ids[at]!;
    const { task, endedAt } = store.tasks.get(id)!;
    if (id === afterId || endedAt !== undefined) continue;
    if (partitionOfSlot(slotOfId(id), partitions) === partition) tasks.push(asRead(task, now));
  }
  return tasks;
}

export function recentlyEnded(
  store: MemoryHistoryStore,
  partition: number,
  partitions: number,
  since: number,
): Task[] {
  return [...store.tasks.values()]
    .filter(({ endedAt }) => endedAt !== undefined && endedAt >= since)
    .filter(({ task }) => partitionOfSlot(slotOfId(task.id), partitions) === partition)
    .toSorted((a, b) => b.endedAt! - a.endedAt!)
    .map(({ task }) => task);
}

export function liveCount(store: MemoryHistoryStore, namespace: string): number {
  let live = 0;
  for (const { task } of store.tasks.values()) {
    if (task.namespace === namespace && !isFinal(task.status)) live += 1;
  }
  return live;
}

export function queuesAfter(
  store: MemoryHistoryStore,
  namespace: string | undefined,
  after: { namespace: string; name: string },
): QueueSettings[] {
  const order = (a: { namespace: string; name: string }, b: { namespace: string; name: string }) =>
    compare(a.namespace, b.namespace) || compare(a.name, b.name);
  return [...store.queues.values()]
    .filter((queue) => namespace === undefined || queue.namespace === namespace)
    .filter((queue) => order(queue, after) > 0)
    .toSorted(order);
}
