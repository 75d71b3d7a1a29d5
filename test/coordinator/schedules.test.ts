import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { WantedSchedule } from "../../src/coordinator/schedules.js";
import { limits } from "../../src/limits.js";
import type { OverlapPolicy } from "../../src/task/schedule/schedule.js";
import type { Task } from "../../src/task/task.js";
import { bytesKey } from "../../src/short-text.js";
import { formTaskId } from "../../src/task/ids.js";
import { templateOf } from "../support/schedule-factory.js";
import { createWorld, type FakeWorker, type Node, offer, type World } from "./world.js";

const minute = 60_000;
const namespace = "default";

let world: World;
beforeEach(() => {
  world = createWorld();
});
afterEach(async () => {
  await world.stop();
});

const wanted = (change: Partial<WantedSchedule> = {}): WantedSchedule => ({
  name: "report",
  timing: { kind: "every", everyMs: minute, anchor: 0 },
  task: templateOf(),
  overlap: "allow_all",
  catchUpMs: limits.catchUpMs,
  jitterMs: 0,
  paused: undefined,
  note: undefined,
  ...change,
});

const make = (node: Node, change: Partial<WantedSchedule> = {}) =>
  world.wait("create", node.coordinator.schedules.create(namespace, wanted(change)));
const view = (node: Node, name = "report") =>
  world.wait("get", node.coordinator.schedules.get(namespace, name));
const failure = (call: Promise<unknown>) =>
  world.wait(
    "failure",
    call.then(
      () => expect.fail("it was taken"),
      (error: unknown) => error,
    ),
  );

/** Tasks of the schedule, by their ticks. */
async function tasksOf(name = "report"): Promise<Task[]> {
  const query = { namespace, pageSize: 500, pageToken: "" };
  const { tasks } = await world.wait("list", world.history.list(query));
  return tasks
    .filter(({ terms }) => terms?.schedule === name)
    .toSorted((a, b) => a.terms!.scheduledFor! - b.terms!.scheduledFor!);
}
const ticksOf = async (name?: string) =>
  (await tasksOf(name)).map(({ terms }) => (terms!.scheduledFor! / minute) % 60);

const reports = (node: Node, slots = 5): Promise<FakeWorker> =>
  world.open(node, world.worker(), { offer: offer(slots, ["send_report"]) });

/** How often each call of these parts is made from now on. */
function countCalls(...parts: object[]): Record<string, number> {
  const calls: Record<string, number> = {};
  for (const part of parts) {
    const names = [
      ...Object.keys(part),
      ...Object.getOwnPropertyNames(Object.getPrototypeOf(part)),
    ];
    for (const name of names) {
      const run: unknown = Reflect.get(part, name);
      if (typeof run !== "function" || name === "constructor") continue;
      calls[name] ??= 0;
      const counted = (...args: unknown[]): unknown => {
        calls[name]! += 1;
        return Reflect.apply(run, part, args);
      };
      Object.assign(part, { [name]: counted });
    }
  }
  return calls;
}

async function finish(worker: FakeWorker, place: number): Promise<void> {
  await world.until("leased", () => worker.leases.length > place);
  worker.succeed(worker.leases[place]!);
  await world.until("acked", () => worker.acks.length > place);
}

/** Time goes by, and the worker keeps what it holds. */
async function pass(worker: FakeWorker, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 5_000) {
    worker.beat(worker.leases.slice(worker.acks.length));
    await world.clock.advance(Math.min(5_000, left));
  }
}

