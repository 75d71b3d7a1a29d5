import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { DroverError } from "../../../src/errors.js";
import { cronTimes } from "../../../src/task/schedule/cron.js";
import type { ScheduleSpec, Timing } from "../../../src/task/schedule/schedule.js";
import { dueOf, nextTick, ticksBetween } from "../../../src/task/schedule/timing.js";
import { checkSchedule } from "../../../src/task/schedule/validate.js";
import { scheduleOf, templateOf } from "../../support/schedule-factory.js";

const start = Date.UTC(2026, 0, 1);
const iso = (times: readonly number[]) => times.map((time) => new Date(time).toISOString());

function refusal(run: () => unknown): DroverError {
  try {
    run();
  } catch (error) {
    if (error instanceof DroverError) return error;
    throw error;
  }
  return expect.fail("it was taken");
}

describe("cron expressions", () => {
  it.each([
    ["*/15 * * * *", "2026-01-01T00:15:00.000Z"],
    ["30 */10 * * * *", "2026-01-01T00:00:30.000Z"],
    ["0 9 * * MON-FRI", "2026-01-01T09:00:00.000Z"],
    ["0 0 1 JUL *", "2026-07-01T00:00:00.000Z"],
    ["@hourly", "2026-01-01T01:00:00.000Z"],
    ["@daily", "2026-01-02T00:00:00.000Z"],
    ["@weekly", "2026-01-04T00:00:00.000Z"],
    ["0 0 L * *", "2026-01-31T00:00:00.000Z"],
    ["0 0 * * FRI#2", "2026-01-09T00:00:00.000Z"],
    ["0 0 29 2 *", "2028-02-29T00:00:00.000Z"],
    ["  0 0 * * *  ", "2026-01-02T00:00:00.000Z"],
  ])("%s next comes at %s", (cron, next) => {
    const at = cronTimes(cron, "UTC").after(start);
    expect(at).toBe(Date.parse(next));
  });

  it.each([
    ["61 * * * *", "minute"],
    ["* * * *", "5 or 6 fields"],
    ["* * * * * * 2027", "5 or 6 fields"],
    ["2026-01-01T00:00:00", "5 or 6 fields"],
    ["", "5 or 6 fields"],
    ["@reboot", "not supported"],
    ["@sometimes", "@sometimes"],
    ["a b c d e", "illegal characters"],
    ["*/0 * * * *", "stepping"],
    ["5-1 * * * *", "5-1"],
  ])("%j is refused, and why", (cron, why) => {
    const error = refusal(() => cronTimes(cron, "UTC"));
    expect(error).toMatchObject({ id: "invalid_field", field: "schedule.cron" });
    expect(error.message).toContain(why);
  });

  it.each(["Mars/Olympus", "+05:30", "", "Europe/Berlin\n"])("zone %j is refused", (zone) => {
    const error = refusal(() => cronTimes("0 0 * * *", zone));
    expect(error).toMatchObject({ id: "invalid_field", field: "schedule.time_zone" });
  });

  const zones = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"];
  const crons = ["*/7 * * * *", "30 2 * * *", "15,45 1-3 * * *", "0 0 L * *", "*/20 2 * * SUN"];
  test.prop([
    fc.constantFrom(...crons),
    fc.constantFrom(...zones),
    fc.array(fc.integer({ min: 0, max: 400 * 86_400 }), { minLength: 1, maxLength: 12 }),
  ])("whatever was asked before, the next tick is the same, and later", (cron, zone, asked) => {
    const times = cronTimes(cron, zone);
    for (const seconds of asked) {
      const after = start + seconds * 1_000;
      const next = times.after(after)!;
      expect(next).toBeGreaterThan(after);
      // Nothing lies between: asked for from anywhere before it, it is the next.
      expect(times.after(next - 1)).toBe(next);
      expect(times.after(after)).toBe(next);
    }
  });
});

