import { create, type JsonValue, toJson } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import {
  OverlapPolicy as WireOverlap,
  type Schedule as WireSchedule,
  ScheduleSchema,
  TaskTemplateSchema,
  type TaskTemplate as WireTemplate,
  TickCause as WireCause,
  TickOutcome as WireOutcome,
  type Tick as WireTick,
} from "../../gen/drover/v1/admin_pb.js";
import { decodeContent } from "../transport/content.js";
import { durationMs, timestampDate, toDuration, toTimestamp } from "../transport/times.js";
import { encodePayload, fromWireRetryPolicy, present, toWireRetryPolicy } from "./convert.js";
import type { OverlapPolicy, Schedule, ScheduleTask, ScheduleUpdate, Tick } from "./schedule.js";

export const toWireOverlap = (policy: OverlapPolicy): WireOverlap =>
  WireOverlap[policy.toUpperCase() as keyof typeof WireOverlap];

const durationIf = (ms: number | undefined) => (ms === undefined ? undefined : toDuration(ms));

export function toWireSchedule(wanted: ScheduleUpdate): WireSchedule {
  return create(
    ScheduleSchema,
    present({
      name: wanted.name,
      cron: wanted.cron,
      timeZone: wanted.timeZone,
      every: durationIf(wanted.everyMs),
      anchor: wanted.anchor && toTimestamp(wanted.anchor),
      at: wanted.at && toTimestamp(wanted.at),
      task: toWireTemplate(wanted.task),
      overlapPolicy: wanted.overlapPolicy && toWireOverlap(wanted.overlapPolicy),
      catchUpWindow: durationIf(wanted.catchUpWindowMs),
      jitter: durationIf(wanted.jitterMs),
      paused: wanted.paused,
      note: wanted.note,
      etag: wanted.etag,
    }),
  );
}

export const toWireTemplate = (task: ScheduleTask): WireTemplate =>
  create(
    TaskTemplateSchema,
    present({
      type: task.type,
      payloadBlob: encodePayload(task.payload),
      queue: task.queue,
      priority: task.priority,
      maxRetries: task.maxRetries,
      retryPolicy: task.retryPolicy && toWireRetryPolicy(task.retryPolicy),
      delay: durationIf(task.delayMs),
      timeout: durationIf(task.attemptTimeoutMs),
      heartbeatTimeout: durationIf(task.heartbeatTimeoutMs),
      groupKey: task.groupKey,
      requiredLabels: task.requiredLabels && { ...task.requiredLabels },
      tags: task.tags && [...task.tags],
      retention: durationIf(task.retentionMs),
    }),
  );

const word = (names: Record<number, string>, value: number): string =>
  (names[value] ?? "unspecified").toLowerCase();

export function fromWireSchedule(schedule: WireSchedule = create(ScheduleSchema)): Schedule {
  const { every, anchor, at, catchUpWindow, jitter } = schedule;
  return {
    name: schedule.name,
    cron: schedule.cron || undefined,
    timeZone: schedule.timeZone || undefined,
    everyMs: every && durationMs(every),
    anchor: anchor && timestampDate(anchor),
    at: at && timestampDate(at),
    task: fromWireTemplate(schedule.task),
    overlapPolicy: word(WireOverlap, schedule.overlapPolicy) as OverlapPolicy,
    catchUpWindowMs: catchUpWindow ? durationMs(catchUpWindow) : 0,
    jitterMs: jitter ? durationMs(jitter) : 0,
    paused: schedule.paused ?? false,
    note: schedule.note ?? "",
    ...progressOf(schedule),
    recentTicks: schedule.recentTicks.map(fromWireTick),
    etag: schedule.etag,
  };
}

function progressOf(schedule: WireSchedule) {
  const { nextTickAt, lastTickAt, createdAt, updatedAt } = schedule;
  return {
    nextTickAt: nextTickAt && timestampDate(nextTickAt),
    lastTickAt: lastTickAt && timestampDate(lastTickAt),
    lastTaskId: schedule.lastTaskId || undefined,
    ticksWaiting: schedule.ticksWaiting,
    ticksTaken: Number(schedule.ticksTaken),
    ticksSkipped: Number(schedule.ticksSkipped),
    ticksMissed: Number(schedule.ticksMissed),
    ticksRefused: Number(schedule.ticksRefused),
    lastError: schedule.lastError || undefined,
    createdAt: createdAt && timestampDate(createdAt),
    updatedAt: updatedAt && timestampDate(updatedAt),
  };
}

/** What was left open stays undefined. */
export function fromWireTemplate(task: WireTemplate = create(TaskTemplateSchema)): ScheduleTask {
  const { payload, payloadBlob, delay, timeout, heartbeatTimeout, retention } = task;
  const json: JsonValue | undefined = payload && toJson(ValueSchema, payload);
  return present({
    type: task.type,
    payload: payloadBlob ? decodeContent(new Uint8Array(), payloadBlob) : json,
    queue: task.queue || undefined,
    priority: task.priority as ScheduleTask["priority"],
    maxRetries: task.maxRetries,
    retryPolicy: task.retryPolicy && fromWireRetryPolicy(task.retryPolicy),
    delayMs: delay && durationMs(delay),
    attemptTimeoutMs: timeout && durationMs(timeout),
    heartbeatTimeoutMs: heartbeatTimeout && durationMs(heartbeatTimeout),
    groupKey: task.groupKey || undefined,
    requiredLabels: Object.keys(task.requiredLabels).length > 0 ? task.requiredLabels : undefined,
    tags: task.tags.length > 0 ? task.tags : undefined,
    retentionMs: retention && durationMs(retention),
  });
}

function fromWireTick(tick: WireTick): Tick {
  return {
    tickAt: timestampDate(tick.tickAt!),
    outcome: word(WireOutcome, tick.outcome) as Tick["outcome"],
    cause: word(WireCause, tick.cause) as Tick["cause"],
    taskId: tick.taskId || undefined,
    error: tick.error || undefined,
    recordedAt: tick.recordedAt && timestampDate(tick.recordedAt),
  };
}
