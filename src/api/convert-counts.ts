import {
  BatchEvent as WireEvent,
  type BatchCallback as WireCallback,
  type BatchCounts as WireCounts,
} from "../../gen/drover/v1/task_pb.js";
import { allStatuses, type BatchCallback, type BatchEvent } from "../task/task.js";
import type { OpaqueInit } from "./contract.js";

/** What a callback knows of its batch, in its wire form. */

const wireEvent: Readonly<Record<BatchEvent, WireEvent>> = {
  complete: WireEvent.COMPLETE,
  success: WireEvent.SUCCESS,
  failure: WireEvent.FAILURE,
};

export function toWireCounts(counts: BatchCallback["counts"]): OpaqueInit<WireCounts> {
  const total = allStatuses.reduce((sum, status) => sum + (counts[status] ?? 0), 0);
  const wire: OpaqueInit<WireCounts> = { total: BigInt(total) };
  for (const status of allStatuses) wire[status] = BigInt(counts[status] ?? 0);
  return wire;
}

export const toWireCallback = (callback: BatchCallback): OpaqueInit<WireCallback> => ({
  batchId: callback.batchId,
  event: wireEvent[callback.event],
  counts: toWireCounts(callback.counts),
});
