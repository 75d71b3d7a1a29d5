import { beforeEach, describe, expect, test } from "vitest";
import type { NewTick, TickChange } from "../../src/history/history.js";
import { limits } from "../../src/limits.js";
import type { Schedule } from "../../src/task/schedule/schedule.js";
import type { Task } from "../../src/task/task.js";
import { newSchedule, templateOf } from "../support/schedule-factory.js";
import { ended } from "./history-harness.js";
import type { HistoryScene } from "./history.js";

const minute = 60_000;
const most = 100;

export function exerciseSchedules(scene: () => HistoryScene): void {
  let names = 0;

  const make = async (change: Partial<Schedule> = {}): Promise<Schedule> => {
    const { history, namespace } = scene();
    names += 1;
    const given = newSchedule({ namespace, name: `s-${names}`, ...change });
    const outcome = await history.schedules.create(given, most);
    return outcome.kind === "created" ? outcome.schedule : expect.fail(outcome.kind);
  };
  const taskOf = (schedule: Schedule, at: number, change: Partial<Task> = {}): Task =>
    scene().task({ terms: { schedule: schedule.name, scheduledFor: at }, ...change });
  const taken = (schedule: Schedule, at: number): NewTick => ({
    at,
    outcome: "taken",
    cause: "timing",
    task: taskOf(schedule, at),
    error: "",
  });
  const change = (schedule: Schedule, ticks: NewTick[], state = {}): TickChange => ({
    schedule,
    state: { ...schedule, ...state },
    ticks,
  });
  const allTicks = (schedule: Schedule) =>
    scene().history.schedules.ticks(schedule, { from: 0, until: 1e15, limit: 1_000 });

  describe("schedules", () => {
    test("a schedule is kept whole", async () => {
      const { history, other, namespace } = scene();
      const given = newSchedule({
        namespace,
        name: "whole",
        timing: { kind: "cron", cron: "0 2 * * *", timeZone: "Europe/Berlin" },
        task: templateOf({
          queue: "mail",
          priority: 0,
          payload: { contentType: "text/plain", data: Buffer.from([0, 1, 255]) },
          maxRetries: 0,
          retry: { jitter: 0 },
          delayMs: 5,
          requiredLabels: { region: "eu" },
          tags: ["a\0b", "c"],
          terms: { heartbeatTimeoutMs: 1_000 },
        }),
        overlap: "buffer_all",
        jitterMs: 7,
        cursor: 1_000,
        dueAt: 2_000,
        waiting: [500, 600],
        counts: { taken: 1, skipped: 2, missed: 3, refused: 4 },
        lastTaken: { at: 400, taskId: "x" },
        lastError: "no \ud800 way",
        note: "for \0 people",
      });
      const outcome = await history.schedules.create(given, most);
      if (outcome.kind !== "created") return expect.fail(outcome.kind);
      const { schedule } = outcome;
      expect(schedule).toMatchObject({ ...given, version: 1, revision: 1 });
      expect(schedule.task).toEqual(given.task);
      expect(Math.abs(schedule.createdAt - scene().harness.now())).toBeLessThan(5_000);
      expect(await other.schedules.get(namespace, "whole")).toEqual(schedule);
      expect(await other.schedules.get(`${namespace}-x`, "whole")).toBeUndefined();
    });

    test("a name is taken once, and a namespace has so many", async () => {
      const { history, other, namespace } = scene();
      const given = newSchedule({ namespace, name: "one" });
      const both = await Promise.all([
        history.schedules.create(given, most),
        other.schedules.create(given, most),
      ]);
      expect(both.map(({ kind }) => kind).toSorted()).toEqual(["created", "exists"]);
      const second = newSchedule({ namespace, name: "two" });
      expect(await history.schedules.create(second, 1)).toEqual({ kind: "full" });
      expect(await history.schedules.create(given, 1)).toEqual({ kind: "exists" });
    });

    test("they are listed by name, page by page, each namespace its own (H5)", async () => {
      const { history, namespace } = scene();
      for (const name of ["b", "a.x", "Z", "c"]) await make({ name });
      await history.schedules.create(newSchedule({ namespace: `${namespace}-x`, name: "f" }), most);
      const page = async (after: string) =>
        (await history.schedules.list(namespace, after, 3)).map(({ name }) => name);
      expect(await page("")).toEqual(["Z", "a.x", "b"]);
      expect(await page("b")).toEqual(["c"]);
    });

    test("a change rests on what was read, ticks included", async () => {
      const { history, other, namespace } = scene();
      const first = await make({ dueAt: minute });
      const wanted = { ...first, paused: true, dueAt: undefined, note: "holiday" };
      const changed = await history.schedules.change(wanted);
      expect(changed).toMatchObject({
        ...wanted,
        version: 2,
        revision: 2,
        updatedAt: changed?.updatedAt,
      });
      expect(await other.schedules.change({ ...first, note: "late" })).toBeUndefined();
      await history.schedules.take([change(changed!, [])]);
      expect(await other.schedules.change({ ...changed!, note: "late" })).toBeUndefined();
      const now = await other.schedules.get(namespace, first.name);
      expect(now).toMatchObject({ note: "holiday", version: 2, revision: 3 });
    });

    test("deleting it takes its ticks along, and leaves its tasks", async () => {
      const { history, namespace } = scene();
      const schedule = await make();
      const tick = taken(schedule, minute);
      await history.schedules.take([change(schedule, [tick])]);
      expect(await history.schedules.remove(namespace, schedule.name, 7)).toBe("changed");
      expect(await history.schedules.remove(namespace, schedule.name, 1)).toBe("removed");
      expect(await history.schedules.remove(namespace, schedule.name, undefined)).toBe("unknown");
      expect(await allTicks(schedule)).toEqual([]);
      expect(await history.get(namespace, [tick.task!.id])).toMatchObject([{ id: tick.task!.id }]);
    });
  });

  describe("ticks that are due", () => {
    test("the next one is told, and those due by now, the longest first", async () => {
      const { history, namespace } = scene();
      const now = await history.schedules.now();
      const late = await make({ dueAt: now - 5 * minute });
      const later = await make({ dueAt: now - 9 * minute });
      const never = await make({ dueAt: undefined });
      const ahead = await make({ dueAt: now + 60 * minute });
      const next = await history.schedules.nextDue();
      expect(next.dueAt).toBeLessThanOrEqual(now - 9 * minute);
      const { schedules } = await history.schedules.due(1_000);
      const own = schedules.filter((each) => each.namespace === namespace);
      expect(own.map(({ name }) => name)).toEqual([later.name, late.name]);
      expect(own).not.toContainEqual(expect.objectContaining({ name: never.name }));
      expect(own).not.toContainEqual(expect.objectContaining({ name: ahead.name }));
      expect(own[0]).toEqual(later);
      for (const { name } of own) await history.schedules.remove(namespace, name, undefined);
    });

    test("several are found by their names, with the time of the store", async () => {
      const { history, namespace } = scene();
      const [a, b] = [await make(), await make()];
      const foreign = { ...a, namespace: `${namespace}-x` };
      const gone = { namespace, name: "nobody-made-it" };
      const { now, schedules } = await history.schedules.named([b, foreign, gone, a]);
      const byName = (x: Schedule, y: Schedule) => (x.name < y.name ? -1 : 1);
      expect(schedules.toSorted(byName)).toEqual([a, b].toSorted(byName));
      expect(Math.abs(now - (await history.schedules.now()))).toBeLessThan(60_000);
      expect((await history.schedules.named([gone])).schedules).toEqual([]);
    });

    test("live tasks are told by schedule, ended and foreign ones are not", async () => {
      const { history, namespace } = scene();
      const [a, b] = [await make(), await make()];
      const ticks = [1, 2, 3].map((n) => taken(a, n * minute));
      await history.schedules.take([change(a, ticks)]);
      const foreign = { ...a, namespace: `${namespace}-x` };
      const [first, second, third] = ticks.map(({ task }) => task!);
      await history.record([ended(second!, "completed")]);
      const live = await history.schedules.liveTasks([b, a, foreign], 10);
      expect(live).toEqual([[], [first!.id, third!.id].toSorted(), []]);
      expect((await history.schedules.liveTasks([a], 1))[0]).toHaveLength(1);
    });
  });

  describe("taking ticks (H7)", () => {
    let schedule: Schedule;
    beforeEach(async () => {
      schedule = await make();
    });

    test("tick, task, marker and state commit together", async () => {
      const { history, other, namespace } = scene();
      const [tick, skipped] = [taken(schedule, minute), 2 * minute];
      const state = {
        cursor: skipped,
        dueAt: 3 * minute,
        waiting: [7],
        counts: { taken: 1, skipped: 1, missed: 0, refused: 0 },
        lastTaken: { at: minute, taskId: tick.task!.id },
      };
      const others: NewTick[] = [
        { at: skipped, outcome: "skipped", cause: "timing", task: undefined, error: "" },
        { at: 7, outcome: "refused", cause: "backfill", task: undefined, error: "no \0 type" },
      ];
      const reply = await history.schedules.take([change(schedule, [tick, ...others], state)]);
      expect(reply).toMatchObject({ outcomes: ["written"], tasks: [{ id: tick.task!.id }] });
      const now = await other.schedules.get(namespace, schedule.name);
      expect(now).toMatchObject({ ...state, version: 1, revision: 2 });
      const { id } = tick.task!;
      const [row] = await other.get(namespace, [id]);
      expect(row?.terms).toEqual({ schedule: schedule.name, scheduledFor: minute });
      const markers = await other.staleMarkers(0, 1_000);
      expect(markers.find(({ marker }) => marker === reply.marker)?.tasks).toMatchObject([{ id }]);
      expect(await allTicks(schedule)).toMatchObject([
        { at: skipped, outcome: "skipped", cause: "timing", taskId: "", error: "" },
        { at: minute, outcome: "taken", cause: "timing", taskId: id, error: "" },
        { at: 7, outcome: "refused", cause: "backfill", taskId: "", error: "no \0 type" },
      ]);
    });

    test("of many that take the same tick at once, one does, and makes the one task", async () => {
      const { history, other, namespace } = scene();
      const replies = await Promise.all(
        Array.from({ length: 8 }, (_, n) =>
          (n % 2 ? other : history).schedules.take([
            change(schedule, [taken(schedule, minute)], { cursor: minute }),
          ]),
        ),
      );
      const outcomes = replies.map((reply) => String(reply.outcomes[0])).toSorted();
      expect(outcomes).toEqual([...Array.from({ length: 7 }, () => "stale"), "written"]);
      expect(replies.flatMap(({ tasks }) => tasks)).toHaveLength(1);
      expect(await history.schedules.liveTasks([schedule], 10)).toEqual([[expect.any(String)]]);
      expect(await history.schedules.get(namespace, schedule.name)).toMatchObject({ revision: 2 });
    });

    test("a tick that was taken is not taken again, whatever the state says", async () => {
      const { history, namespace } = scene();
      const first = taken(schedule, minute);
      await history.schedules.take([change(schedule, [first])]);
      const now = (await history.schedules.get(namespace, schedule.name))!;
      const again = taken(schedule, minute);
      const reply = await history.schedules.take([change(now, [again, taken(now, 2 * minute)])]);
      expect(reply.outcomes).toEqual(["written"]);
      expect(reply.tasks.map(({ terms }) => terms?.scheduledFor)).toEqual([2 * minute]);
      expect(await history.get(namespace, [again.task!.id])).toEqual([undefined]);
      const kept = await allTicks(schedule);
      expect(kept.at(-1)).toMatchObject({ at: minute, taskId: first.task!.id });
    });

    test("a tick that waited or was skipped may be taken later, and keeps its cause", async () => {
      const { history, namespace } = scene();
      const noTask = { task: undefined, error: "" };
      const waiting = { at: 1, outcome: "waiting", cause: "backfill", ...noTask } as const;
      const skipped = { at: 2, outcome: "skipped", cause: "timing", ...noTask } as const;
      await history.schedules.take([change(schedule, [waiting, skipped])]);
      const now = (await history.schedules.get(namespace, schedule.name))!;
      const reply = await history.schedules.take([change(now, [taken(now, 1), taken(now, 2)])]);
      expect(reply.tasks).toHaveLength(2);
      expect(await allTicks(schedule)).toMatchObject([
        { at: 2, outcome: "taken", cause: "timing" },
        { at: 1, outcome: "taken", cause: "backfill" },
      ]);
    });

    test("what stands of a batch is written, what is stale or gone is left out", async () => {
      const { history, namespace } = scene();
      const [gone, stale, sound] = [await make(), await make(), await make()];
      await history.schedules.remove(namespace, gone.name, undefined);
      await history.schedules.take([change(stale, [])]);
      const batch = [gone, stale, sound].map((each) => change(each, [taken(each, minute)]));
      const reply = await history.schedules.take(batch);
      expect(reply.outcomes).toEqual(["stale", "stale", "written"]);
      expect(reply.tasks.map(({ terms }) => terms?.schedule)).toEqual([sound.name]);
      const empty = await history.schedules.take([]);
      expect(empty).toMatchObject({ outcomes: [], tasks: [], marker: undefined });
    });

    test("a hundred schedules, each with its tick, are taken in one batch", async () => {
      const { history } = scene();
      const all = await Promise.all(Array.from({ length: 60 }, () => make()));
      const reply = await history.schedules.take(
        all.map((one) => change(one, [taken(one, minute)])),
      );
      expect(new Set(reply.outcomes)).toEqual(new Set(["written"]));
      expect(reply.tasks).toHaveLength(60);
    });

    test("ticks are told from the latest, within a range, and are pruned in time", async () => {
      const { history, harness } = scene();
      const at = [1, 2, 3, 4].map((n) => n * minute);
      await history.schedules.take([
        change(schedule, [
          ...at.map((time) => taken(schedule, time)),
          { at: 9, outcome: "waiting", cause: "timing", task: undefined, error: "" },
        ]),
      ]);
      const range = { from: 2 * minute, until: 4 * minute, limit: 2 };
      const ticks = await history.schedules.ticks(schedule, range);
      expect(ticks.map((tick) => tick.at)).toEqual([4 * minute, 3 * minute]);
      expect(await history.schedules.pruneTicks(limits.tickKeepMs, 1_000)).toBe(0);
      await harness.age(limits.tickKeepMs + 1_000);
      expect(await history.schedules.pruneTicks(limits.tickKeepMs, 3)).toBe(3);
      while ((await history.schedules.pruneTicks(limits.tickKeepMs, 1_000)) > 0);
      expect((await allTicks(schedule)).map((tick) => tick.outcome)).toEqual(["waiting"]);
    });
  });
}
