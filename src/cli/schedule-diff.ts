import type { NewSchedule, Schedule } from "../client/index.js";
import { limits } from "../limits.js";
import { toRestJson } from "./json.js";

/** What `drover schedule apply` would do to one schedule. */
export interface ScheduleChange {
  readonly name: string;
  readonly action: "create" | "update" | "delete" | "none";
  /** Fields that differ, as JSON texts; undefined: not there. */
  readonly fields: Readonly<Record<string, readonly [string | undefined, string | undefined]>>;
}

/** `stored` undefined: nobody has made it yet. `wanted` undefined: it is to go. */
export function compareSchedules(
  stored: Schedule | undefined,
  wanted: NewSchedule | undefined,
): ScheduleChange {
  const name = (wanted ?? stored)!.name;
  const before = stored ? flat(plainOf(stored)) : {};
  const after = wanted ? flat(plainOf(wanted)) : {};
  // What a file does not say of these stays as it is.
  if (wanted && wanted.paused === undefined) delete before["paused"];
  if (wanted && wanted.note === undefined) delete before["note"];
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  const fields = Object.fromEntries(
    names
      .filter((field) => before[field] !== after[field])
      .map((field) => [field, [before[field], after[field]] as const]),
  );
  const differs = Object.keys(fields).length > 0;
  const action = !stored ? "create" : !wanted ? "delete" : differs ? "update" : "none";
  return { name, action, fields };
}

/** What both say alike, with the defaults of what is left out. */
function plainOf(schedule: NewSchedule | Schedule): Record<string, unknown> {
  const { cron, everyMs, anchor, at, task, paused, note } = schedule;
  return {
    cron,
    timeZone: cron === undefined ? undefined : (schedule.timeZone ?? "UTC"),
    everyMs,
    anchor: everyMs === undefined ? undefined : (anchor ?? new Date(0)),
    at,
    overlapPolicy: schedule.overlapPolicy ?? "skip",
    catchUpWindowMs: schedule.catchUpWindowMs ?? limits.catchUpMs,
    jitterMs: schedule.jitterMs ?? 0,
    paused,
    note,
    task,
  };
}

/** By path, in the names of the contract; a payload is one value. */
function flat(value: Record<string, unknown>): Record<string, string> {
  const found: Record<string, string> = {};
  const walk = (at: string, item: unknown): void => {
    if (item === null) return;
    const whole = typeof item !== "object" || Array.isArray(item) || at === "task.payload";
    if (whole) found[at] = sorted(item);
    else for (const [key, inner] of Object.entries(item)) walk(at ? `${at}.${key}` : key, inner);
  };
  walk("", toRestJson(value));
  return found;
}

/** The order of keys is no difference. */
const sorted = (value: unknown): string =>
  JSON.stringify(value, (_, item: unknown) =>
    typeof item === "object" && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  );