describe("a schedule", () => {
  it("makes a task at each tick, which a worker gets at once", async () => {
    const node = await world.node();
    const worker = await reports(node);
    const made = await make(node, { task: templateOf({ queue: "default", tags: ["t"] }) });
    expect(made.nextTickAt! - world.clock.now()).toBeLessThanOrEqual(minute);
    await pass(worker, 3 * minute);
    await world.until("leased", () => worker.leases.length === 3, 1_000);
    expect(await ticksOf()).toEqual([1, 2, 3]);
    const [task] = await tasksOf();
    expect(task).toMatchObject({ type: "send_report", tags: ["t"], durability: "durable" });
    const after = await view(node);
    expect(after).toMatchObject({ counts: { taken: 3, skipped: 0, missed: 0, refused: 0 } });
    expect(after.recentTicks.map(({ outcome, cause }) => [outcome, cause])).toEqual(
      Array.from({ length: 3 }, () => ["taken", "timing"]),
    );
    expect(after.lastTaken?.taskId).toBe((await tasksOf()).at(-1)!.id);
  });

  it("takes each tick within milliseconds, and sleeps in between", async () => {
    const node = await world.node();
    await make(node);
    await world.clock.advance(2 * minute + 10);
    for (const { createdAt, terms } of await tasksOf()) {
      expect(createdAt - terms!.scheduledFor!).toBeLessThanOrEqual(5);
    }
  });

  it("gives its tasks what their queue says at the tick", async () => {
    const node = await world.node();
    await make(node, { task: templateOf({ queue: "mail" }) });
    const change = { maxRetries: 7, durability: "relaxed" } as const;
    await world.wait("update", node.coordinator.updateQueue(namespace, "mail", change));
    await world.clock.advance(minute);
    expect(await tasksOf()).toMatchObject([{ maxRetries: 7, durability: "durable" }]);
  });

  it("is found by name only in its namespace, and its name is taken once", async () => {
    const node = await world.node();
    await make(node);
    const { schedules } = node.coordinator;
    expect(await failure(schedules.create(namespace, wanted()))).toMatchObject({
      id: "schedule_exists",
    });
    expect(await failure(schedules.get("other", "report"))).toMatchObject({
      id: "schedule_not_found",
    });
    const past = wanted({ name: "past", timing: { kind: "once", at: 5 } });
    expect(await failure(schedules.create(namespace, past))).toMatchObject({
      field: "schedule.at",
    });
  });

  it("that runs once is over afterwards, and stands as it was", async () => {
    const node = await world.node();
    await make(node, { timing: { kind: "once", at: world.clock.now() + minute } });
    await world.clock.advance(10 * minute);
    expect(await tasksOf()).toHaveLength(1);
    expect(await view(node)).toMatchObject({ nextTickAt: undefined, counts: { taken: 1 } });
  });

  it("whose task is refused says why, and goes on", async () => {
    const node = await world.node();
    await make(node);
    const stored = (await world.wait("read", world.history.schedules.get(namespace, "report")))!;
    const spoilt = { ...stored, task: templateOf({ type: "no spaces" }) };
    await world.wait("change", world.history.schedules.change(spoilt));
    await world.clock.advance(2 * minute);
    const after = await view(node);
    expect(after.counts).toEqual({ taken: 0, skipped: 0, missed: 0, refused: 2 });
    expect(after.lastError).toContain("task.type");
    expect(after.recentTicks[0]).toMatchObject({ outcome: "refused", taskId: "" });
    await world.wait("update", node.coordinator.schedules.update(namespace, wanted()));
    await world.clock.advance(minute);
    expect(await view(node)).toMatchObject({ counts: { taken: 1 }, lastError: undefined });
  });
});

