import { isFinal, type Task } from "../../task/task.js";
import type { CancelItem, CancelReply } from "../broker.js";
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
  if (task.status !== "running") {
    partition.move(record, "cancel", { readyAt: undefined });
    return { kind: "cancelled", transition: partition.log(record, undefined) };
  }
  if (task.cancelRequestedAt === undefined) {
    record.task = { ...task, cancelRequestedAt: now };
    record.cancelDue.key = now + item.graceMs;
    partition.cancels.push(record.cancelDue);
    partition.news("changed", task.id);
  }
  partition.hint({ kind: "cancel", sessionId: task.sessionId, taskId: task.id });
  return { kind: "requested", task: record.task };
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
