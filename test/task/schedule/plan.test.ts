import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { limits } from "../../../src/limits.js";
import { type Plan, planTicks } from "../../../src/task/schedule/plan.js";
import { overlapPolicies, type Schedule } from "../../../src/task/schedule/schedule.js";
import { scheduleOf } from "../../support/schedule-factory.js";

const minute = 60_000;

const plan = (change: Partial<Schedule>, now: number, busy = false): Plan =>
  planTicks(scheduleOf({ cursor: 0, ...change }), now, busy);
const shown = ({ ticks }: Plan): string[] =>
  ticks.map(({ at, outcome }) => `${at / minute} ${outcome}`);

describe("ticks that are due", () => {
  it("one that is due is taken, and the next is told", () => {
    const done = plan({}, minute);
    expect(shown(done)).toEqual(["1 taken"]);
    expect(done).toMatchObject({ cursor: minute, dueAt: 2 * minute, counts: { taken: 1 } });
  });

  it("one that is not due yet is left", () => {
    const early = plan({}, minute - 1);
    expect(early).toMatchObject({ ticks: [], cursor: 0, dueAt: minute });
  });

  it("after its last tick a schedule is over", () => {
    const done = plan({ timing: { kind: "once", at: minute } }, minute);
    expect(done).toMatchObject({ ticks: [{ outcome: "taken" }], dueAt: undefined });
  });

  it("jitter holds a tick back, and the order stays", () => {
    const jitterMs = 10 * minute;
    const none = plan({ jitterMs }, minute);
    expect(none.dueAt).toBeGreaterThan(minute);
    const some = plan({ jitterMs, overlap: "allow_all" }, none.dueAt!);
    expect(some.ticks[0]).toEqual({ at: minute, outcome: "taken" });
  });
});

describe("ticks that come while an earlier task lives", () => {
  it.each([
    ["skip", ["1 skipped", "2 skipped", "3 skipped"], []],
    ["buffer_one", ["1 waiting", "2 skipped", "3 skipped"], [1]],
    ["buffer_all", ["1 waiting", "2 waiting", "3 waiting"], [1, 2, 3]],
    ["allow_all", ["1 taken", "2 taken", "3 taken"], []],
    ["cancel_other", ["1 skipped", "2 skipped", "3 waiting"], [3]],
  ] as const)("%s", (overlap, ticks, waiting) => {
    const done = plan({ overlap }, 3 * minute, true);
    expect(shown(done)).toEqual(ticks);
    expect(done.waiting).toEqual(waiting.map((n) => n * minute));
    expect(done.cancels).toBe(overlap === "cancel_other");
    const skipped = ticks.filter((tick) => tick.endsWith("skipped")).length;
    expect(done.counts).toMatchObject({ skipped, taken: overlap === "allow_all" ? 3 : 0 });
  });

  it.each([
    ["skip", ["1 taken", "2 skipped", "3 skipped"]],
    ["buffer_one", ["1 taken", "2 waiting", "3 skipped"]],
    ["buffer_all", ["1 taken", "2 waiting", "3 waiting"]],
    ["cancel_other", ["1 taken", "2 skipped", "3 waiting"]],
  ] as const)(
    "%s: of several at once the first is taken, the task of which the others meet",
    (overlap, ticks) => {
      expect(shown(plan({ overlap }, 3 * minute))).toEqual(ticks);
    },
  );

  it("one that waits is taken once the task has ended, before newer ones", () => {
    const state = {
      overlap: "buffer_all",
      waiting: [minute, 2 * minute],
      cursor: 2 * minute,
    } as const;
    const still = plan(state, 2 * minute + 5_000, true);
    expect(shown(still)).toEqual([]);
    expect(still.dueAt).toBe(2 * minute + 5_000 + (minute + 5_000) / 10);
    const free = plan(state, 3 * minute);
    expect(shown(free)).toEqual(["1 taken", "3 waiting"]);
    expect(free.waiting).toEqual([2 * minute, 3 * minute]);
  });

  it("what waits is looked at often at first, later seldom, and in time for the next tick", () => {
    const waiting = [minute];
    const at = (now: number) => plan({ overlap: "buffer_one", waiting, cursor: minute }, now, true);
    expect(at(minute).dueAt).toBe(minute + limits.waitingLookMs);
    expect(at(2 * minute - 500).dueAt).toBe(2 * minute);
    const daily = { kind: "every", everyMs: 86_400_000, anchor: 0 } as const;
    const now = 40 * minute;
    const late = plan({ overlap: "buffer_one", waiting, cursor: minute, timing: daily }, now, true);
    expect(late.dueAt).toBe(now + limits.waitingLookMaxMs);
  });

  it("no more than a thousand wait", () => {
    const waiting = Array.from({ length: limits.waitingTicks }, (_, n) => n);
    const full = plan({ overlap: "buffer_all", waiting, cursor: 0 }, minute, true);
    expect(shown(full)).toEqual(["1 skipped"]);
    expect(full.waiting).toHaveLength(limits.waitingTicks);
  });
});