describe("changes", () => {
  it("a paused schedule has no ticks, and goes on after the pause", async () => {
    const node = await world.node();
    const { schedules } = node.coordinator;
    await make(node);
    await world.clock.advance(minute);
    const paused = await world.wait("pause", schedules.pause(namespace, "report", "holiday"));
    expect(paused).toMatchObject({ paused: true, note: "holiday", nextTickAt: undefined });
    await world.clock.advance(5 * minute);
    expect(await ticksOf()).toEqual([1]);
    const resumed = await world.wait("resume", schedules.resume(namespace, "report", undefined));
    expect(resumed).toMatchObject({ paused: false, note: "holiday" });
    await world.clock.advance(minute);
    expect(await ticksOf()).toEqual([1, 7]);
  });

  it("another timing counts from now, another task is that of the next tick", async () => {
    const node = await world.node();
    const { schedules } = node.coordinator;
    await make(node);
    await world.clock.advance(1.5 * minute);
    const other = wanted({ task: templateOf({ type: "other" }) });
    await world.wait("update", schedules.update(namespace, other));
    await world.clock.advance(minute);
    expect((await tasksOf()).map(({ type }) => type)).toEqual(["send_report", "other"]);
    const slower = wanted({ timing: { kind: "every", everyMs: 10 * minute, anchor: 0 } });
    const after = await world.wait("update", schedules.update(namespace, slower));
    expect(after.nextTickAt! % (10 * minute)).toBe(0);
    await world.clock.advance(10 * minute);
    expect(await ticksOf()).toEqual([1, 2, 10]);
  });

  it("one that rests on an older version is refused, however many ticks there were", async () => {
    const node = await world.node();
    const { schedules } = node.coordinator;
    const { version } = await make(node);
    await world.clock.advance(3 * minute);
    const first = await world.wait("update", schedules.update(namespace, wanted(), version));
    expect(first.version).toBe(version + 1);
    const late = schedules.update(namespace, wanted(), version);
    expect(await failure(late)).toMatchObject({ id: "stale_schedule" });
    const gone = schedules.remove(namespace, "report", version);
    expect(await failure(gone)).toMatchObject({ id: "stale_schedule" });
    await world.wait("remove", schedules.remove(namespace, "report"));
    expect(await failure(schedules.remove(namespace, "report"))).toMatchObject({
      id: "schedule_not_found",
    });
    await world.clock.advance(2 * minute);
    expect(await tasksOf()).toHaveLength(3);
  });

  it("one through another coordinator is seen within a second", async () => {
    const [a, b] = [await world.node(), await world.node()];
    await a.crash();
    await make(a, { timing: { kind: "every", everyMs: 2_000, anchor: 0 } });
    await world.clock.advance(3_500);
    expect(await tasksOf()).toHaveLength(1);
    expect((await view(b)).counts.taken).toBe(1);
  });
});

