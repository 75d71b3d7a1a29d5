import type { Transition } from "../../broker/broker.js";
import { limits } from "../../limits.js";
import type { Attempt, QueueSettings, Task } from "../../task/task.js";
import type { InsertOutcome, RecordOutcome, ReviveOutcome } from "../history.js";
import {
  asRead,
  attemptMayChange,
  cancelled,
  decide,
  groupByTask,
  revived,
  claimsUnique,
  uniqueWindowMs,
  type Write,
} from "../rules.js";
import { defaultQueueSettings } from "../../task/validate.js";
import { barOf, watchAgain } from "./batches.js";
import { find, holderOf } from "./reads.js";
import {
  dropTask,
  keyOf,
  type MemoryHistoryStore,
  putTask,
  type StoredTask,
  uniqueKeyOf,
} from "./store.js";

export function insert(
  store: MemoryHistoryStore,
  tasks: readonly Task[],
  marker: string,
  now: number,
): { outcomes: InsertOutcome[]; marker: string | undefined } {
  const taskIds: string[] = [];
  const outcomes = tasks.map((task): InsertOutcome => {
    const known = store.tasks.has(task.id);
    const rival = !known && claimsUnique(task) ? uniqueRival(store, task, now) : undefined;
    const holder = task.idempotencyKey === "" ? task.id : keyHolder(store, task, now);
    if (holder !== task.id) return { kind: "key_taken", taskId: holder };
    const why = known ? undefined : barOf(store, task);
    if (why) return { kind: "barred", why };
    if (rival !== undefined) return { kind: "unique_taken", taskId: rival };
    if (task.idempotencyKey !== "") claimKey(store, task, now);
    if (known) return { kind: "known" };
    if (claimsUnique(task)) claimUnique(store, task, now);
    putTask(store, task, now);
    taskIds.push(task.id);
    return { kind: "inserted" };
  });
  if (taskIds.length > 0) store.markers.set(marker, { createdAt: now, taskIds });
  return { outcomes, marker: taskIds.length > 0 ? marker : undefined };
}

export function clearMarkers(store: MemoryHistoryStore, markers: readonly string[]): void {
  for (const marker of markers) store.markers.delete(marker);
}

/** Who holds its idempotency key, or could take it: itself. */
const keyHolder = (store: MemoryHistoryStore, task: Task, now: number): string =>
  holderOf(store, keyOf(task.namespace, task.queue, task.idempotencyKey), now) ?? task.id;

/** Another task that holds its unique key. */
function uniqueRival(store: MemoryHistoryStore, task: Task, now: number): string | undefined {
  const held = store.unique.get(uniqueKeyOf(task));
  const holds = held && held.taskId !== task.id && held.expiresAt > now;
  return holds ? held.taskId : undefined;
}

function claimUnique(store: MemoryHistoryStore, task: Task, now: number): void {
  const rule = task.terms!.unique!;
  const expiresAt = now + (uniqueWindowMs(rule) ?? Infinity);
  store.unique.set(uniqueKeyOf(task), { taskId: task.id, scope: rule.scope, expiresAt });
}

/** Takes the key if it is free; returns who holds it then. */
function claimKey(store: MemoryHistoryStore, task: Task, now: number): string {
  const key = keyOf(task.namespace, task.queue, task.idempotencyKey);
  const holder = holderOf(store, key, now);
  if (holder !== undefined) return holder;
  store.keys.set(key, { taskId: task.id, expiresAt: now + limits.idempotencyKeyMs });
  return task.id;
}

export function record(
  store: MemoryHistoryStore,
  transitions: readonly Transition[],
  now: number,
): RecordOutcome[] {
  const outcomes: RecordOutcome[] = [];
  for (const { id, places, transitions: group } of groupByTask(transitions)) {
    const row = store.tasks.get(id)?.task;
    const decision = decide(row, group);
    for (const [nth, place] of places.entries()) outcomes[place] = decision.outcomes[nth]!;
    if (decision.write) write(store, row, decision.write, now);
    if (decision.successor) succeed(store, id, decision.successor, now);
    for (const [nth, { attempt }] of group.entries()) {
      if (attempt && decision.outcomes[nth] !== "missing") keepAttempt(store, attempt);
    }
  }
  return outcomes;
}

/**
 * Under a commit marker of its own id. A unique key that has lapsed and is another's by now stays
 * there: the task stands all the same, as the one before it did.
 */
