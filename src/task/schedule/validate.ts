import { DroverError } from "../../errors.js";
import { limits } from "../../limits.js";
import { checkDuration, checkLength, checkName, refuse } from "../rules.js";
import { checkDraft } from "../validate.js";
import { cronTimes } from "./cron.js";
import type { ScheduleSpec, Timing } from "./schedule.js";

/** Judges what is asked of a schedule. Throws a DroverError that names the field. */
export function checkSchedule(name: string, spec: ScheduleSpec, note: string): void {
  checkName("schedule.name", name);
  checkTiming(spec.timing);
  withinSchedule(() => checkDraft(spec.task));
  const { catchUpMinMs, catchUpMaxMs, scheduleJitterMaxMs } = limits;
  checkDuration("schedule.catch_up_window", spec.catchUpMs, catchUpMinMs, catchUpMaxMs);
  checkDuration("schedule.jitter", spec.jitterMs, 0, scheduleJitterMaxMs);
  checkLength("schedule.note", note, 0, limits.scheduleNoteLength);
}

/** The year 9999, which times on the wire end with. */
const timeMax = 253_402_300_799_000;

function checkTiming(timing: Timing): void {
  switch (timing.kind) {
    case "cron":
      checkLength("schedule.cron", timing.cron, 1, limits.cronLength);
      // From a fixed time on: whether there is any tick must not depend on when somebody asks.
      if (cronTimes(timing.cron, timing.timeZone).after(0) === undefined) {
        refuse("schedule.cron", "an expression that some day fits", timing.cron);
      }
      return;
    case "every": {
      const { scheduleEveryMinMs, scheduleEveryMaxMs } = limits;
      checkDuration("schedule.every", timing.everyMs, scheduleEveryMinMs, scheduleEveryMaxMs);
      if (!Number.isInteger(timing.everyMs)) {
        refuse("schedule.every", "whole milliseconds", `${timing.everyMs} ms`);
      }
      return checkTime("schedule.anchor", timing.anchor);
    }
    case "once":
      return checkTime("schedule.at", timing.at);
  }
}

function checkTime(field: string, time: number): void {
  if (!(time >= 0 && time <= timeMax)) refuse(field, "a time of the years 1970 to 9999", time);
}

/** Rules for tasks name `task.type`; here it is `schedule.task.type`. */
export function withinSchedule<T>(judge: () => T): T {
  try {
    return judge();
  } catch (error) {
    if (!(error instanceof DroverError) || !error.field?.startsWith("task")) throw error;
    const { id, field, hint, cause } = error;
    const message = error.message.replace(/^(?=task\b)/, "schedule.");
    throw new DroverError(id, message, { field: `schedule.${field}`, hint, cause });
  }
}
