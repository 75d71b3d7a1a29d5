import { decodeLeaseToken } from "../../task/ids.js";
import { isFinal, type Cancellation, type Task } from "../../task/task.js";
import type {
  CancelItem,
  CancelReply,
  DeliveredItem,
  ReplaceItem,
  ReplaceReply,
} from "../broker.js";
import type { Partition } from "./partition.js";

export function cancel(partition: Partition, item: CancelItem): CancelReply {
  const record = partition.records.get(item.taskId);
  const now = partition.now();
  if (!record) {
    plant(partition, item.taskId, item.run ?? 1);
    return { kind: "unknown" };
  }
  const { task } = record;
  if (task.namespace !== item.namespace) return { kind: "unknown" };
  if (isFinal(task.status)) return { kind: "final", task };
  const cancellation = { ...noSteps, reason: item.reason ?? "" };
  if (task.status !== "running") {
    const changes = { readyAt: undefined, cancelRequestedAt: now, cancellation };
    partition.move(record, "cancel", changes);
    return { kind: "cancelled", transition: partition.log(record, undefined) };
  }
  const first = task.cancelRequestedAt === undefined;
  const dueAt = now + item.graceMs;
  if (first) {
    record.task = { ...task, version: task.version + 1, cancelRequestedAt: now, cancellation };
  }
  if (first || dueAt < record.cancelDue.key) {
    partition.cancels.remove(record.cancelDue);
    record.cancelDue.key = dueAt;
    partition.cancels.push(record.cancelDue);
    partition.news("changed", task.id);
  }
  const transition = first ? partition.log(record, undefined) : undefined;
  const graceMs = Math.max(0, record.cancelDue.key - now);
  partition.hint({ kind: "cancel", sessionId: task.sessionId, taskId: task.id, graceMs });
  return { kind: "requested", task: record.task, transition };
}

/** B17. */
export function replace(partition: Partition, cold: boolean, item: ReplaceItem): ReplaceReply {
  const { successor, reason } = item;
  const record = partition.records.get(item.taskId);
  if (record?.task.namespace !== item.namespace) return { kind: "unknown" };
  const { status, startedAt, cancelRequestedAt } = record.task;
  if (isFinal(status) || (item.unstarted && startedAt !== undefined)) return { kind: "over" };
  if (cold) return { kind: "cold" };
  if (status === "running" || cancelRequestedAt !== undefined) return { kind: "held" };
  if (partition.outbox.full) return { kind: "outbox_full" };
  const cancellation = { ...noSteps, reason };
  const cancelRequestedNow = { cancelRequestedAt: partition.now(), cancellation };
  partition.move(record, "cancel", { readyAt: undefined, ...cancelRequestedNow });
  return { kind: "replaced", transition: partition.log(record, undefined, successor) };
}

const noSteps: Cancellation = Object.freeze({
  reason: "",
  deliveredAt: undefined,
  acknowledgedAt: undefined,
  forcedAt: undefined,
});

/** The proof with the time of a step, the first time it is taken. */
export const withStep = (
  proof: Cancellation | undefined,
  step: "deliveredAt" | "acknowledgedAt" | "forcedAt",
  now: number,
): Cancellation => ({ ...noSteps, ...proof, [step]: proof?.[step] ?? now });

/** The request to stop went out on the stream of the session that runs the task. */
export function delivered(partition: Partition | undefined, item: DeliveredItem): void {
  const taskId = decodeLeaseToken(item.token)?.taskId;
  const record = taskId === undefined ? undefined : partition?.records.get(taskId);
  if (!partition || !record || !partition.holdsToken(record, item.token)) return;
  const { task } = record;
  const runs = task.status === "running" && task.sessionId === item.sessionId;
  if (!runs || task.cancelRequestedAt === undefined) return;
  const cancellation = withStep(task.cancellation, "deliveredAt", partition.now());
  record.task = { ...task, cancellation };
  partition.news("changed", task.id);
}

/**
 * Takes out what history knows to have ended; what the store itself ended, or a later run, stays.
 */
export function bury(partition: Partition, task: Task): void {
  const record = partition.records.get(task.id);
  if (record && (record.task.run > task.run || isFinal(record.task.status))) return;
  if (record) partition.forget(record);
  plant(partition, task.id, task.run);
}

function plant(partition: Partition, taskId: string, run: number): void {
  const known = partition.tombstoneOf(taskId);
  if (known && known.run >= run) return;
  const planted = { run, token: undefined, ended: undefined, sessionId: "" };
  partition.tombstones.set(taskId, planted, partition.now());
}
