import { expect } from "vitest";
import { limits } from "../../../src/limits.js";
import type { Lease, Settlement } from "../../../src/broker/broker.js";
import {
  decodeLeaseToken,
  fencingEpochUnit,
  partitionOfSlot,
  slotOfQueue,
} from "../../../src/task/ids.js";
import type { Task } from "../../../src/task/task.js";
import { laneOf } from "../../support/task-factory.js";
import { check, done, ids, lost, quarantined, released, type Check, type Kit } from "./kit.js";

const large = (bytes: number) => ({ contentType: "text/plain", data: new Uint8Array(bytes) });

async function eager(kit: Kit, tasks: ReturnType<Kit["task"]>[], slots: number) {
  for (const task of tasks) kit.note(task);
  const holder = await kit.session();
  const request = kit.request(holder, slots);
  return kit.broker.enqueue(
    tasks.map((task) => ({ task, origin: "submit" as const })),
    request,
  );
}

export const leaseChecks: readonly Check[] = [
  check("B4", "shows the grant in the lease and in the record", async (kit) => {
    const task = await kit.submitOne({ timeoutMs: 60_000 });
    const holder = await kit.session({ workerId: "worker-7" });
    const lease = await kit.take(holder);
    expect(lease.sessionId).toBe(holder.sessionId);
    expect(lease.timeoutMs).toBeGreaterThan(50_000);
    expect(lease.timeoutMs).toBeLessThanOrEqual(60_000);
    const granted = {
      id: task.id,
      status: "running",
      attempt: 1,
      version: task.version + 1,
      sessionId: holder.sessionId,
      workerId: "worker-7",
      retryCount: 0,
    };
    expect(lease.task).toMatchObject(granted);
    expect(await kit.get(task)).toMatchObject(granted);
    expect(lease.task.startedAt).toBeGreaterThanOrEqual(task.createdAt);
    const token = decodeLeaseToken(lease.token);
    expect(token).toMatchObject({ taskId: task.id, fencingToken: lease.task.fencingToken });
  }),
  check("B4", "hands the whole task over, as it was asked", async (kit) => {
    const spec = {
      type: "export_data",
      payload: { contentType: "application/x-thing", data: Uint8Array.from([0, 255, 10, 13, 0]) },
      maxRetries: 7,
      retry: {
        initialBackoffMs: 5,
        maxBackoffMs: 50,
        multiplier: 1.5,
        jitter: 0.25,
        nonRetryableCodes: ["a", "b"],
        backoff: "linear",
        delaysMs: [5, 70_000_000],
      },
      timeoutMs: 1_234,
      groupKey: "größe \u0000 {x}",
      requiredLabels: { b: "2", a: "1" },
      tags: ["x", "y:z"],
      idempotencyKey: "key {1}",
      retentionMs: 99_000,
      traceContext: { traceparent: "00-1-2-01" },
      terms: {
        unique: { key: "k", scope: "for_time", windowMs: 5_000, onConflict: "replace" },
        expireAt: 4_000_000_000_000,
        deadline: 4_000_000_000_001,
        heartbeatTimeoutMs: 604_800_000,
        batchId: "0198b2a0-0000-7000-8000-000000000001",
        schedule: "nightly größe",
        scheduledFor: 3_999_999_999_999,
      },
    } as const;
    const task = await kit.submitOne(spec);
    const lease = await kit.take(await kit.session());
    for (const seen of [lease.task, (await kit.get(task))!]) {
      expect(Buffer.from(seen.payload!.data)).toEqual(Buffer.from(spec.payload.data));
      expect({ ...seen, payload: undefined }).toMatchObject({ ...spec, payload: undefined });
    }
  }),
  check("B4", "carries payloads of every size, and none", async (kit) => {
    const holder = await kit.session();
    for (const bytes of [0, 1, 1_023, 1_024, 1_025, limits.payloadBytes]) {
      await kit.submitOne({ payload: large(bytes) });
      expect((await kit.take(holder)).task.payload?.data.length).toBe(bytes);
    }
    await kit.submitOne({ payload: undefined });
    expect((await kit.take(holder)).task.payload).toBeUndefined();
  }),
  check("B4", "never goes above a session's slots", async (kit) => {
    await kit.submitMany(10);
    const one = await kit.session();
    const other = await kit.session();
    const { leases } = await kit.broker.lease({
      ...kit.request(one, 0),
      sessions: [
        { ...one, slots: 2 },
        { ...other, slots: 3 },
      ],
    });
    const heldBy = (sessionId: string) => leases.filter((lease) => lease.sessionId === sessionId);
    expect([heldBy(one.sessionId).length, heldBy(other.sessionId).length]).toEqual([2, 3]);
    expect(new Set(ids(leases)).size).toBe(5);
    expect(await kit.lease(one, 0)).toEqual([]);
  }),
  check("B4", "leases a task once, however many coordinators ask", async (kit) => {
    const tasks = await kit.submitMany(60);
    const brokers = [kit.broker, await kit.harness.another(), await kit.harness.another()];
    const holders = [await kit.session(), await kit.session(), await kit.session()];
    const calls = Array.from({ length: 12 }, (_, n) =>
      brokers[n % 3]!.lease(kit.request(holders[n % 3]!, 7)),
    );
    const leases = (await Promise.all(calls)).flatMap((reply) => reply.leases);
    expect(ids(leases).toSorted()).toEqual(ids(tasks).toSorted());
  }),
  check("B4", "leases nothing to a session it does not know", async (kit) => {
    await kit.submitOne();
    const reply = await kit.leaseReply({ sessionId: "nobody", generation: 1 });
    expect(reply).toMatchObject({ leases: [], lostSessions: ["nobody"] });
  }),
  check("B4", "leases nothing to another generation than the one that holds", async (kit) => {
    await kit.submitOne();
    const { sessionId } = await kit.session({}, 2);
    for (const generation of [1, 3]) {
      const reply = await kit.leaseReply({ sessionId, generation });
      expect(reply).toMatchObject({ leases: [], lostSessions: [sessionId] });
    }
    expect(await kit.lease({ sessionId, generation: 2 })).toHaveLength(1);
  }),
  check("B4", "leases nothing to a dead session, before any sweep has seen it", async (kit) => {
    await kit.submitOne();
    const holder = await kit.session();
    await kit.harness.advance(limits.sessionLeaseMs + 500);
    const reply = await kit.leaseReply(holder);
    expect(reply).toMatchObject({ leases: [], lostSessions: [holder.sessionId] });
  }),
  check("B4", "serves the living when another session of the call is lost", async (kit) => {
    await kit.submitOne();
    const holder = await kit.session();
    const reply = await kit.broker.lease({
      ...kit.request(holder, 0),
      sessions: [
        { sessionId: "nobody", generation: 1, slots: 1 },
        { ...holder, slots: 1 },
      ],
    });
    expect(reply.leases).toHaveLength(1);
    expect(reply.lostSessions).toEqual(["nobody"]);
  }),
  check("B4", "raises the fencing number with every grant, and with the epoch", async (kit) => {
    await kit.submitMany(4);
    const holder = await kit.session();
    const numbers: number[] = [];
    for (let n = 0; n < 2; n += 1) numbers.push((await kit.take(holder)).task.fencingToken);
    await kit.broker.open(0, 7);
    for (let n = 0; n < 2; n += 1) numbers.push((await kit.take(holder)).task.fencingToken);
    expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
    expect(new Set(numbers).size).toBe(4);
    expect(numbers[0]).toBeGreaterThan(fencingEpochUnit);
    expect(numbers[2]).toBeGreaterThan(7 * fencingEpochUnit);
    expect(numbers[3]).toBe(numbers[2]! + 1);
  }),
  check("B4", "stops at the bytes of the reply, but always moves one task", async (kit) => {
    const tasks = await kit.submitMany(4, { payload: large(100_000) });
    const holder = await kit.session();
    const some = await kit.broker.lease({ ...kit.request(holder, 4), maxBytes: 250_000 });
    expect(ids(some.leases)).toEqual(ids(tasks.slice(0, 2)));
    expect(some.more).toBe(true);
    const one = await kit.broker.lease({ ...kit.request(holder, 4), maxBytes: 10 });
    expect(ids(one.leases)).toEqual([tasks[2]!.id]);
  }),
  check("B4", "says whether leasable work was left for want of slots", async (kit) => {
    await kit.submitMany(3);
    const holder = await kit.session();
    expect(await kit.leaseReply(holder, 2)).toMatchObject({ more: true });
    expect(await kit.leaseReply(holder, 2)).toMatchObject({ more: false });
    expect(await kit.leaseReply(holder, 2)).toMatchObject({ more: false, leases: [] });
  }),
  check("B4", "bounds one call", async (kit) => {
    await kit.submitMany(limits.leaseBatch + 20);
    const holder = await kit.session();
    const reply = await kit.leaseReply(holder, limits.leaseBatch + 100);
    expect(reply.leases.length).toBeLessThanOrEqual(limits.leaseBatch);
    expect(reply.leases.length).toBeGreaterThan(0);
    expect(reply.more).toBe(true);
  }),
  check("B4", "lets a session hold one quarantined task of a lane at a time", async (kit) => {
    const crashed: Task[] = [];
    for (let n = 0; n < 2; n += 1) {
      const task = await kit.submitOne();
      await kit.loseOne(lost);
      await kit.loseOne(quarantined(600_000));
      expect(await kit.get(task)).toMatchObject({ status: "retrying", leaseLosses: 2 });
      crashed.push(task);
    }
    for (const task of crashed) await kit.broker.promoteNow(task.id);
    const keeper = await kit.session();
    const [held] = await kit.lease(keeper, 5);
    expect(await kit.leaseReply(keeper, 5)).toMatchObject({ leases: [] });
    const fresh = await kit.submitOne();
    expect(ids(await kit.lease(keeper, 5))).toEqual([fresh.id]);
    const other = await kit.lease(await kit.session(), 5);
    expect(ids([held!, ...other]).toSorted()).toEqual(ids(crashed).toSorted());
    await kit.end(other[0]!, released());
    expect(await kit.lease(keeper, 5)).toEqual([]);
    await kit.end(held!, done);
    expect(ids(await kit.lease(keeper, 5))).toEqual(ids(other));
  }),

  check(
    "B4",
    "keeps partitions apart, and a session whole",
    async (kit) => {
      const queues = Array.from({ length: 8 }, (_, n) => `queue-${n}`);
      const tasks = await kit.submit(...queues.map((queue) => kit.task({ queue })));
      const holder = await kit.session();
      const partitionOf = (queue: string) => partitionOfSlot(slotOfQueue("default", queue), 4);
      const leases: Lease[] = [];
      for (const partition of [0, 1, 2, 3]) {
        const lanes = kit.lanes.filter(({ queue }) => partitionOf(queue) === partition);
        const reply = await kit.broker.lease({ ...kit.request(holder, 9, lanes), partition });
        expect(reply.leases).toHaveLength(lanes.length);
        leases.push(...reply.leases);
      }
      expect(ids(leases).toSorted()).toEqual(ids(tasks).toSorted());
      const tokens = leases.map((lease) => lease.token);
      const resumed = await kit.resume({ ...holder, generation: 2 }, tokens);
      expect(resumed).toMatchObject({ kind: "opened", resumed: true, revoked: [], missing: [] });
      expect(resumed.kind === "opened" && resumed.kept).toHaveLength(8);
      expect(await kit.broker.listSessions()).toHaveLength(1);
      const replies = await kit.broker.settle(
        leases.map(({ token, sessionId }) => ({ ...done, token, sessionId }) as Settlement),
      );
      expect(replies.map(({ transition }) => transition?.task.id)).toEqual(ids(leases));
      for (const { transition } of replies) {
        expect(transition!.partition).toBe(partitionOf(transition!.task.queue));
      }
    },
    { partitions: 4 },
  ),
  check("B4", "leases what just came in, when asked to", async (kit) => {
    const tasks = [kit.task(), kit.task()];
    const { outcomes, leases } = await eager(kit, tasks, 5);
    expect(outcomes.map(({ kind }) => kind)).toEqual(["enqueued", "enqueued"]);
    expect(ids(leases)).toEqual(ids(tasks));
    expect(leases[0]!.task).toMatchObject({ status: "running", attempt: 1 });
    const slots = await eager(kit, [kit.task(), kit.task()], 1);
    expect(slots.leases).toHaveLength(1);
  }),
  check("B2", "keeps in order what came in and found no room at once", async (kit) => {
    for (const durability of ["durable", "relaxed"] as const) {
      const tasks = Array.from({ length: 4 }, () => kit.task({ queue: durability, durability }));
      const { leases } = await eager(kit, tasks, 2);
      expect(ids(leases)).toEqual(ids(tasks.slice(0, 2)));
      const counts = await kit.broker.counts("default");
      const of = (status: Task["status"]) =>
        counts.find((one) => one.queue === durability && one.status === status)?.tasks;
      expect([of("pending"), of("running")]).toEqual([2, 2]);
      const holder = await kit.session();
      expect(ids(await kit.lease(holder, 5))).toEqual(ids(tasks.slice(2)));
      for (const lease of leases) expect(await kit.verdict(lease, done)).toBe("accepted");
    }
  }),
  check("B4", "never lets what just came in overtake what waited", async (kit) => {
    const first = await kit.submitOne();
    const { leases } = await eager(kit, [kit.task({ priority: 3 })], 5);
    expect(leases).toEqual([]);
    const holder = await kit.session();
    expect(await kit.lease(holder, 5)).toHaveLength(2);
    expect(await kit.statusOf(first)).toBe("running");
  }),
  check("B4", "leases nothing eagerly that waits, is paused or is known", async (kit) => {
    const runAt = (await kit.broker.now()) + 60_000;
    expect((await eager(kit, [kit.task({ runAt })], 5)).leases).toEqual([]);
    await kit.broker.setQueue({ namespace: "default", queue: "shut", paused: true });
    expect((await eager(kit, [kit.task({ queue: "shut" })], 5)).leases).toEqual([]);
    const known = kit.task();
    expect((await eager(kit, [known], 5)).leases).toHaveLength(1);
    const again = await eager(kit, [known], 5);
    expect(again).toMatchObject({ outcomes: [{ kind: "known" }], leases: [] });
  }),

  check("B10", "leases nothing from a paused queue, and all of it once resumed", async (kit) => {
    const shut = await kit.submitMany(2, { queue: "shut" });
    const open = await kit.submitOne({ queue: "open" });
    const control = { namespace: "default", queue: "shut" };
    await kit.broker.setQueue({ ...control, paused: true });
    const holder = await kit.session();
    const reply = await kit.leaseReply(holder, 5);
    expect(ids(reply.leases)).toEqual([open.id]);
    expect(reply.more).toBe(false);
    await kit.broker.setQueue({ ...control, paused: false });
    expect(ids(await kit.lease(holder, 5))).toEqual(ids(shut));
  }),
  check("B10", "pauses a queue of its namespace only, known or not yet", async (kit) => {
    await kit.broker.setQueue({ namespace: "default", queue: "later", paused: true });
    await kit.submitOne({ queue: "later" });
    const other = await kit.submitOne({ namespace: "other", queue: "later" });
    expect(ids(await kit.lease(await kit.session(), 5))).toEqual([other.id]);
  }),
  check("B10", "lets running tasks of a paused queue end", async (kit) => {
    const task = await kit.submitOne();
    const lease = await kit.take(await kit.session());
    await kit.broker.setQueue({ namespace: "default", queue: "default", paused: true });
    await kit.end(lease, done);
    expect(await kit.statusOf(task)).toBe("completed");
  }),
  check(
    "B10",
    "refuses a lane too many, and takes it once another is empty",
    async (kit) => {
      const [one] = await kit.submit(kit.task({ type: "one" }), kit.task({ type: "two" }));
      const third = kit.task({ type: "three" });
      expect(await kit.enqueue(third)).toEqual([{ kind: "too_many_lanes" }]);
      expect(await kit.get(third)).toBeUndefined();
      await kit.submitOne({ type: "three", queue: "elsewhere" });
      const lanes = await kit.broker.lanes("default", "default");
      expect(lanes.map(({ type }) => type).toSorted()).toEqual(["one", "two"]);
      const [lease] = await kit.lease(await kit.session(), 1, [laneOf(one!)]);
      await kit.recorded(await kit.end(lease!, done));
      await kit.submit(third);
    },
    { bounds: { lanesPerQueue: 2 } },
  ),
];