describe("a tick while the task of an earlier one lives", () => {
  const run = async (overlap: OverlapPolicy) => {
    const node = await world.node();
    const worker = await reports(node);
    await make(node, { overlap });
    await world.clock.advance(minute);
    await world.until("leased", () => worker.leases.length === 1);
    return { node, worker };
  };

  it("skip: it is dropped, and counted", async () => {
    const { node, worker } = await run("skip");
    await pass(worker, 2 * minute);
    expect(await ticksOf()).toEqual([1]);
    await finish(worker, 0);
    await world.clock.advance(minute);
    expect(await ticksOf()).toEqual([1, 4]);
    expect(await view(node)).toMatchObject({ counts: { taken: 2, skipped: 2 } });
  });

  it("buffer_one: one waits, however long, and is taken within a second of the end", async () => {
    const { node, worker } = await run("buffer_one");
    await pass(worker, 2 * minute);
    expect(await ticksOf()).toEqual([1]);
    expect(await view(node)).toMatchObject({
      waiting: [expect.any(Number)],
      counts: { skipped: 1 },
    });
    await finish(worker, 0);
    await world.until("taken", () => worker.leases.length === 2, 1_000);
    expect(await ticksOf()).toEqual([1, 2]);
    expect((await view(node)).waiting).toEqual([]);
  });

  it("buffer_one: once its schedule is removed, no task is listened to any more", async () => {
    const { node, worker } = await run("buffer_one");
    await pass(worker, minute + 1_000);
    await world.wait("remove", node.coordinator.schedules.remove(namespace, "report"));
    await finish(worker, 0);
    await world.clock.advance(1_000);
    const watched: string[] = [];
    const watch = node.broker.watch.bind(node.broker);
    node.broker.watch = async (ids) => {
      watched.push(...ids);
      return watch(ids);
    };
    await world.clock.advance(2 * limits.watchMs);
    expect(watched).toEqual([]);
  });

  it("buffer_one: one whose end nobody announced is found by looking", async () => {
    const { node, worker } = await run("buffer_one");
    await pass(worker, minute + 1_000);
    const other = await world.node();
    await node.stop();
    worker.generation += 1;
    await world.open(other, worker, {
      heldTokens: [worker.leases[0]!.token],
      offer: offer(5, ["send_report"]),
    });
    await finish(worker, 0);
    await world.until("taken", () => worker.leases.length === 2, limits.waitingLookMaxMs);
    expect((await view(other)).waiting).toEqual([]);
  });

  it("buffer_all: all wait, and are taken one after the other", async () => {
    const { node, worker } = await run("buffer_all");
    await pass(worker, 3 * minute);
    expect((await view(node)).waiting).toHaveLength(3);
    for (let place = 0; place < 4; place += 1) await finish(worker, place);
    const leased = worker.leases.map(({ task }) => task.terms!.scheduledFor!);
    expect(leased).toEqual(leased.toSorted((a, b) => a - b));
    expect(await ticksOf()).toEqual(expect.arrayContaining([1, 2, 3, 4]));
  });

  it("allow_all: its task is made all the same", async () => {
    await run("allow_all");
    await world.clock.advance(2 * minute);
    expect(await ticksOf()).toEqual([1, 2, 3]);
  });

  it("cancel_other: the earlier one is asked to stop, and the newest tick is taken at its end", async () => {
    const { node, worker } = await run("cancel_other");
    await pass(worker, minute);
    const [first] = worker.leases;
    await world.until("asked", () => worker.commands.length > 0, 2_000);
    expect(worker.commands[0]).toMatchObject({ kind: "cancel" });
    expect(await ticksOf()).toEqual([1]);
    const cancelled = { kind: "cancelled" } as const;
    worker.frame({ results: [{ key: bytesKey(first!.token), outcome: cancelled }] });
    await world.until("taken", () => worker.leases.length === 2, limits.waitingLookMaxMs);
    expect(await ticksOf()).toEqual([1, 2]);
    expect(await tasksOf()).toMatchObject([{ status: "cancelled" }, {}]);
    expect((await view(node)).waiting).toEqual([]);
  });

  it("cancel_other: one that only waits in its queue makes room at once", async () => {
    const node = await world.node();
    await make(node, { overlap: "cancel_other" });
    await world.clock.advance(2 * minute);
    expect(await tasksOf()).toMatchObject([{ status: "cancelled" }, { status: "pending" }]);
  });

  it("a task that was triggered counts as an earlier one", async () => {
    const node = await world.node();
    await make(node, { overlap: "skip" });
    await world.wait("trigger", node.coordinator.schedules.trigger(namespace, "report", ""));
    await world.clock.advance(minute);
    expect(await view(node)).toMatchObject({ counts: { taken: 1, skipped: 1 } });
  });
});

