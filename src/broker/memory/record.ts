import { limits } from "../../limits.js";
import type { AttemptOutcome, Task } from "../../task/task.js";
import { runEnd } from "../../task/times.js";
import type { Lease, Settlement } from "../broker.js";
import type { HeapNode } from "./heap.js";
import type { LaneState } from "./lanes.js";

/**
 * A task as the store holds it. As a heap node it stands where it waits: in its flow (key: its
 * place in the order) or among the delayed ones (key: its time).
 */
export interface TaskRecord extends HeapNode {
  task: Task;
  /** Place in the order of enqueues; kept for life. */
  readonly order: number;
  readonly lane: LaneState;
  /** Of the last grant; undefined before the first, and for what history restored. */
  token: Uint8Array | undefined;
  /** How that grant ended; undefined while it runs. */
  ended: AttemptOutcome | undefined;
  /**
   * A task that history restored goes to whoever holds a grant with at least this number;
   * undefined: to nobody.
   */
  readonly adoptFrom: number | undefined;
  quarantined: boolean;
  /** Outbox entries of it that history has not confirmed. */
  unrecorded: number;
  readonly deadline: Deadline;
  /** Stands among the waits that must end, while it waits and has to. */
  readonly waitDue: Deadline;
  readonly cancelDue: Deadline;
}

export interface Deadline extends HeapNode {
  readonly record: TaskRecord;
}

export function createRecord(
  task: Task,
  order: number,
  lane: LaneState,
  adoptFrom: number | undefined,
): TaskRecord {
  const record = {
    task,
    order,
    lane,
    token: undefined,
    ended: undefined,
    adoptFrom,
    quarantined: task.leaseLosses >= limits.leaseLossesMax - 1,
    unrecorded: 0,
    key: order,
    tie: order,
    heapAt: -1,
  } as Omit<TaskRecord, "deadline" | "waitDue" | "cancelDue"> as TaskRecord;
  return Object.assign(record, {
    deadline: { record, key: 0, tie: order, heapAt: -1 },
    waitDue: { record, key: 0, tie: order, heapAt: -1 },
    cancelDue: { record, key: 0, tie: order, heapAt: -1 },
  });
}

export const sameBytes = (one: Uint8Array | undefined, other: Uint8Array | undefined): boolean =>
  one !== undefined && other !== undefined && Buffer.compare(one, other) === 0;

export function leaseOf(record: TaskRecord, now: number): Lease {
  const { task, token } = record;
  const timeoutMs = Math.max(0, runEnd(task, now) - now);
  return { token: token!, sessionId: task.sessionId, task, timeoutMs };
}

export function outcomeOf(settlement: Settlement): AttemptOutcome {
  switch (settlement.kind) {
    case "complete":
      return "completed";
    case "fail":
      return settlement.cause === "timeout" ? "timeout" : "failed";
    case "release":
      return "released";
    case "cancel":
      return "cancelled";
    case "lose":
      return "lost";
  }
}
