import { limits } from "../../limits.js";
import { endOfWait, overdueCause } from "../../task/times.js";
import type { RecordedItem, SweepReply, Transition } from "../broker.js";
import { withStep } from "./cancel.js";
import type { Deadline } from "./record.js";
import type { Heap } from "./heap.js";
import type { Partition } from "./partition.js";
import { leaseOf, type TaskRecord } from "./record.js";
import { isFinal, type Task } from "../../task/task.js";

/** One maintenance step. It ends nothing itself: it offers what must end, and `settle` decides. */
export function sweep(partition: Partition): SweepReply {
  const now = partition.now();
  noteGap(partition, now);
  partition.tombstones.expire(now);
  partition.keys.expire(now);
  const ended = endOverdue(partition, now);
  const promoted = promoteDue(partition, now);
  for (const lane of partition.readyLanes) partition.wake(lane);
  const mayReap = now >= partition.noReapBefore;
  if (mayReap) partition.sessions.reap(now);
  const offer = (records: TaskRecord[]) => records.map((record) => leaseOf(record, now));
  const timeoutsUntil = now >= partition.noTimeoutBefore ? now : -Infinity;
  const nextDue = partition.delayed.peek();
  const nextEnd = partition.sessions.firstEnd;
  return {
    lost: mayReap ? offer(partition.sessions.endingLeases(false, limits.sweepBatch)) : [],
    left: offer(partition.sessions.endingLeases(true, limits.sweepBatch)),
    timedOut: due(partition.deadlines, timeoutsUntil).map((record) => {
      return { ...leaseOf(record, now), cause: overdueCause(record.task, now) };
    }),
    cancelOverdue: offer(due(partition.cancels, now)),
    ended,
    promoted,
    nextDueInMs: nextDue ? Math.max(0, nextDue.key - now) : undefined,
    nextEndInMs: nextEnd === undefined ? undefined : Math.max(0, nextEnd - now),
    outboxEntries: partition.outbox.size,
    oldestOutboxMs: partition.outbox.ageMs(now),
  };
}

/** After a pause nobody could renew, or report: nothing is held against them for a while. */
function noteGap(partition: Partition, now: number): void {
  const last = partition.lastSweepAt;
  partition.lastSweepAt = now;
  if (last !== undefined && now - last <= limits.sweepGapMs) return;
  partition.noReapBefore = now + limits.reapGraceMs;
  partition.noTimeoutBefore = now + limits.timeoutGraceMs;
}

function promoteDue(partition: Partition, now: number): number {
  let promoted = 0;
  while (promoted < limits.promoteBatch) {
    const first = partition.delayed.peek();
    if (!first || first.key > now) break;
    promote(partition, first);
    promoted += 1;
  }
  return promoted;
}

/** Held back while history is behind: nothing leases them meanwhile. */
function endOverdue(partition: Partition, now: number): Transition[] {
  const ended: Transition[] = [];
  while (!partition.outbox.full && ended.length < limits.sweepBatch) {
    const first = partition.waits.peek();
    if (!first || first.key > now) break;
    ended.push(endWaiting(partition, first.record, now));
  }
  return ended;
}

function endWaiting(partition: Partition, record: TaskRecord, now: number): Transition {
  const { task } = record;
  if (task.cancelRequestedAt !== undefined) {
    const cancellation = withStep(task.cancellation, "forcedAt", now);
    partition.move(record, "cancel", { readyAt: undefined, cancellation });
  } else {
    const { status, error } = endOfWait(task);
    const event = status === "expired" ? "expire" : "outlive";
    partition.move(record, event, { readyAt: undefined, error });
  }
  return partition.log(record, undefined);
}

export const promote = (partition: Partition, record: TaskRecord): void =>
  partition.move(record, "promote", {});

/** The first deadlines that have passed, found without walking those that have not. */
function due(deadlines: Heap<Deadline>, until: number): TaskRecord[] {
  const found: Deadline[] = [];
  for (let first = deadlines.peek(); first && first.key <= until; first = deadlines.peek()) {
    if (found.length >= limits.sweepBatch) break;
    found.push(first);
    deadlines.remove(first);
  }
  // They stand until `settle` ends them: a sweeper that dies between the two must not lose any.
  for (const deadline of found) deadlines.push(deadline);
  return found.map((deadline) => deadline.record);
}

export function promoteNow(partition: Partition, taskId: string): Task | undefined {
  const record = partition.records.get(taskId);
  const status = record?.task.status;
  if (!record || (status !== "scheduled" && status !== "retrying")) return undefined;
  partition.move(record, "promote", { readyAt: partition.now() });
  return record.task;
}

export function recorded(partition: Partition, item: RecordedItem): void {
  const removed = partition.outbox.remove(item.outboxId);
  const record = partition.records.get(item.taskId);
  if (!record) return;
  if (removed) record.unrecorded -= 1;
  if (isFinal(record.task.status) && item.version >= record.task.version) partition.bury(record);
}

/** Of a task that ended by the settling of a grant; see Broker.covered. */
export function fateOf(partition: Partition, taskId: string): "recorded" | "told" | undefined {
  const record = partition.records.get(taskId);
  if (record) return record.task.status === "completed" ? "told" : undefined;
  return partition.tombstoneOf(taskId)?.ended === undefined ? undefined : "recorded";
}