describe("ticks that people ask for", () => {
  it("a trigger makes a task now, paused or not; a repeat of the request the same one", async () => {
    const node = await world.node();
    const { schedules } = node.coordinator;
    await make(node, { paused: true, overlap: "skip" });
    const requestId = formTaskId(world.clock.now() - 5_000, 0, Buffer.alloc(8, 7));
    const first = await world.wait("trigger", schedules.trigger(namespace, "report", requestId));
    const again = await world.wait("again", schedules.trigger(namespace, "report", requestId));
    expect(again).toEqual({ taskId: first.taskId, existing: true });
    await world.clock.advance(1);
    const other = await world.wait("other", schedules.trigger(namespace, "report", ""));
    expect(other).toMatchObject({ existing: false });
    expect(other.taskId).not.toBe(first.taskId);
    const { taskId } = other;
    expect(await view(node)).toMatchObject({ counts: { taken: 2 }, lastTaken: { taskId } });
    const bad = schedules.trigger(namespace, "report", "x");
    expect(await failure(bad)).toMatchObject({ field: "request_id" });
    expect(await failure(schedules.trigger(namespace, "nobody", ""))).toMatchObject({
      id: "schedule_not_found",
    });
  });

  it("triggers of one millisecond make a task each, and their repeats the same ones", async () => {
    const [a, b] = [await world.node(), await world.node()];
    await make(a, { paused: true });
    const time = world.clock.now();
    const requests = Array.from({ length: 18 }, (_, n) => formTaskId(time, 0, Buffer.alloc(8, n)));
    const all = (node: Node) =>
      world.wait(
        "trigger",
        Promise.all(
          ["", "", ...requests].map((id) =>
            node.coordinator.schedules.trigger(namespace, "report", id),
          ),
        ),
      );
    const first = await all(a);
    expect(first.some(({ existing }) => existing)).toBe(false);
    expect(new Set(first.map(({ taskId }) => taskId)).size).toBe(20);
    const again = await all(b);
    const kept = first.slice(2).map(({ taskId }) => ({ taskId, existing: true }));
    expect(again.slice(2)).toEqual(kept);
    expect(await tasksOf()).toHaveLength(22);
    expect(await view(a)).toMatchObject({ counts: { taken: 22 } });
  });

  it("a backfill takes what was not taken of a range, once", async () => {
    const node = await world.node();
    const { schedules } = node.coordinator;
    await make(node);
    await world.clock.advance(2 * minute);
    const until = world.clock.now();
    const range = { from: until - 5 * minute, until, overlap: undefined };
    const filled = await world.wait("backfill", schedules.backfill(namespace, "report", range));
    expect(filled).toMatchObject({ waiting: 0, existing: 2 });
    expect(filled.taskIds.length + 2).toBe(6);
    const again = await world.wait("again", schedules.backfill(namespace, "report", range));
    expect(again).toEqual({ taskIds: [], waiting: 0, existing: 6 });
    expect(await tasksOf()).toHaveLength(6);
    expect((await view(node)).counts.taken).toBe(6);
  });

  it("a backfill may stand in line: one task after the other", async () => {
    const node = await world.node();
    const worker = await reports(node);
    const { schedules } = node.coordinator;
    await make(node, { overlap: "skip" });
    const until = world.clock.now();
    const range = { from: until - 2 * minute, until, overlap: "buffer_all" } as const;
    const filled = await world.wait("backfill", schedules.backfill(namespace, "report", range));
    expect(filled).toEqual({ taskIds: [], waiting: 3, existing: 0 });
    for (let place = 0; place < 3; place += 1) {
      await world.until("leased", () => worker.leases.length === place + 1, 30_000);
      await finish(worker, place);
    }
    expect((await view(node)).recentTicks.map(({ cause }) => cause)).toContain("backfill");
  });

  it("ranges that cannot be filled are refused by name", async () => {
    const node = await world.node();
    const { schedules } = node.coordinator;
    await make(node);
    const now = world.clock.now();
    const refused = async (from: number, until: number, overlap?: OverlapPolicy) =>
      await failure(schedules.backfill(namespace, "report", { from, until, overlap }));
    expect(await refused(now - minute, now + minute)).toMatchObject({ field: "end" });
    expect(await refused(now, now - minute)).toMatchObject({ field: "end" });
    const long = await refused(now - 1_001 * minute, now - 1);
    expect(long).toMatchObject({
      field: "end",
      message: expect.stringContaining("1000") as string,
    });
    expect(await refused(now - minute, now, "skip")).toMatchObject({ field: "overlap_policy" });
  });

  it("a backfill of ticks of which nobody knows any more whether they ran is refused", async () => {
    const node = await world.node();
    const { schedules } = node.coordinator;
    await make(node, { paused: true });
    const from = world.clock.now();
    world.clock.stepWall(limits.tickKeepMs + 86_400_000);
    const range = { from, until: from + 5 * minute, overlap: undefined };
    expect(await failure(schedules.backfill(namespace, "report", range))).toMatchObject({
      field: "start",
      hint: expect.stringContaining("forgotten") as string,
    });
    const before = { from: from - 5 * minute, until: from - 1, overlap: undefined };
    const filled = await world.wait("backfill", schedules.backfill(namespace, "report", before));
    expect(filled.taskIds).toHaveLength(5);
  });

  it("the next ticks are told, of a schedule that stands and of one that does not", async () => {
    const node = await world.node();
    const { schedules } = node.coordinator;
    await make(node, { paused: true });
    const ask = { after: undefined, count: 3 };
    const own = await world.wait("preview", schedules.preview(namespace, "report", ask));
    const now = world.clock.now();
    expect(own.ticks.map((at) => Math.ceil((at - now) / minute))).toEqual([1, 2, 3]);
    const cron = wanted({ timing: { kind: "cron", cron: "@daily", timeZone: "Asia/Tokyo" } });
    const other = await world.wait("preview", schedules.previewWanted(cron, { ...ask, after: 0 }));
    expect(other).toEqual({
      timeZone: "Asia/Tokyo",
      ticks: [15, 39, 63].map((h) => h * 3_600_000),
    });
    const bad = wanted({ task: templateOf({ type: "" }) });
    expect(await failure(schedules.previewWanted(bad, ask))).toMatchObject({
      field: "schedule.task.type",
    });
  });
});

