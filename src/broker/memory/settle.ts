import { limits } from "../../limits.js";
import { attemptOf } from "../../task/attempt.js";
import { decodeLeaseToken } from "../../task/ids.js";
import { next, type StatusEvent } from "../../task/status.js";
import { isFinal, type AttemptOutcome, type Task, type TaskError } from "../../task/task.js";
import type { CheckpointItem, ProgressItem, Settlement, SettleReply } from "../broker.js";
import { isPastDeadline } from "../../task/times.js";
import { withStep } from "./cancel.js";
import type { Partition } from "./partition.js";
import { outcomeOf, type TaskRecord } from "./record.js";

const stale: SettleReply = { verdict: "stale", transition: undefined, recorded: false };

/** The only way out of RUNNING: B5. */
export function settle(partition: Partition | undefined, settlement: Settlement): SettleReply {
  const taskId = decodeLeaseToken(settlement.token)?.taskId;
  if (!partition || taskId === undefined) return stale;
  const record = partition.records.get(taskId);
  if (!record) return settleEnded(partition, taskId, settlement);
  if (!partition.holdsToken(record, settlement.token)) return stale;
  if (!isOf(record.task.sessionId, settlement)) return stale;
  if (record.task.status === "running") return settleRunning(partition, record, settlement);
  if (isLateSuccess(record, settlement)) {
    return accept(partition, record, settlement, "completeLate", {
      result: settlement.result,
      releases: 0,
    });
  }
  if (record.ended !== outcomeOf(settlement)) return stale;
  return { verdict: "duplicate", transition: undefined, recorded: record.unrecorded === 0 };
}

const isOf = (sessionId: string, settlement: Settlement): boolean =>
  settlement.sessionId === undefined || settlement.sessionId === sessionId;

function isLateSuccess(
  record: TaskRecord,
  settlement: Settlement,
): settlement is Settlement & { kind: "complete" } {
  if (settlement.kind !== "complete" || record.ended !== "lost") return false;
  return next(record.task.status, "completeLate") !== undefined;
}

function settleEnded(partition: Partition, taskId: string, settlement: Settlement): SettleReply {
  const tombstone = partition.tombstoneOf(taskId);
  if (!tombstone?.token || Buffer.compare(tombstone.token, settlement.token) !== 0) return stale;
  if (!isOf(tombstone.sessionId, settlement)) return stale;
  if (tombstone.ended !== outcomeOf(settlement)) return stale;
  return { verdict: "duplicate", transition: undefined, recorded: true };
}

function settleRunning(
  partition: Partition,
  record: TaskRecord,
  settlement: Settlement,
): SettleReply {
  if (settlement.kind === "lose") {
    const session = partition.sessions.get(record.task.sessionId);
    if (partition.sessions.isLive(session, partition.now())) return stale;
  }
  const [event, changes] = ending(record.task, settlement, partition.now());
  const to = next(record.task.status, event)!;
  // Whoever asked for the cancel was told that it stands: no further attempt may start.
  if (record.task.cancelRequestedAt !== undefined && !isFinal(to)) {
    return accept(partition, record, settlement, "cancel", { ...changes, readyAt: undefined });
  }
  return accept(partition, record, settlement, event, changes);
}

function ending(
  task: Task,
  settlement: Settlement,
  now: number,
): [event: StatusEvent, changes: Partial<Task>] {
  switch (settlement.kind) {
    case "complete":
      return ["complete", { result: settlement.result, releases: 0, checkpoint: undefined }];
    case "cancel":
      return ["cancel", { releases: 0 }];
    case "fail": {
      const { error, retryInMs } = settlement;
      // A retry that could only begin when the task must have ended is none.
      const late = retryInMs === undefined || isLate(task, now + retryInMs);
      if (late) return ["fail", { error, releases: 0 }];
      const retryCount = task.retryCount + 1;
      return ["retry", { error, retryCount, releases: 0, readyAt: now + retryInMs }];
    }
    case "release": {
      const { unsent = false } = settlement;
      const releases = task.releases + (unsent ? 0 : 1);
      if (unsent || settlement.delayMs <= 0) return ["release", { releases, readyAt: now }];
      return ["releaseLater", { releases, readyAt: now + settlement.delayMs }];
    }
    case "lose": {
      const leaseLosses = task.leaseLosses + 1;
      const charged = { leaseLosses, releases: 0 };
      if (settlement.then === "poison")
        return ["poison", { ...charged, error: poison(leaseLosses) }];
      if (settlement.then === "pending") return ["lose", { ...charged, readyAt: now }];
      return ["loseLater", { ...charged, readyAt: now + settlement.delayMs }];
    }
  }
}

const isLate = (task: Task, at: number): boolean =>
  task.cancelRequestedAt === undefined && isPastDeadline(task, at);

function accept(
  partition: Partition,
  record: TaskRecord,
  settlement: Settlement,
  event: StatusEvent,
  changes: Partial<Task>,
): SettleReply {
  const before = record.task;
  const outcome: AttemptOutcome = outcomeOf(settlement);
  const error = settlement.kind === "fail" ? settlement.error : undefined;
  record.ended = outcome;
  if (settlement.kind === "lose" && settlement.then === "quarantine") record.quarantined = true;
  partition.move(record, event, { ...changes, ...proofOf(before, settlement, partition.now()) });
  const attempt = attemptOf(before, partition.now(), outcome, error);
  return { verdict: "accepted", transition: partition.log(record, attempt), recorded: false };
}

/** Of a cancel that was asked for: whoever ends the lease answers it, or forces it. */
function proofOf(task: Task, { sessionId }: Settlement, now: number): Partial<Task> {
  if (task.status !== "running" || task.cancelRequestedAt === undefined) return {};
  const step = sessionId === undefined ? "forcedAt" : "acknowledgedAt";
  return { cancellation: withStep(task.cancellation, step, now) };
}

const poison = (losses: number): TaskError => ({
  code: "poison",
  message: `${losses} workers died while they ran it; ${limits.leaseLossesMax} end a task`,
  retryable: false,
});

/** The record that runs under this token for this session. */
function running(
  partition: Partition | undefined,
  item: { readonly token: Uint8Array; readonly sessionId: string },
): TaskRecord | undefined {
  const taskId = decodeLeaseToken(item.token)?.taskId;
  const record = taskId === undefined ? undefined : partition?.records.get(taskId);
  if (record?.task.status !== "running" || record.task.sessionId !== item.sessionId)
    return undefined;
  return partition!.holdsToken(record, item.token) ? record : undefined;
}

export function progress(partition: Partition | undefined, item: ProgressItem): void {
  const record = running(partition, item);
  if (!record || !partition) return;
  partition.heard(record);
  if (!item.progress) return;
  record.task = { ...record.task, progress: item.progress };
  partition.news("changed", record.task.id);
}

export function checkpoint(partition: Partition | undefined, item: CheckpointItem): boolean {
  const record = running(partition, item);
  if (!record || !partition) return false;
  record.task = { ...record.task, checkpoint: item.checkpoint };
  partition.heard(record);
  return true;
}
