import { create } from "@bufbuild/protobuf";
import {
  type Batch as WireBatch,
  BatchSchema,
  BatchStatus as WireStatus,
} from "../../gen/drover/v1/batch_pb.js";
import { fromWireCounts } from "../transport/batch.js";
import { timestampDate } from "../transport/times.js";
import type { Batch, BatchStatus, NewBatch } from "./batch.js";
import { present } from "./convert.js";
import { fromWireTemplate, toWireTemplate } from "./convert-schedule.js";

export const toWireBatch = (wanted: NewBatch): WireBatch =>
  create(
    BatchSchema,
    present({
      description: wanted.description,
      onComplete: wanted.onComplete && toWireTemplate(wanted.onComplete),
      onSuccess: wanted.onSuccess && toWireTemplate(wanted.onSuccess),
      onFailure: wanted.onFailure && toWireTemplate(wanted.onFailure),
      failureThreshold: wanted.failureThreshold,
    }),
  );

export function fromWireBatch(batch: WireBatch = create(BatchSchema)): Batch {
  const { onComplete, onSuccess, onFailure, counts } = batch;
  const { createdAt, closedAt, completedAt, cancelRequestedAt } = batch;
  return {
    id: batch.id,
    description: batch.description,
    status: (WireStatus[batch.status] ?? "unspecified").toLowerCase() as BatchStatus,
    counts: counts && fromWireCounts(counts),
    onComplete: onComplete && fromWireTemplate(onComplete),
    onSuccess: onSuccess && fromWireTemplate(onSuccess),
    onFailure: onFailure && fromWireTemplate(onFailure),
    failureThreshold: batch.failureThreshold,
    createdAt: createdAt && timestampDate(createdAt),
    closedAt: closedAt && timestampDate(closedAt),
    completedAt: completedAt && timestampDate(completedAt),
    cancelRequestedAt: cancelRequestedAt && timestampDate(cancelRequestedAt),
    cancelReason: batch.cancelReason,
    completeTaskId: batch.completeTaskId || undefined,
    successTaskId: batch.successTaskId || undefined,
    failureTaskId: batch.failureTaskId || undefined,
  };
}