describe("ticks that a backfill took ahead of their time", () => {
  it.each(overlapPolicies)("%s: are dealt with once", (overlap) => {
    const ahead = { overlap, waiting: [minute] };
    const done = plan(ahead, minute);
    expect(shown(done)).toEqual(["1 taken"]);
    expect(done).toMatchObject({ cursor: minute, waiting: [], counts: { taken: 1, skipped: 0 } });
    const late = plan(ahead, minute, true);
    expect(late).toMatchObject({ ticks: [], cursor: minute, waiting: [minute] });
  });
});

describe("ticks that nobody looked at in time", () => {
  const catchUpMs = 5 * minute;

  it("are missed beyond the window, and caught up with within it", () => {
    const done = plan({ catchUpMs, overlap: "allow_all" }, 20 * minute);
    expect(shown(done)).toEqual([
      "15 taken",
      "16 taken",
      "17 taken",
      "18 taken",
      "19 taken",
      "20 taken",
    ]);
    expect(done.counts).toMatchObject({ missed: 14, taken: 6 });
  });

  it("many are caught up with in slices, each due at once", () => {
    let schedule = scheduleOf({ overlap: "allow_all", catchUpMs: 86_400_000, cursor: 0 });
    const now = 250 * minute;
    const sizes: number[] = [];
    for (;;) {
      const done = planTicks(schedule, now, false);
      sizes.push(done.ticks.length);
      const { cursor, dueAt, counts } = done;
      schedule = { ...schedule, cursor, dueAt, counts };
      if (dueAt! > now) break;
    }
    expect(sizes).toEqual([100, 100, 50]);
    expect(schedule.counts.taken).toBe(250);
  });

  it("an outage of a year is passed over without counting every second of it", () => {
    const timing = { kind: "cron", cron: "* * * * * *", timeZone: "UTC" } as const;
    const year = 365 * 86_400_000;
    const done = plan({ timing, catchUpMs: 10_000, overlap: "allow_all" }, year);
    expect(done.counts.missed).toBe(limits.missedTicksCounted);
    expect(done.ticks.map(({ at }) => at)).toEqual(
      Array.from({ length: 11 }, (_, n) => year - 10_000 + n * 1_000),
    );
  });

  it("a jitter longer than the window makes no tick missed", () => {
    const timing = { kind: "every", everyMs: 10_000, anchor: 0 } as const;
    let schedule = scheduleOf({
      timing,
      jitterMs: 3_600_000,
      catchUpMs: 10_000,
      overlap: "allow_all",
    });
    const taken: number[] = [];
    for (let now = 0; now <= 3 * 3_600_000; now = Math.max(now + 1, schedule.dueAt ?? now + 1)) {
      const done = planTicks(schedule, now, false);
      taken.push(...done.ticks.map(({ at }) => at));
      const { cursor, dueAt, counts } = done;
      schedule = { ...schedule, cursor, dueAt, counts };
    }
    expect(taken).toEqual(taken.toSorted((a, b) => a - b));
    expect(schedule.counts.missed).toBe(0);
    expect(taken).toHaveLength(schedule.cursor / 10_000);
  });
});

describe("whatever comes", () => {
  const steps = fc.array(
    fc.record({ waitMs: fc.integer({ min: 0, max: 30 * minute }), ended: fc.boolean() }),
    { minLength: 1, maxLength: 60 },
  );

  test.prop([fc.constantFrom(...overlapPolicies), fc.integer({ min: 0, max: 5 * minute }), steps])(
    "every tick is taken, skipped, missed or waits, and no two tasks overlap unless they may",
    (overlap, jitterMs, moments) => {
      let schedule = scheduleOf({ overlap, jitterMs, catchUpMs: 10 * minute });
      const fates = new Map<number, string>();
      let [now, live] = [0, false];
      for (const { waitMs, ended } of moments) {
        now += waitMs;
        if (ended) live = false;
        const done = planTicks(schedule, now, live);
        let taken = 0;
        for (const { at, outcome } of done.ticks) {
          expect(fates.get(at) ?? "waiting").toBe("waiting");
          fates.set(at, outcome);
          if (outcome === "taken") taken += 1;
        }
        if (overlap !== "allow_all") expect(taken).toBeLessThanOrEqual(live ? 0 : 1);
        live ||= taken > 0;
        const { cursor, dueAt, waiting, counts } = done;
        expect(cursor).toBeGreaterThanOrEqual(schedule.cursor);
        schedule = { ...schedule, cursor, dueAt, waiting, counts };
      }
      const of = (fate: string) => [...fates.values()].filter((each) => each === fate).length;
      expect(of("taken")).toBe(schedule.counts.taken);
      expect(of("waiting")).toBe(schedule.waiting.length);
      // Where policies drop what waited, it was counted when it began to wait for nobody.
      expect(of("skipped")).toBe(schedule.counts.skipped);
      const met = schedule.counts.taken + schedule.counts.skipped + schedule.waiting.length;
      expect(met + schedule.counts.missed).toBe(Math.floor(schedule.cursor / minute));
    },
  );
});
