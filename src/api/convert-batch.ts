import {
  BatchStatus as WireStatus,
  type Batch as WireBatch,
} from "../../gen/drover/v1/batch_pb.js";
import type { BatchView } from "../coordinator/batches.js";
import { DroverError } from "../errors.js";
import {
  batchEvents,
  type BatchEvent,
  type BatchSpec,
  type BatchStatus,
  statusOf,
} from "../task/batch/batch.js";
import { withinCallback } from "../task/batch/validate.js";
import type { TaskDraft } from "../task/draft.js";
import { refuse } from "../task/rules.js";
import type { Opaque, OpaqueInit } from "./contract.js";
import { toWireCounts } from "./convert-counts.js";
import { toTemplateDraft, toWireTemplate } from "./convert-template.js";
import { toTimestamp, toTimestampIf } from "./convert-time.js";

/** Batches between the wire and the vocabulary. */

const wireStatus: Readonly<Record<BatchStatus, WireStatus>> = {
  open: WireStatus.OPEN,
  closed: WireStatus.CLOSED,
  completed: WireStatus.COMPLETED,
};

const outputOnly: readonly [keyof Opaque<WireBatch>, string][] = [
  ["id", "id"],
  ["status", "status"],
  ["counts", "counts"],
  ["createdAt", "created_at"],
  ["closedAt", "closed_at"],
  ["completedAt", "completed_at"],
  ["cancelRequestedAt", "cancel_requested_at"],
  ["cancelReason", "cancel_reason"],
  ["completeTaskId", "complete_task_id"],
  ["successTaskId", "success_task_id"],
  ["failureTaskId", "failure_task_id"],
];

/** Throws what the wire alone can get wrong. */
export function toBatchSpec(batch: Opaque<WireBatch> | undefined): BatchSpec {
  if (!batch) return refuse("batch", "a batch, which may be empty", undefined);
  refuseOutputOnly(batch);
  if (batch.failureThreshold !== undefined && !batch.onFailure) {
    refuse("batch.failure_threshold", "on_failure beside it", "none");
  }
  const templates = {
    complete: batch.onComplete,
    success: batch.onSuccess,
    failure: batch.onFailure,
  };
  const callbacks: Partial<Record<BatchEvent, TaskDraft>> = {};
  for (const event of batchEvents) {
    const template = templates[event];
    if (template) callbacks[event] = withinCallback(event, () => toTemplateDraft(template));
  }
  const { description, failureThreshold = 1 } = batch;
  return { description, callbacks, failureThreshold };
}

function refuseOutputOnly(batch: Opaque<WireBatch>): void {
  const given = outputOnly.find(([key]) => {
    const value = batch[key];
    return value !== undefined && value !== "" && value !== 0;
  });
  if (!given) return;
  const field = `batch.${given[1]}`;
  throw new DroverError("output_only_field", `${field} is set by Drover`, { field });
}

export function toWireBatch(batch: BatchView): OpaqueInit<WireBatch> {
  const { callbacks, called, cancelled } = batch;
  return {
    id: batch.id,
    description: batch.description,
    onComplete: callbacks.complete && toWireTemplate(callbacks.complete),
    onSuccess: callbacks.success && toWireTemplate(callbacks.success),
    onFailure: callbacks.failure && toWireTemplate(callbacks.failure),
    failureThreshold: callbacks.failure && batch.failureThreshold,
    status: wireStatus[statusOf(batch)],
    counts: batch.counts && toWireCounts(batch.counts),
    createdAt: toTimestamp(batch.createdAt),
    closedAt: toTimestampIf(batch.closedAt),
    completedAt: toTimestampIf(batch.completedAt),
    cancelRequestedAt: toTimestampIf(cancelled?.requestedAt),
    cancelReason: cancelled?.reason,
    completeTaskId: called.complete?.taskId,
    successTaskId: called.success?.taskId,
    failureTaskId: called.failure?.taskId,
  };
}
