import {
  type BatchCallback as WireCallback,
  type BatchCounts as WireCounts,
  BatchEvent as WireEvent,
} from "../../gen/drover/v1/task_pb.js";

/** Tasks of a batch by status, those that retention has removed among them. */
export interface BatchCounts {
  /** All that ever joined. */
  readonly total: number;
  readonly blocked: number;
  readonly scheduled: number;
  readonly pending: number;
  readonly running: number;
  readonly retrying: number;
  readonly completed: number;
  readonly failed: number;
  readonly cancelled: number;
  readonly expired: number;
}

/** Why a task was made: a batch called it. */
export interface BatchCallback {
  readonly batchId: string;
  readonly event: "complete" | "success" | "failure";
  /** The batch's tasks when it was called. */
  readonly counts: BatchCounts;
}

export function fromWireCounts(counts: WireCounts | undefined): BatchCounts {
  const count = (name: keyof BatchCounts): number => Number(counts?.[name] ?? 0n);
  return {
    total: count("total"),
    blocked: count("blocked"),
    scheduled: count("scheduled"),
    pending: count("pending"),
    running: count("running"),
    retrying: count("retrying"),
    completed: count("completed"),
    failed: count("failed"),
    cancelled: count("cancelled"),
    expired: count("expired"),
  };
}

export const fromWireCallback = (callback: WireCallback | undefined): BatchCallback | undefined =>
  callback && {
    batchId: callback.batchId,
    event: (WireEvent[callback.event] ?? "").toLowerCase() as BatchCallback["event"],
    counts: fromWireCounts(callback.counts),
  };
