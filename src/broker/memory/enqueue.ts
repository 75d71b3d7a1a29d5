import { limits } from "../../limits.js";
import { isFinal, type Task } from "../../task/task.js";
import { firstStatus } from "../../task/status.js";
import type { EnqueueItem, EnqueueOutcome, LeaseRequest } from "../broker.js";
import { laneKeyOf, queueKeyOf, type LaneState } from "./lanes.js";
import type { Partition } from "./partition.js";
import type { TaskRecord } from "./record.js";

/** All checks come before the first change. */
export function enqueue(partition: Partition, item: EnqueueItem): EnqueueOutcome {
  const { task } = item;
  const now = partition.now();
  if (isTooOld(item, now)) return { kind: "too_old" };
  const known = partition.records.get(task.id);
  if (isKnown(partition, item, known)) return { kind: "known" };
  const relaxedSubmit = item.origin === "submit" && task.durability === "relaxed";
  if (relaxedSubmit && partition.outbox.full) return { kind: "outbox_full" };
  const key = keyOf(item);
  const holder = key === undefined ? undefined : partition.keys.get(key, now);
  if (holder !== undefined && holder !== task.id) return { kind: "key_taken", taskId: holder };
  const lane = partition.lane(task);
  if (!lane) return { kind: "too_many_lanes" };

  if (known) partition.forget(known);
  partition.tombstones.delete(task.id);
  if (key !== undefined) partition.keys.set(key, task.id, now);
  const record = partition.admit(waiting(task, now), lane, adoptFrom(item));
  const outboxId = relaxedSubmit ? partition.log(record, undefined).outboxId : undefined;
  if (item.origin === "restore") partition.news("changed", task.id);
  return { kind: "enqueued", outboxId, outboxPlace: 0 };
}

/**
 * Lanes of the request whose whole work came in by this call: eager dispatch never overtakes what
 * waited before.
 */
export function eagerLanes(
  partition: Partition,
  items: readonly EnqueueItem[],
  outcomes: readonly EnqueueOutcome[],
  request: LeaseRequest,
): LaneState[] {
  const wanted = new Set(request.lanes.map(laneKeyOf));
  const fresh = new Map<LaneState, number>();
  for (const [index, { task }] of items.entries()) {
    if (outcomes[index]!.kind !== "enqueued") continue;
    const record = partition.records.get(task.id);
    if (!record || record.task.status !== "pending" || !wanted.has(record.lane.key)) continue;
    fresh.set(record.lane, (fresh.get(record.lane) ?? 0) + 1);
  }
  return [...fresh].filter(([lane, count]) => lane.ready === count).map(([lane]) => lane);
}

function isTooOld(item: EnqueueItem, now: number): boolean {
  if (item.origin !== "restore" || item.asOf === undefined) return false;
  return item.asOf < now - limits.restoreStaleMs;
}

function isKnown(partition: Partition, item: EnqueueItem, known: TaskRecord | undefined): boolean {
  if (known) return known.task.run >= item.task.run || !isFinal(known.task.status);
  const tombstone = partition.tombstoneOf(item.task.id);
  return tombstone !== undefined && tombstone.run >= item.task.run;
}

function keyOf({ task, claimKey }: EnqueueItem): string | undefined {
  if (!claimKey || task.idempotencyKey === "") return undefined;
  return `${queueKeyOf(task.namespace, task.queue)}\0${task.idempotencyKey}`;
}

/**
 * The store may have forgotten grants of what history restores: a later one than history knows is
 * believed, the last known only if history saw it running. A submit was never granted, so whoever
 * claims it lies.
 */
function adoptFrom({ origin, task }: EnqueueItem): number | undefined {
  if (origin === "submit") return undefined;
  return task.status === "running" ? task.fencingToken : task.fencingToken + 1;
}

/** History may show it running or ended a wait: here it waits, for its time or for a worker. */
function waiting(task: Task, now: number): Task {
  const readyAt = task.readyAt ?? task.runAt;
  const status = firstStatus(readyAt, now);
  if (status === "pending") return { ...task, status };
  return { ...task, readyAt, status: task.status === "retrying" ? "retrying" : status };
}
