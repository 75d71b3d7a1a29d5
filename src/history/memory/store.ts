import type { LogEntry } from "../../task/log.js";
import { countTask, type StoredBatch } from "./batch-counts.js";
import type { StoredSchedule } from "./schedules.js";
import {
  type Attempt,
  isFinal,
  type QueueSettings,
  type Task,
  type UniqueScope,
} from "../../task/task.js";

export interface StoredTask {
  task: Task;
  /** When this run's end was written; undefined while it lives. */
  endedAt: number | undefined;
}

/**
 * What a memory history keeps. Several histories may share one, as coordinators share a database.
 */
export interface MemoryHistoryStore {
  readonly tasks: Map<string, StoredTask>;
  /** Ids of all tasks, smallest first. */
  readonly ids: string[];
  /** By task id, then by fencing token. */
  readonly attempts: Map<string, Map<number, Attempt>>;
  /** By task id, in the order of their places. */
  readonly logs: Map<string, LogEntry[]>;
  readonly keys: Map<string, { taskId: string; expiresAt: number }>;
  /** Holder, scope, and when a key ends that is taken for a time. */
  readonly unique: Map<string, { taskId: string; scope: UniqueScope; expiresAt: number }>;
  readonly markers: Map<string, { createdAt: number; taskIds: string[] }>;
  readonly queues: Map<string, QueueSettings>;
  /** By namespace and name. */
  readonly schedules: Map<string, StoredSchedule>;
  /** Ids of the live tasks of each schedule, by namespace and name. */
  readonly scheduled: Map<string, Set<string>>;
  readonly batches: Map<string, StoredBatch>;
  readonly epochs: Map<number, number>;
  readonly held: Set<string>;
  /** By namespace, queue and status. */
  readonly ended: Map<string, number>;
  partitions: number | undefined;
}

export const createMemoryHistoryStore = (): MemoryHistoryStore => ({
  tasks: new Map(),
  ids: [],
  attempts: new Map(),
  logs: new Map(),
  keys: new Map(),
  unique: new Map(),
  markers: new Map(),
  queues: new Map(),
  schedules: new Map(),
  scheduled: new Map(),
  batches: new Map(),
  epochs: new Map(),
  held: new Set(),
  ended: new Map(),
  partitions: undefined,
});

/** One key of several words; none of them can run into the next. */
export const keyOf = (...words: readonly string[]): string => JSON.stringify(words);

/** The place of the first id that is not below this one. */
export function placeOf(ids: readonly string[], id: string): number {
  let low = 0;
  let high = ids.length;
  // Ids rise with time, so a new one is nearly always the last.
  if (high > 0 && ids[high - 1]! < id) return high;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ids[middle]! < id) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Writes a row, with the counts that go with it. */
export function putTask(store: MemoryHistoryStore, task: Task, now: number): void {
  const before = store.tasks.get(task.id);
  if (!before) store.ids.splice(placeOf(store.ids, task.id), 0, task.id);
  else count(store, before.task, -1);
  count(store, task, 1);
  store.tasks.set(task.id, { task, endedAt: isFinal(task.status) ? now : undefined });
  noteSchedule(store, task);
  countTask(store.batches, before?.task, task);
  if (task.terms?.unique) releaseUnique(store, task);
}

export const uniqueKeyOf = ({ namespace, queue, terms }: Task): string =>
  keyOf(namespace, queue, terms!.unique!.key);

/** With the row that shows the start or the end of its holder. */
function releaseUnique({ unique }: MemoryHistoryStore, task: Task): void {
  const key = uniqueKeyOf(task);
  const held = unique.get(key);
  if (held?.taskId !== task.id || held.scope === "for_time") return;
  const started = held.scope === "until_started" && task.startedAt !== undefined;
  if (started || isFinal(task.status)) unique.delete(key);
}

function noteSchedule({ scheduled }: MemoryHistoryStore, task: Task): void {
  if (task.terms?.schedule === undefined) return;
  const key = keyOf(task.namespace, task.terms.schedule);
  const live = scheduled.get(key) ?? new Set();
  if (isFinal(task.status)) live.delete(task.id);
  else live.add(task.id);
  if (live.size > 0) scheduled.set(key, live);
  else scheduled.delete(key);
}

/** Removes a row with its attempts and its key. */
export function dropTask(store: MemoryHistoryStore, { task }: StoredTask): void {
  store.tasks.delete(task.id);
  store.ids.splice(placeOf(store.ids, task.id), 1);
  store.attempts.delete(task.id);
  store.logs.delete(task.id);
  count(store, task, -1);
  countTask(store.batches, task, undefined);
  const key = keyOf(task.namespace, task.queue, task.idempotencyKey);
  if (store.keys.get(key)?.taskId === task.id) store.keys.delete(key);
}

function count(store: MemoryHistoryStore, task: Task, by: 1 | -1): void {
  if (!isFinal(task.status)) return;
  const key = keyOf(task.namespace, task.queue, task.status);
  store.ended.set(key, (store.ended.get(key) ?? 0) + by);
}
