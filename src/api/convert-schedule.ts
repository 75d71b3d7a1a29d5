import {
  OverlapPolicy as WireOverlap,
  TickCause as WireCause,
  TickOutcome as WireOutcome,
  type Schedule as WireSchedule,
  type Tick as WireTick,
} from "../../gen/drover/v1/admin_pb.js";
import type { ScheduleView, WantedSchedule } from "../coordinator/schedules.js";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { refuse } from "../task/rules.js";
import type {
  OverlapPolicy,
  Tick,
  TickCause,
  TickOutcome,
  Timing,
} from "../task/schedule/schedule.js";
import { withinSchedule } from "../task/schedule/validate.js";
import type { Opaque, OpaqueInit } from "./contract.js";
import { toTemplateDraft, toWireTemplate } from "./convert-template.js";
import { durationMs, timestampMs, toDuration, toTimestamp, toTimestampIf } from "./convert-time.js";

/** Schedules between the wire and the vocabulary. */

const wireOverlap: Readonly<Record<OverlapPolicy, WireOverlap>> = {
  skip: WireOverlap.SKIP,
  buffer_one: WireOverlap.BUFFER_ONE,
  buffer_all: WireOverlap.BUFFER_ALL,
  allow_all: WireOverlap.ALLOW_ALL,
  cancel_other: WireOverlap.CANCEL_OTHER,
};
const overlaps = new Map(
  Object.entries(wireOverlap).map(([policy, wire]) => [wire, policy as OverlapPolicy]),
);
const wireOutcomes: Readonly<Record<TickOutcome, WireOutcome>> = {
  taken: WireOutcome.TAKEN,
  skipped: WireOutcome.SKIPPED,
  waiting: WireOutcome.WAITING,
  refused: WireOutcome.REFUSED,
};
const wireCauses: Readonly<Record<TickCause, WireCause>> = {
  timing: WireCause.TIMING,
  trigger: WireCause.TRIGGER,
  backfill: WireCause.BACKFILL,
};

/** Unspecified is undefined. */
export const toOverlap = (wire: WireOverlap): OverlapPolicy | undefined => overlaps.get(wire);

const outputOnly: readonly [keyof Opaque<WireSchedule>, string][] = [
  ["nextTickAt", "next_tick_at"],
  ["lastTickAt", "last_tick_at"],
  ["lastTaskId", "last_task_id"],
  ["ticksWaiting", "ticks_waiting"],
  ["ticksTaken", "ticks_taken"],
  ["ticksSkipped", "ticks_skipped"],
  ["ticksMissed", "ticks_missed"],
  ["ticksRefused", "ticks_refused"],
  ["lastError", "last_error"],
  ["createdAt", "created_at"],
  ["updatedAt", "updated_at"],
];

/** Throws what the wire alone can get wrong; `schedule` undefined: the request has none. */
export function toWanted(schedule: Opaque<WireSchedule> | undefined): WantedSchedule {
  if (!schedule) return refuse("schedule", "a schedule", undefined);
  refuseOutputOnly(schedule);
  const { task, catchUpWindow, jitter } = schedule;
  if (!task) refuse("schedule.task", "the task of each tick", undefined);
  return {
    name: schedule.name,
    timing: toTiming(schedule),
    task: withinSchedule(() => toTemplateDraft(task)),
    overlap: toOverlap(schedule.overlapPolicy) ?? "skip",
    catchUpMs: catchUpWindow
      ? durationMs(catchUpWindow, "schedule.catch_up_window")
      : limits.catchUpMs,
    jitterMs: jitter ? durationMs(jitter, "schedule.jitter") : 0,
    paused: schedule.paused,
    note: schedule.note,
  };
}

function refuseOutputOnly(schedule: Opaque<WireSchedule>): void {
  const given = outputOnly.find(([key]) => {
    const value = schedule[key];
    return value !== undefined && value !== "" && value !== 0 && value !== 0n;
  });
  const name = schedule.recentTicks.length > 0 ? "recent_ticks" : given?.[1];
  if (name === undefined) return;
  const field = `schedule.${name}`;
  throw new DroverError("output_only_field", `${field} is set by Drover`, { field });
}

