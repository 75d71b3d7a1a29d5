import { expect } from "vitest";
import { fencingEpochUnit } from "../../../src/task/ids.js";
import { check, checkDurable, done, failed, ids, type Check } from "./kit.js";

const cold = { kind: "cold", leases: [], more: false };

export const coldChecks: readonly Check[] = [
  check("B13", "leases nothing from a closed partition, and forgets nothing", async (kit) => {
    const task = await kit.submitOne();
    const running = await kit.submitOne({ type: "runs" });
    const holder = await kit.session();
    const [lease] = await kit.lease(holder, 1, [kit.lanes[1]!]);
    expect(lease!.task.id).toBe(running.id);
    await kit.broker.close(0, "a test");
    expect(await kit.broker.status(0)).toMatchObject({ cold: true });
    expect(await kit.leaseReply(holder, 5)).toMatchObject(cold);
    const second = await kit.submitOne();
    expect(await kit.renew(holder)).toEqual(["renewed"]);
    await kit.end(lease!, done);
    expect(await kit.cancel(second)).toMatchObject({ kind: "cancelled" });
    await kit.openAll(1);
    expect(await kit.broker.status(0)).toMatchObject({ cold: false });
    expect(ids(await kit.lease(holder, 5))).toEqual([task.id]);
  }),
  check("B13", "leases nothing eagerly while cold", async (kit) => {
    const holder = await kit.session();
    await kit.broker.close(0, "a test");
    const task = kit.note(kit.task());
    const request = kit.request(holder, 1);
    const reply = await kit.broker.enqueue([{ task, origin: "submit" }], request);
    expect(reply).toMatchObject({ outcomes: [{ kind: "enqueued" }], leases: [] });
    expect(await kit.statusOf(task)).toBe("pending");
  }),
  check("B13", "is cold once emptied, and refilled from history", async (kit) => {
    const tasks = await kit.submitMany(3);
    const before = await kit.broker.status(0);
    expect(before).toMatchObject({ cold: false, epoch: 1, openedOn: before.storeId });
    const holder = await kit.session();
    const lease = await kit.take(holder);
    await kit.harness.wipe();
    const after = await kit.broker.status(0);
    expect(after.cold).toBe(true);
    expect(await kit.get(tasks[0]!)).toBeUndefined();
    expect(await kit.renew(holder)).toEqual(["gone"]);
    expect(await kit.verdict(lease, done)).toBe("stale");
    for (const task of tasks) expect((await kit.restore(task)).kind).toBe("enqueued");
    const again = await kit.session({}, 1);
    expect(await kit.leaseReply(again, 5)).toMatchObject(cold);
    await kit.openAll(2);
    const leases = await kit.lease(again, 5);
    expect(ids(leases)).toEqual(ids(tasks));
    for (const { task } of leases) expect(task.fencingToken).toBeGreaterThan(2 * fencingEpochUnit);
    expect(await kit.verdict(lease, done)).toBe("stale");
  }),
  check("B13", "is cold when the store came back as another process", async (kit) => {
    await kit.submitOne();
    const holder = await kit.session();
    const before = await kit.broker.status(0);
    await kit.harness.replace();
    const after = await kit.broker.status(0);
    expect(after).toMatchObject({ cold: true, openedOn: before.storeId });
    expect(after.storeId).not.toBe(before.storeId);
    expect(await kit.leaseReply(holder)).toMatchObject(cold);
    await kit.openAll(2);
    const lease = await kit.take(holder);
    expect(lease.task.fencingToken).toBeGreaterThan(2 * fencingEpochUnit);
    expect((await kit.broker.status(0)).openedOn).toBe(after.storeId);
  }),
  check("B13", "keeps its fencing numbers rising when opened again as before", async (kit) => {
    await kit.submitMany(2);
    const holder = await kit.session();
    const first = await kit.take(holder);
    await kit.broker.close(0, "a test");
    await kit.openAll(1);
    const second = await kit.take(holder);
    expect(second.task.fencingToken).toBeGreaterThan(first.task.fencingToken);
  }),
  check(
    "B13",
    "opens its partitions one by one",
    async (kit) => {
      await kit.broker.close(1, "a test");
      const states = await Promise.all([0, 1].map((p) => kit.broker.status(p)));
      expect(states.map((state) => state.cold)).toEqual([false, true]);
    },
    { partitions: 2 },
  ),
  checkDurable("B13", "plants the tombstones of what history ended", async (kit) => {
    const [waiting, gone, later] = await kit.submitMany(3);
    const absent = kit.task();
    const holder = await kit.session();
    const [lease] = await kit.lease(holder, 1);
    const end = { status: "completed", completedAt: 5 } as const;
    await kit.broker.close(0, "a test");
    await kit.broker.bury([
      { ...waiting!, ...end },
      { ...gone!, ...end },
      { ...later!, ...end, run: 0 },
      { ...absent, ...end },
    ]);
    expect(await kit.broker.get(ids([waiting!, gone!, absent]))).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    await kit.openAll(2);
    expect(await kit.verdict(lease!, done)).toBe("stale");
    expect((await kit.restore(absent)).kind).toBe("known");
    expect((await kit.restore(gone!)).kind).toBe("known");
    expect(ids(await kit.lease(holder, 5))).toEqual([later!.id]);
    expect(await kit.outbox()).toEqual([]);
  }),
  check("B13", "buries no end of its own that waits to be recorded", async (kit) => {
    const task = await kit.submitOne();
    const end = await kit.end(await kit.take(await kit.session()), failed());
    await kit.broker.bury([{ ...task, status: "failed", completedAt: 5 }]);
    expect(await kit.statusOf(task)).toBe("failed");
    await kit.recorded(end);
    expect(await kit.get(task)).toBeUndefined();
  }),
];
