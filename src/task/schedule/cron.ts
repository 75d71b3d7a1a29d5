import { Cron } from "croner";
import { refuse } from "../rules.js";

/**
 * Cron expressions by croner, whose rules on daylight saving time are Vixie cron's: an expression
 * with fixed seconds, minutes and hours (lists and ranges count) runs once in a repeated hour, the
 * first time round, and for a time that is skipped right after the gap; one with a wildcard or step
 * there runs at each of the times that exist, in both rounds of a repeated hour.
 */

/** Ticks of one expression in one zone. */
export interface CronTimes {
  /** The first tick after this time, both in ms since 1970; undefined: there is none any more. */
  after(time: number): number | undefined;
}

/** Expressions kept parsed; making one costs 100 us. The least recently used go first. */
const keptMax = 2_000;
const kept = new Map<string, CronTimes>();

/** Throws a DroverError that names `schedule.cron` or `schedule.time_zone`. */
export function cronTimes(expression: string, timeZone: string): CronTimes {
  const key = `${timeZone} ${expression}`;
  const known = kept.get(key);
  if (known) {
    kept.delete(key);
    kept.set(key, known);
    return known;
  }
  checkZone(timeZone);
  const times = parse(expression, timeZone);
  if (kept.size >= keptMax) kept.delete(kept.keys().next().value!);
  kept.set(key, times);
  return times;
}

function parse(expression: string, timezone: string): CronTimes {
  const field = "schedule.cron";
  const parts = expression.trim().split(/\s+/).length;
  const isNick = expression.startsWith("@");
  // What is no expression croner takes for a date.
  if (!isNick && parts !== 5 && parts !== 6) {
    refuse(field, "a cron expression of 5 or 6 fields, or such as @daily", expression);
  }
  let cron: Cron;
  try {
    cron = new Cron(expression, {
      timezone,
      mode: "5-or-6-parts",
      fixedTimeRule: "no-wildcard",
      paused: true,
    });
  } catch (error) {
    const why = error instanceof Error ? error.message.replace(/^Cron\w+: /, "") : String(error);
    return refuse(field, `a cron expression that can be read (${why})`, expression);
  }
  return remembering((time) => cron.nextRun(new Date(time))?.getTime());
}

/**
 * Many schedules share an expression, and ask for the tick after much the same time: what lies
 * between two ticks has the answer of the earlier one. Reckoning in a time zone costs 200 us.
 */
function remembering(next: (time: number) => number | undefined): CronTimes {
  let from = Number.POSITIVE_INFINITY;
  let answer: number | undefined;
  return {
    after(time) {
      if (time >= from && (answer === undefined || time < answer)) return answer;
      answer = next(time);
      from = time;
      return answer;
    },
  };
}

/** Offsets such as +05:30 are no zones: they know no daylight saving time. */
function checkZone(timeZone: string): void {
  try {
    if (!/^[A-Za-z]/.test(timeZone)) throw new RangeError("no name");
    new Intl.DateTimeFormat("en", { timeZone });
  } catch {
    refuse("schedule.time_zone", "a name of the IANA database such as Europe/Berlin", timeZone);
  }
}
