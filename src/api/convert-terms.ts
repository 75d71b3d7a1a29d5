import {
  Backoff as WireBackoff,
  UniqueConflict as WireConflict,
  UniqueScope as WireScope,
  type Task as WireTask,
} from "../../gen/drover/v1/task_pb.js";
import { refuse } from "../task/rules.js";
import type {
  Backoff,
  Task,
  TaskTerms,
  UniqueConflict,
  UniqueRule,
  UniqueScope,
} from "../task/task.js";
import type { Opaque, OpaqueInit } from "./contract.js";
import { toWireCallback } from "./convert-counts.js";
import { durationMsIf, timestampMs, toDuration, toTimestampIf } from "./convert-time.js";

/** What few tasks have, between the wire and the vocabulary. */

const wireBackoff: Readonly<Record<Backoff, WireBackoff>> = {
  exponential: WireBackoff.EXPONENTIAL,
  linear: WireBackoff.LINEAR,
  fixed: WireBackoff.FIXED,
};
const wireScope: Readonly<Record<UniqueScope, WireScope>> = {
  until_final: WireScope.UNTIL_FINAL,
  until_started: WireScope.UNTIL_STARTED,
  for_time: WireScope.FOR_TIME,
};
const wireConflict: Readonly<Record<UniqueConflict, WireConflict>> = {
  return_existing: WireConflict.RETURN_EXISTING,
  reject: WireConflict.REJECT,
  replace: WireConflict.REPLACE,
  debounce: WireConflict.DEBOUNCE,
};

/** Unspecified is `otherwise`; a number the contract does not know is refused. */
function wordOf<W extends string, D>(
  words: Readonly<Record<W, number>>,
  wire: number,
  field: string,
  otherwise: D,
): W | D {
  if (wire === 0) return otherwise;
  for (const word in words) if (words[word] === wire) return word;
  return refuse(field, "a value of the contract", wire);
}

export const toBackoff = (wire: WireBackoff, field: string): Backoff | undefined =>
  wordOf(wireBackoff, wire, field, undefined);

export const toWireBackoff = (backoff: Backoff): WireBackoff => wireBackoff[backoff];

/** Undefined for the many tasks that have none. */
export function toTerms(task: Opaque<WireTask>): TaskTerms | undefined {
  const plain =
    task.uniqueKey === "" &&
    task.unique === undefined &&
    task.expireAt === undefined &&
    task.heartbeatTimeout === undefined &&
    task.deadline === undefined &&
    task.batchId === "";
  if (plain) return undefined;
  return {
    unique: toUnique(task),
    expireAt: task.expireAt && timestampMs(task.expireAt, "task.expire_at"),
    heartbeatTimeoutMs: durationMsIf(task.heartbeatTimeout, "task.heartbeat_timeout"),
    deadline: task.deadline && timestampMs(task.deadline, "task.deadline"),
    batchId: task.batchId === "" ? undefined : task.batchId.toLowerCase(),
  };
}

function toUnique({ uniqueKey, unique }: Opaque<WireTask>): UniqueRule | undefined {
  if (uniqueKey === "") {
    if (unique !== undefined) refuse("task.unique", "a unique_key beside it", "none");
    return undefined;
  }
  const field = "task.unique";
  return {
    key: uniqueKey,
    scope: wordOf(wireScope, unique?.scope ?? 0, `${field}.scope`, "until_final"),
    windowMs: durationMsIf(unique?.window, `${field}.window`),
    onConflict: wordOf(
      wireConflict,
      unique?.onConflict ?? 0,
      `${field}.on_conflict`,
      "return_existing",
    ),
  };
}

/** Puts what a task has of them into its wire form. */
export function addTerms(wire: OpaqueInit<WireTask>, terms: TaskTerms): void {
  const { unique } = terms;
  if (unique) {
    wire.uniqueKey = unique.key;
    wire.unique = {
      scope: wireScope[unique.scope],
      window: unique.windowMs === undefined ? undefined : toDuration(unique.windowMs),
      onConflict: wireConflict[unique.onConflict],
    };
  }
  wire.expireAt = toTimestampIf(terms.expireAt);
  wire.heartbeatTimeout =
    terms.heartbeatTimeoutMs === undefined ? undefined : toDuration(terms.heartbeatTimeoutMs);
  wire.deadline = toTimestampIf(terms.deadline);
  wire.batchId = terms.batchId;
  wire.batchCallback = terms.batchCallback && toWireCallback(terms.batchCallback);
  wire.redrivenFrom = terms.redrivenFrom;
  wire.schedule = terms.schedule;
  wire.scheduledFor = toTimestampIf(terms.scheduledFor);
}

export const toWireCancellation = ({
  cancelRequestedAt,
  cancellation,
}: Task): OpaqueInit<WireTask>["cancellation"] =>
  cancellation && {
    requestedAt: toTimestampIf(cancelRequestedAt),
    reason: cancellation.reason,
    deliveredAt: toTimestampIf(cancellation.deliveredAt),
    acknowledgedAt: toTimestampIf(cancellation.acknowledgedAt),
    forcedAt: toTimestampIf(cancellation.forcedAt),
  };