describe("many schedules at the same second", () => {
  it("are dealt with in batches: no call of a store for each tick", async () => {
    const node = await world.node();
    const timing = { kind: "once", at: world.clock.now() + minute } as const;
    for (let n = 0; n < 500; n += 1) await make(node, { name: `n${n}`, timing, overlap: "skip" });
    const calls = countCalls(world.history, world.history.schedules, node.broker);
    await world.until("taken", () => calls["take"] === 3, 2 * minute);
    await world.clock.advance(1_000);
    const { history } = world;
    const query = { namespace, pageSize: 1_000, pageToken: "" };
    expect((await world.wait("match", history.match(query))).ids).toHaveLength(500);
    const { take, due, liveTasks, enqueue, queue, touchQueues } = calls;
    expect({ take, queue, touchQueues }).toEqual({ take: 3, queue: 1, touchQueues: 1 });
    expect(due).toBeLessThanOrEqual(5);
    expect(liveTasks).toBeLessThanOrEqual(6);
    expect(enqueue).toBeLessThanOrEqual(6);
  });
});

describe("with several coordinators", () => {
  it("each tick has one task, whoever dies, and none is left out", async () => {
    const nodes = [await world.node(), await world.node(), await world.node()];
    const everyMs = 5_000;
    const timing = { kind: "every", everyMs, anchor: 0 } as const;
    for (const name of ["a", "b", "c", "d"]) await make(nodes[0]!, { name, timing });
    const from = world.clock.now();
    for (let round = 0; round < 12; round += 1) {
      await world.clock.advance(7_301);
      await nodes.shift()!.crash();
      nodes.push(await world.node());
    }
    await world.clock.advance(everyMs);
    const expected = Math.floor((world.clock.now() - from) / everyMs);
    for (const name of ["a", "b", "c", "d"]) {
      const times = (await tasksOf(name)).map(({ terms }) => terms!.scheduledFor!);
      expect(new Set(times).size).toBe(times.length);
      expect(times.length).toBeGreaterThanOrEqual(expected - 1);
      for (const [n, at] of times.slice(1).entries()) expect(at - times[n]!).toBe(everyMs);
    }
  });

  it("what was missed while nobody was up is caught up with, the window long", async () => {
    const node = await world.node();
    await make(node, { catchUpMs: 10 * minute });
    await world.clock.advance(minute);
    await node.crash();
    await world.clock.advance(20 * minute);
    const next = await world.node();
    await world.clock.advance(2_000);
    const after = await view(next);
    expect(after.counts.missed + after.counts.taken).toBe(21);
    const caughtUp = after.counts.taken - 1;
    expect([10, 11]).toContain(caughtUp);
    expect(await ticksOf()).toEqual([
      1,
      ...Array.from({ length: caughtUp }, (_, n) => 22 - caughtUp + n),
    ]);
  });
});