function toTiming(schedule: Opaque<WireSchedule>): Timing {
  const { cron, timeZone, every, anchor, at } = schedule;
  const given = [cron !== "" && "cron", every && "every", at && "at"].filter(Boolean);
  if (given.length !== 1) {
    const came = given.length === 0 ? "none of them" : given.join(" and ");
    refuse(`schedule.${given[1] || "cron"}`, "one of cron, every and at", came);
  }
  if (timeZone !== "" && cron === "") refuse("schedule.time_zone", "it with cron only", timeZone);
  if (anchor && !every) refuse("schedule.anchor", "it with every only", "one without");
  if (every) {
    const from = anchor ? timestampMs(anchor, "schedule.anchor") : 0;
    return { kind: "every", everyMs: durationMs(every, "schedule.every"), anchor: from };
  }
  if (at) return { kind: "once", at: timestampMs(at, "schedule.at") };
  return { kind: "cron", cron, timeZone: timeZone || "UTC" };
}

/** What UpdateSchedule and DeleteSchedule take to be refused after a change. */
export function toVersionIf(etag: string, field: string): number | undefined {
  if (etag === "") return undefined;
  if (!/^\d{1,15}$/.test(etag)) refuse(field, "an etag as GetSchedule gave it", etag);
  return Number(etag);
}

export function toWireSchedule(schedule: ScheduleView): OpaqueInit<WireSchedule> {
  const { counts, lastTaken } = schedule;
  return {
    name: schedule.name,
    ...toWireTiming(schedule.timing),
    task: toWireTemplate(schedule.task),
    overlapPolicy: wireOverlap[schedule.overlap],
    catchUpWindow: toDuration(schedule.catchUpMs),
    jitter: toDuration(schedule.jitterMs),
    paused: schedule.paused,
    note: schedule.note,
    nextTickAt: toTimestampIf(schedule.nextTickAt),
    lastTickAt: toTimestampIf(lastTaken?.at),
    lastTaskId: lastTaken?.taskId,
    ticksWaiting: schedule.waiting.length,
    ticksTaken: BigInt(counts.taken),
    ticksSkipped: BigInt(counts.skipped),
    ticksMissed: BigInt(counts.missed),
    ticksRefused: BigInt(counts.refused),
    lastError: schedule.lastError,
    recentTicks: schedule.recentTicks.map(toWireTick),
    createdAt: toTimestamp(schedule.createdAt),
    updatedAt: toTimestamp(schedule.updatedAt),
    etag: String(schedule.version),
  };
}

function toWireTiming(timing: Timing): OpaqueInit<WireSchedule> {
  switch (timing.kind) {
    case "cron":
      return { cron: timing.cron, timeZone: timing.timeZone };
    case "every":
      return { every: toDuration(timing.everyMs), anchor: toTimestamp(timing.anchor) };
    case "once":
      return { at: toTimestamp(timing.at) };
  }
}

const toWireTick = (tick: Tick): OpaqueInit<WireTick> => ({
  tickAt: toTimestamp(tick.at),
  outcome: wireOutcomes[tick.outcome],
  cause: wireCauses[tick.cause],
  taskId: tick.taskId,
  error: tick.error,
  recordedAt: toTimestamp(tick.recordedAt),
});

const calendar: Intl.DateTimeFormatOptions = {
  year: "numeric",
  month: "2-digit",
  day: "2-digit",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
  timeZoneName: "longOffset",
};

/** RFC 3339 in a zone, with its offset then: 2030-03-31T03:00:00+02:00. */
export function localTime(time: number, timeZone: string): string {
  const parts = new Intl.DateTimeFormat("en", { ...calendar, timeZone }).formatToParts(time);
  const of = (type: string): string => parts.find((part) => part.type === type)?.value ?? "";
  const offset = of("timeZoneName").replace("GMT", "") || "+00:00";
  const day = `${of("year").padStart(4, "0")}-${of("month")}-${of("day")}`;
  return `${day}T${of("hour")}:${of("minute")}:${of("second")}${offset}`;
}
