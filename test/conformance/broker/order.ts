import { expect } from "vitest";
import { limits } from "../../../src/limits.js";
import { FreshTask } from "../../../src/task/fresh-task.js";
import type { Task } from "../../../src/task/task.js";
import { laneOf } from "../../support/task-factory.js";
import { check, done, failed, ids, released, type Check, type Kit } from "./kit.js";

/** Groups of the next grants, one call each. */
async function groupsOf(kit: Kit, grants: number): Promise<Record<string, number>> {
  const holder = await kit.session();
  const seen: Record<string, number> = {};
  for (let n = 0; n < grants; n += 1) {
    const { groupKey } = (await kit.take(holder)).task;
    seen[groupKey] = (seen[groupKey] ?? 0) + 1;
  }
  return seen;
}

function expectEven(seen: Record<string, number>, groups: number, each: number): void {
  expect(Object.keys(seen)).toHaveLength(groups);
  for (const [group, count] of Object.entries(seen)) {
    expect(Math.abs(count - each), `grants of group "${group}"`).toBeLessThanOrEqual(1);
  }
}

export const orderChecks: readonly Check[] = [
  check("B2", "leases a lane's tasks in the order of their enqueue", async (kit) => {
    const tasks = [...(await kit.submitMany(5)), ...(await kit.submitMany(5))];
    const holder = await kit.session();
    expect(ids(await kit.lease(holder, 4))).toEqual(ids(tasks.slice(0, 4)));
    expect(ids(await kit.lease(holder, 10))).toEqual(ids(tasks.slice(4)));
  }),
  check(
    "B2",
    "takes tasks that are alike in as it takes whole ones, and each once",
    async (kit) => {
      const payload = { contentType: "application/json", data: new Uint8Array(0) };
      const durability = "relaxed";
      const medium = kit.task({ payload, durability });
      const high = kit.task({ payload, durability, priority: 2 });
      const frame = Buffer.from("1,22,333");
      const fresh = [medium, medium, high, medium].map(
        (spec, place) => new FreshTask(kit.task().id, spec, frame, place, 5),
      );
      const whole = kit.task({ durability });
      const items = [...fresh, { task: whole, origin: "submit" } as const];
      for (const { task } of items) kit.note(task);
      const { outcomes, births } = await kit.broker.enqueue(items);
      expect(outcomes.map(({ kind }) => kind)).toEqual(items.map(() => "enqueued"));
      // Those of another priority may go by another call.
      const born = births.flatMap((some) => some.ids);
      expect(born.toSorted()).toEqual(items.map(({ task }) => task.id).toSorted());
      const again = await kit.broker.enqueue(fresh);
      expect(again.outcomes).toEqual(fresh.map(() => ({ kind: "known" })));
      const read = await kit.broker.get(fresh.map(({ id }) => id));
      const dataOf = (task: Task | undefined) => Buffer.from(task!.payload!.data).toString();
      expect(read.map(dataOf)).toEqual(["1,22,", ",22,", "22,", "2,"]);
      expect(read.map((task) => task!.priority)).toEqual([1, 1, 2, 1]);
      const leases = await kit.lease(await kit.session(), 5);
      const inOrder = [fresh[2]!, fresh[0]!, fresh[1]!, fresh[3]!].map(({ id }) => id);
      expect(ids(leases)).toEqual([...inOrder, whole.id]);
    },
  ),
  check("B2", "leases the higher priority first", async (kit) => {
    const low = await kit.submitOne({ priority: 0 });
    const critical = await kit.submitOne({ priority: 3 });
    const medium = await kit.submitOne({ priority: 1 });
    const high = await kit.submitOne({ priority: 2 });
    const leases = await kit.lease(await kit.session(), 4);
    expect(ids(leases)).toEqual(ids([critical, high, medium, low]));
  }),
  check("B2", "goes by priority across the lanes of a call", async (kit) => {
    const low = await kit.submitOne({ queue: "one", priority: 0 });
    const high = await kit.submitOne({ queue: "two", priority: 3 });
    const medium = await kit.submitOne({ queue: "one", type: "resize", priority: 1 });
    const leases = await kit.lease(await kit.session(), 3);
    expect(ids(leases)).toEqual(ids([high, medium, low]));
  }),
  check("B2", "takes every 16th grant from below the top level", async (kit) => {
    await kit.submitMany(40, { priority: 3 });
    await kit.submitMany(40, { priority: 0 });
    const holder = await kit.session();
    const priorities: number[] = [];
    for (let n = 0; n < 32; n += 1) priorities.push((await kit.take(holder)).task.priority);
    const expected = Array.from({ length: 32 }, (_, n) => (n % 16 === 15 ? 0 : 3));
    expect(priorities).toEqual(expected);
  }),
  check("B2", "keeps the starvation share in one large call", async (kit) => {
    await kit.submitMany(80, { priority: 2 });
    await kit.submitMany(80, { priority: 1 });
    const leases = await kit.lease(await kit.session(), 48);
    expect(leases.filter(({ task }) => task.priority === 1)).toHaveLength(3);
    const high = leases.filter(({ task }) => task.priority === 2);
    expect(ids(high)).toEqual(ids(high).toSorted());
  }),
  check("B2", "counts the starvation share over calls and coordinators", async (kit) => {
    await kit.submitMany(40, { priority: 3 });
    await kit.submitMany(40, { priority: 0 });
    const holder = await kit.session();
    const other = await kit.harness.another();
    const first = await kit.lease(holder, 10);
    const second = (await other.lease(kit.request(holder, 10))).leases;
    const low = [...first, ...second].filter(({ task }) => task.priority === 0);
    expect(low).toHaveLength(1);
  }),
  check("B2", "keeps to the top level while there is nothing below", async (kit) => {
    const tasks = await kit.submitMany(20, { priority: 2 });
    expect(ids(await kit.lease(await kit.session(), 20))).toEqual(ids(tasks));
  }),
  check("B2", "gives a released task back its place", async (kit) => {
    const tasks = await kit.submitMany(3);
    const holder = await kit.session();
    await kit.end(await kit.take(holder), released());
    expect(ids(await kit.lease(holder, 3))).toEqual(ids(tasks));
  }),
  check("B2", "gives a retried task back its place", async (kit) => {
    const tasks = await kit.submitMany(3);
    const holder = await kit.session();
    await kit.end(await kit.take(holder), failed(1_000));
    await kit.elapse(2_000, holder);
    expect(ids(await kit.lease(holder, 3))).toEqual(ids(tasks));
  }),
  check("B2", "gives a released task of a group back its place", async (kit) => {
    const tasks = await kit.submitMany(3, { groupKey: "a" });
    const holder = await kit.session();
    await kit.end(await kit.take(holder), released());
    expect(ids(await kit.lease(holder, 3))).toEqual(ids(tasks));
  }),
  check("B2", "leases only from the lanes that were named", async (kit) => {
    const email = await kit.submitOne({ type: "send_email" });
    const gpu = await kit.submitOne({ requiredLabels: { gpu: "a100", zone: "eu" } });
    await kit.submitOne({ type: "resize" });
    await kit.submitOne({ namespace: "other" });
    const holder = await kit.session();
    expect(ids(await kit.lease(holder, 9, [laneOf(email)]))).toEqual([email.id]);
    const lane = { ...laneOf(gpu), requiredLabels: { zone: "eu", gpu: "a100" } };
    expect(ids(await kit.lease(holder, 9, [lane]))).toEqual([gpu.id]);
  }),
  check("B2", "serves an unknown lane with nothing", async (kit) => {
    const holder = await kit.session();
    const reply = await kit.leaseReply(holder, 5, [laneOf(kit.task({ type: "never_seen" }))]);
    expect(reply).toMatchObject({ kind: "ok", leases: [], more: false, lostSessions: [] });
  }),

  check("B3", "shares a level evenly among groups and the ungrouped", async (kit) => {
    for (const groupKey of ["", "a", "b"]) await kit.submitMany(40, { groupKey });
    expectEven(await groupsOf(kit, 30), 3, 10);
  }),
  check("B3", "shares evenly in one large call", async (kit) => {
    for (const groupKey of ["", "a", "b", "c"]) await kit.submitMany(50, { groupKey });
    const leases = await kit.lease(await kit.session(), 100);
    const seen: Record<string, number> = {};
    for (const { task } of leases) seen[task.groupKey] = (seen[task.groupKey] ?? 0) + 1;
    expectEven(seen, 4, 25);
  }),
  check("B3", "lets a newcomer wait behind at most one task of each other group", async (kit) => {
    for (const groupKey of ["a", "b", "c"]) await kit.submitMany(30, { groupKey });
    await groupsOf(kit, 20);
    await kit.submitMany(5, { groupKey: "new" });
    expect(await groupsOf(kit, 4)).toHaveProperty("new", 1);
  }),
  check("B3", "gives a group no credit for the time it was away", async (kit) => {
    await kit.submitMany(60, { groupKey: "a" });
    await groupsOf(kit, 30);
    await kit.submitMany(30, { groupKey: "b" });
    expectEven(await groupsOf(kit, 20), 2, 10);
  }),
  check("B3", "keeps the order within a group", async (kit) => {
    const a = await kit.submitMany(10, { groupKey: "a" });
    const b = await kit.submitMany(10, { groupKey: "b" });
    const leases = await kit.lease(await kit.session(), 20);
    expect(ids(leases.filter(({ task }) => task.groupKey === "a"))).toEqual(ids(a));
    expect(ids(leases.filter(({ task }) => task.groupKey === "b"))).toEqual(ids(b));
  }),
  check("B3", "puts priority before fairness", async (kit) => {
    await kit.submitMany(5, { groupKey: "a", priority: 1 });
    const high = await kit.submitMany(5, { groupKey: "b", priority: 2 });
    expect(ids(await kit.lease(await kit.session(), 5))).toEqual(ids(high));
  }),
  check("B3", "does not charge a flow for tasks that wait for their time", async (kit) => {
    await kit.submitMany(50, { runAt: (await kit.broker.now()) + 3_600_000 });
    await kit.submitMany(20, { groupKey: "a" });
    await kit.submitMany(20, { groupKey: "" });
    expectEven(await groupsOf(kit, 20), 2, 10);
  }),
  check("B3", "survives a group that is cancelled away and comes back", async (kit) => {
    const gone = await kit.submitMany(3, { groupKey: "a" });
    const kept = await kit.submitMany(3, { groupKey: "b" });
    for (const task of gone) expect((await kit.cancel(task)).kind).toBe("cancelled");
    const holder = await kit.session();
    expect(ids(await kit.lease(holder, 9))).toEqual(ids(kept));
    const back = await kit.submitMany(2, { groupKey: "a" });
    expect(ids(await kit.lease(holder, 9))).toEqual(ids(back));
  }),

  check("B7", "leases a delayed task neither before its time nor a sweep later", async (kit) => {
    const task = await kit.submitOne({ runAt: (await kit.broker.now()) + 60_000 });
    expect(await kit.statusOf(task)).toBe("scheduled");
    const early = await kit.elapse(50_000);
    expect(early.nextDueInMs).toBeGreaterThan(0);
    expect(early.nextDueInMs).toBeLessThanOrEqual(10_000);
    const holder = await kit.session();
    expect(await kit.lease(holder)).toEqual([]);
    await kit.harness.advance(10_000);
    await kit.broker.sweep(0);
    await kit.renew(holder);
    expect(await kit.statusOf(task)).toBe("pending");
    expect((await kit.take(holder)).task.id).toBe(task.id);
  }),
  check("B7", "takes a task in as ready when its time has passed", async (kit) => {
    const task = await kit.submitOne({ runAt: (await kit.broker.now()) - 1 });
    expect(await kit.statusOf(task)).toBe("pending");
  }),
  check("B7", "promotes many due tasks, each once", async (kit) => {
    const runAt = (await kit.broker.now()) + 5_000;
    const tasks = await kit.submitMany(100, { runAt });
    await kit.harness.advance(6_000);
    expect((await kit.broker.sweep(0)).promoted).toBe(100);
    const again = await kit.broker.sweep(0);
    expect(again).toMatchObject({ promoted: 0, nextDueInMs: undefined });
    const leases = await kit.lease(await kit.session(), 200);
    expect(ids(leases).toSorted()).toEqual(ids(tasks).toSorted());
  }),
  check("B7", "promotes a waiting task at once when asked", async (kit) => {
    const runAt = (await kit.broker.now()) + 3_600_000;
    const task = await kit.submitOne({ runAt });
    expect(await kit.broker.promoteNow(task.id)).toMatchObject({ id: task.id, status: "pending" });
    const holder = await kit.session();
    const lease = await kit.take(holder);
    expect(await kit.broker.promoteNow(task.id)).toBeUndefined();
    await kit.end(lease, failed(3_600_000));
    expect(await kit.broker.promoteNow(task.id)).toMatchObject({ status: "pending" });
    expect((await kit.take(holder)).task.id).toBe(task.id);
  }),
  check("B7", "promotes nothing that does not wait for a time", async (kit) => {
    const task = await kit.submitOne();
    expect(await kit.broker.promoteNow(task.id)).toBeUndefined();
    expect(await kit.broker.promoteNow(kit.task().id)).toBeUndefined();
    const lease = await kit.take(await kit.session());
    await kit.end(lease, done);
    expect(await kit.broker.promoteNow(task.id)).toBeUndefined();
    expect(await kit.statusOf(task)).toBe("completed");
  }),
  check("B7", "waits out a backoff before the next attempt", async (kit) => {
    const task = await kit.submitOne();
    const holder = await kit.session();
    await kit.end(await kit.take(holder), failed(limits.backoffMaxMs));
    expect(await kit.statusOf(task)).toBe("retrying");
    await kit.harness.advance(limits.backoffMaxMs - 20_000);
    const again = await kit.session();
    await kit.broker.sweep(0);
    expect(await kit.lease(again)).toEqual([]);
    await kit.harness.advance(20_000);
    await kit.broker.sweep(0);
    const last = await kit.session();
    expect((await kit.take(last)).task).toMatchObject({ id: task.id, attempt: 2, retryCount: 1 });
  }),
];