function succeed(store: MemoryHistoryStore, id: string, heir: Task, now: number): void {
  if (store.tasks.has(heir.id)) return;
  for (const [key, { taskId }] of store.unique) if (taskId === id) store.unique.delete(key);
  const rival = claimsUnique(heir) && uniqueRival(store, heir, now);
  if (claimsUnique(heir) && rival === undefined) claimUnique(store, heir, now);
  if (heir.idempotencyKey !== "") claimKey(store, heir, now);
  putTask(store, heir, now);
  store.markers.set(heir.id, { createdAt: now, taskIds: [heir.id] });
}

/** What was asked never changes: an update leaves it as it stands. */
function write(
  store: MemoryHistoryStore,
  row: Task | undefined,
  { task, payload }: Write,
  now: number,
): void {
  if (!row && task.idempotencyKey !== "") claimKey(store, task, now);
  const { namespace, queue } = row ?? task;
  putTask(store, { ...task, namespace, queue, payload: row ? row.payload : payload }, now);
}

function keepAttempt(store: MemoryHistoryStore, attempt: Attempt): void {
  const kept = store.attempts.get(attempt.taskId) ?? new Map<number, Attempt>();
  store.attempts.set(attempt.taskId, kept);
  if (attemptMayChange(kept.get(attempt.fencingToken), attempt)) {
    kept.set(attempt.fencingToken, attempt);
  }
}

export function cancelLive(
  store: MemoryHistoryStore,
  namespace: string,
  taskId: string,
  reason: string | undefined,
  now: number,
): Task | undefined {
  const row = find(store, namespace, taskId);
  if (!row || row.endedAt !== undefined) return undefined;
  const task = cancelled(row.task, now, reason);
  putTask(store, task, now);
  return task;
}

export function revive(
  store: MemoryHistoryStore,
  namespace: string,
  taskIds: readonly string[],
  marker: string,
  now: number,
): { outcomes: ReviveOutcome[]; marker: string | undefined } {
  const outcomes = taskIds.map((taskId): ReviveOutcome => {
    const row = find(store, namespace, taskId);
    if (!row) return { kind: "unknown" };
    if (row.endedAt === undefined) return { kind: "live", task: asRead(row.task, now) };
    if (row.task.status === "completed") return { kind: "completed", task: row.task };
    const task = revived(row.task);
    putTask(store, task, now);
    watchAgain(store, task);
    return { kind: "revived", task };
  });
  const begun = outcomes.flatMap((it) => (it.kind === "revived" ? [it.task.id] : []));
  if (begun.length === 0) return { outcomes, marker: undefined };
  store.markers.set(marker, { createdAt: now, taskIds: begun });
  return { outcomes, marker };
}

export function purge(
  store: MemoryHistoryStore,
  namespace: string,
  taskIds: readonly string[],
): number {
  const ended = new Set(
    taskIds.map((id) => find(store, namespace, id)).filter((row) => row?.endedAt !== undefined),
  );
  for (const row of ended) dropTask(store, row!);
  return ended.size;
}

export function putQueue(
  store: MemoryHistoryStore,
  settings: QueueSettings,
  ifVersion: number | undefined,
): QueueSettings | undefined {
  const key = keyOf(settings.namespace, settings.name);
  const version = store.queues.get(key)?.version ?? 0;
  if (ifVersion !== undefined && ifVersion !== version) return undefined;
  const written = { ...settings, version: version + 1 };
  store.queues.set(key, written);
  return written;
}

export function touchQueues(
  store: MemoryHistoryStore,
  names: readonly { namespace: string; name: string }[],
): void {
  for (const { namespace, name } of names) {
    const key = keyOf(namespace, name);
    if (!store.queues.has(key)) store.queues.set(key, defaultQueueSettings(namespace, name));
  }
}

export function raiseEpoch(store: MemoryHistoryStore, partition: number): number {
  const epoch = (store.epochs.get(partition) ?? 0) + 1;
  store.epochs.set(partition, epoch);
  return epoch;
}

export function prune(store: MemoryHistoryStore, limit: number, now: number): number {
  for (const [key, { expiresAt }] of store.keys) {
    if (expiresAt <= now) store.keys.delete(key);
  }
  for (const [marker, { createdAt, taskIds }] of store.markers) {
    const old = createdAt <= now - limits.commitMarkerKeepMs;
    const live = taskIds.some((id) => isLive(store.tasks.get(id)));
    if (old && !live) store.markers.delete(marker);
  }
  let gone = 0;
  for (const row of store.tasks.values()) {
    if (gone === limit) break;
    if (row.endedAt === undefined || row.endedAt + row.task.retentionMs > now) continue;
    dropTask(store, row);
    gone += 1;
  }
  return gone;
}

const isLive = (row: StoredTask | undefined): boolean =>
  row !== undefined && row.endedAt === undefined;
