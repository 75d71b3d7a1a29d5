import type { TaskDraft } from "../draft.js";
import { type BatchEvent, isFinal, type Status } from "../task.js";

export type { BatchEvent } from "../task.js";

/**
 * The vocabulary of batches: tasks that are told of together, and the tasks that follow from what
 * becomes of them. All times are milliseconds since 1970.
 */

/** What callbacks are called at. */
export const batchEvents: readonly BatchEvent[] = ["complete", "success", "failure"];

/** What is asked. Never changes. */
export interface BatchSpec {
  /** For people. */
  readonly description: string;
  /** The task to be made at each event. */
  readonly callbacks: Readonly<Partial<Record<BatchEvent, TaskDraft>>>;
  /** `failure` is once so many tasks have FAILED or EXPIRED. */
  readonly failureThreshold: number;
}

/** A callback that was called, once and for all. */
export interface BatchCall {
  readonly taskId: string;
  readonly at: number;
}

export interface Batch extends BatchSpec {
  readonly id: string;
  readonly namespace: string;
  readonly createdAt: number;
  /** From then on no task joins. */
  readonly closedAt: number | undefined;
  /** When it was first seen that it is closed and all its tasks have ended. */
  readonly completedAt: number | undefined;
  readonly cancelled: BatchCancel | undefined;
  readonly called: Readonly<Partial<Record<BatchEvent, BatchCall>>>;
}

export interface BatchCancel {
  readonly requestedAt: number;
  readonly reason: string;
  readonly graceMs: number;
}

/** `open`: tasks may join. `closed`: none may, and some have not ended. `completed`: all ended. */
export type BatchStatus = "open" | "closed" | "completed";

export function statusOf({ closedAt, completedAt }: Batch): BatchStatus {
  if (completedAt !== undefined) return "completed";
  return closedAt === undefined ? "open" : "closed";
}

/** Its tasks by status, those among them that retention has removed. */
export type BatchCounts = Readonly<Partial<Record<Status, number>>>;

export function addCount(
  counts: Partial<Record<Status, number>>,
  status: Status,
  by: number,
): void {
  if (by !== 0) counts[status] = (counts[status] ?? 0) + by;
}

/** What decides which callbacks are due: never more is read than that takes. */
export interface BatchFacts {
  /** Some task has not ended. */
  readonly live: boolean;
  /** Some task ended otherwise than COMPLETED. */
  readonly unsuccessful: boolean;
  /** Tasks that FAILED or EXPIRED; counted up to the threshold, and only until that was told. */
  readonly failures: number;
}

/** The facts that counts tell. */
export function factsOf(counts: BatchCounts): BatchFacts {
  const of = (wanted: (status: Status) => boolean): number =>
    Object.entries(counts).reduce(
      (sum, [status, n]) => sum + (wanted(status as Status) ? n : 0),
      0,
    );
  return {
    live: of((status) => !isFinal(status)) > 0,
    unsuccessful: of((status) => isFinal(status) && status !== "completed") > 0,
    failures: of((status) => status === "failed" || status === "expired"),
  };
}

/** All that ever joined it has ended, and nothing joins any more. */
export const isOver = ({ closedAt }: Pick<Batch, "closedAt">, { live }: BatchFacts): boolean =>
  closedAt !== undefined && !live;

/** The events that have come, of which there is a callback that was not called yet. */
export function dueEvents(batch: Batch, facts: BatchFacts): BatchEvent[] {
  const over = isOver(batch, facts);
  const come: Readonly<Record<BatchEvent, boolean>> = {
    complete: over,
    success: over && !facts.unsuccessful && batch.cancelled === undefined,
    failure: facts.failures >= batch.failureThreshold,
  };
  return batchEvents.filter(
    (event) => come[event] && batch.callbacks[event] && !batch.called[event],
  );
}