describe("intervals and single times", () => {
  const every: Timing = { kind: "every", everyMs: 90_000, anchor: start };

  it("an interval counts from its anchor, which is its first tick", () => {
    const ticks = ticksBetween(every, start - 10 * 86_400_000, start + 200_000, 100);
    expect(iso(ticks)).toEqual([
      "2026-01-01T00:00:00.000Z",
      "2026-01-01T00:01:30.000Z",
      "2026-01-01T00:03:00.000Z",
    ]);
    expect(nextTick(every, start)).toBe(start + 90_000);
    expect(nextTick(every, start + 89_999)).toBe(start + 90_000);
  });

  it("a single time comes once", () => {
    const once: Timing = { kind: "once", at: start };
    expect(nextTick(once, start - 1)).toBe(start);
    expect(nextTick(once, start)).toBeUndefined();
    expect(ticksBetween(once, 0, Infinity, 5)).toEqual([start]);
  });
});

describe("jitter", () => {
  it("is the same for a tick on every coordinator, and spreads ticks over all of it", () => {
    const schedule = scheduleOf({ jitterMs: 10_000 });
    const ticks = Array.from({ length: 1_000 }, (_, n) => start + n * 60_000);
    const delays = ticks.map((tick) => dueOf(schedule, tick) - tick);
    expect(delays).toEqual(ticks.map((tick) => dueOf({ ...schedule }, tick) - tick));
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...delays)).toBeLessThan(10_000);
    const tenths = Array.from({ length: 10 }, () => 0);
    for (const delay of delays) tenths[Math.floor(delay / 1_000)]! += 1;
    expect(Math.min(...tenths)).toBeGreaterThan(60);
    const other = scheduleOf({ jitterMs: 10_000, name: "other" });
    expect(ticks.map((tick) => dueOf(other, tick) - tick)).not.toEqual(delays);
  });

  it("none is none", () => {
    expect(dueOf(scheduleOf(), start)).toBe(start);
  });
});

describe("what is asked", () => {
  const spec = (change: Partial<ScheduleSpec> = {}): ScheduleSpec => ({
    ...scheduleOf(),
    ...change,
  });
  const once = (at: number): Timing => ({ kind: "once", at });
  const each = (everyMs: number, anchor = 0): Timing => ({ kind: "every", everyMs, anchor });

  it.each<[string, Partial<ScheduleSpec>]>([
    ["schedule.cron", { timing: { kind: "cron", cron: "0 0 31 2 *", timeZone: "UTC" } }],
    ["schedule.cron", { timing: { kind: "cron", cron: "x".repeat(300), timeZone: "UTC" } }],
    ["schedule.every", { timing: each(999) }],
    ["schedule.every", { timing: each(1_000.5) }],
    ["schedule.every", { timing: each(NaN) }],
    ["schedule.every", { timing: each(367 * 86_400_000) }],
    ["schedule.anchor", { timing: each(1_000, -1) }],
    ["schedule.at", { timing: once(1e15) }],
    ["schedule.catch_up_window", { catchUpMs: 9_999 }],
    ["schedule.catch_up_window", { catchUpMs: 366 * 86_400_000 }],
    ["schedule.jitter", { jitterMs: -1 }],
    ["schedule.jitter", { jitterMs: 86_400_001 }],
    ["schedule.task.type", { task: templateOf({ type: "no spaces" }) }],
    ["schedule.task.priority", { task: templateOf({ priority: 4 }) }],
    ["schedule.task.tags[0]", { task: templateOf({ tags: [""] }) }],
  ])("%s is refused by name", (field, change) => {
    const error = refusal(() => checkSchedule("s", spec(change), ""));
    expect(error).toMatchObject({ id: "invalid_field", field });
    expect(error.message).toContain(field);
  });

  it("names and notes have their limits", () => {
    expect(refusal(() => checkSchedule("no spaces", spec(), "")).field).toBe("schedule.name");
    expect(refusal(() => checkSchedule("s", spec(), "x".repeat(257))).field).toBe("schedule.note");
    checkSchedule("s", spec(), "x".repeat(256));
  });
});
