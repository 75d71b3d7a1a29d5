import { expect } from "vitest";
import { limits } from "../../../src/limits.js";
import { check, done, failed, ids, released, type Check } from "./kit.js";

export const identityChecks: readonly Check[] = [
  check("B1", "keeps a task as it came, readable and counted", async (kit) => {
    const task = await kit.submitOne({ priority: 3 });
    expect(await kit.get(task)).toMatchObject({
      id: task.id,
      status: "pending",
      version: 1,
      run: 1,
      attempt: 0,
      createdAt: task.createdAt,
      startedAt: undefined,
      completedAt: undefined,
      result: undefined,
      error: undefined,
    });
    expect(await kit.counts()).toEqual({ "default/default/3/pending": 1 });
    const stranger = kit.task();
    expect(await kit.broker.get([stranger.id, task.id])).toMatchObject([
      undefined,
      { id: task.id },
    ]);
  }),
  check("B1", "takes a known id in once, in one call and in several", async (kit) => {
    const task = kit.task();
    const kinds = (await kit.enqueue(task, task)).map((outcome) => outcome.kind);
    expect(kinds).toEqual(["enqueued", "known"]);
    const changed = { ...task, priority: 3 as const, type: "other" };
    expect((await kit.broker.enqueue([{ task: changed, origin: "submit" }])).outcomes).toEqual([
      { kind: "known" },
    ]);
    expect(await kit.get(task)).toMatchObject({ priority: 1, type: task.type });
    const holder = await kit.session();
    const lease = await kit.take(holder);
    expect(await kit.enqueue(task)).toEqual([{ kind: "known" }]);
    expect(await kit.lease(holder, 5)).toEqual([]);
    await kit.end(lease, done);
    expect(await kit.enqueue(task)).toEqual([{ kind: "known" }]);
    expect(await kit.statusOf(task)).toBe("completed");
  }),
  check("B1", "takes an id in once when coordinators race", async (kit) => {
    const task = kit.note(kit.task());
    const brokers = [kit.broker, await kit.harness.another()];
    const replies = await Promise.all(
      [0, 1, 0, 1].map((n) => brokers[n]!.enqueue([{ task, origin: "submit" }])),
    );
    const kinds = replies.map(({ outcomes }) => outcomes[0]!.kind).toSorted();
    expect(kinds).toEqual(["enqueued", "known", "known", "known"]);
    expect(await kit.lease(await kit.session(), 5)).toHaveLength(1);
  }),
  check("B1", "answers a batch item by item", async (kit) => {
    const known = await kit.submitOne();
    const tasks = [kit.task(), known, kit.task({ queue: "other" })];
    const kinds = (await kit.enqueue(...tasks)).map((outcome) => outcome.kind);
    expect(kinds).toEqual(["enqueued", "known", "enqueued"]);
  }),
  check("B1", "restores nothing over a live record", async (kit) => {
    const task = await kit.submitOne();
    expect((await kit.restore(task)).kind).toBe("known");
    const lease = await kit.take(await kit.session());
    expect((await kit.restore(task)).kind).toBe("known");
    expect((await kit.restore({ ...task, status: "retrying" })).kind).toBe("known");
    expect(await kit.statusOf(task)).toBe("running");
    await kit.end(lease, done);
    expect((await kit.restore(task)).kind).toBe("known");
    expect(await kit.statusOf(task)).toBe("completed");
  }),
  check("B1", "restores what history shows as running as a task that waits", async (kit) => {
    const task = kit.task({ status: "running", attempt: 2, version: 6, fencingToken: 77, run: 2 });
    expect((await kit.restore(task)).kind).toBe("enqueued");
    expect(await kit.get(task)).toMatchObject({ status: "pending", attempt: 2, run: 2 });
    const lease = await kit.take(await kit.session());
    expect(lease.task).toMatchObject({ attempt: 3, run: 2, version: 7 });
    expect(lease.task.fencingToken).toBeGreaterThan(77);
  }),
  check("B1", "restores a backoff with its time, and charges what was charged", async (kit) => {
    const readyAt = (await kit.broker.now()) + 60_000;
    const charged = { retryCount: 2, leaseLosses: 1, error: undefined };
    const task = kit.task({ status: "retrying", readyAt, ...charged });
    expect((await kit.restore(task)).kind).toBe("enqueued");
    expect(await kit.get(task)).toMatchObject({ status: "retrying", ...charged });
    await kit.harness.advance(61_000);
    await kit.broker.sweep(0);
    expect(await kit.lease(await kit.session())).toHaveLength(1);
  }),
  check("B1", "refuses a restore whose view of history is over a minute old", async (kit) => {
    const now = await kit.broker.now();
    const task = kit.task();
    const asOf = now - limits.restoreStaleMs - 1_000;
    expect(await kit.restore(task, asOf)).toEqual({ kind: "too_old" });
    expect(await kit.get(task)).toBeUndefined();
    expect((await kit.restore(task, now - limits.restoreStaleMs / 2)).kind).toBe("enqueued");
  }),
  check("B1", "lets a tombstone stop its own run and earlier ones only", async (kit) => {
    const task = await kit.submitOne({ run: 2 });
    const lease = await kit.take(await kit.session());
    await kit.recorded(await kit.end(lease, failed()));
    expect(await kit.get(task)).toBeUndefined();
    expect((await kit.restore({ ...task, run: 1 })).kind).toBe("known");
    expect((await kit.restore(task)).kind).toBe("known");
    expect(await kit.enqueue(task)).toEqual([{ kind: "known" }]);
    const again = { ...task, run: 3, version: 9, status: "pending" as const };
    expect((await kit.restore(again)).kind).toBe("enqueued");
    expect(await kit.get(task)).toMatchObject({ run: 3, version: 9 });
    expect(await kit.verdict(lease, failed())).toBe("stale");
    await kit.end(await kit.take(await kit.session()), done);
  }),
  check("B1", "starts a new run of a task whose end history was slow to confirm", async (kit) => {
    const task = await kit.submitOne();
    const end = await kit.end(await kit.take(await kit.session()), failed());
    const again = { ...task, run: 2, version: end.task.version + 1 };
    expect((await kit.restore(again)).kind).toBe("enqueued");
    await kit.recorded(end);
    expect(await kit.get(task)).toMatchObject({ run: 2, status: "pending" });
    expect(await kit.lease(await kit.session(), 5)).toHaveLength(1);
  }),
  check("B1", "ends a tombstone after its time", async (kit) => {
    const task = await kit.submitOne();
    const lease = await kit.take(await kit.session());
    await kit.recorded(await kit.end(lease, done));
    await kit.harness.advance(limits.tombstoneMs - 30_000);
    expect(await kit.verdict(lease, done)).toBe("duplicate");
    await kit.harness.advance(31_000);
    await kit.broker.sweep(0);
    expect(await kit.verdict(lease, done)).toBe("stale");
    expect((await kit.enqueue(task))[0]!.kind).toBe("enqueued");
  }),
  check("B1", "raises the version by one with every transition", async (kit) => {
    const task = await kit.submitOne({ runAt: (await kit.broker.now()) + 60_000 });
    const versions = [(await kit.get(task))!.version];
    const note = async () => versions.push((await kit.get(task))!.version);
    await kit.broker.promoteNow(task.id);
    await note();
    const holder = await kit.session();
    const first = await kit.take(holder);
    await note();
    await kit.end(first, failed(60_000));
    await note();
    await kit.broker.promoteNow(task.id);
    await note();
    const second = await kit.take(holder);
    await note();
    await kit.end(second, released());
    await note();
    await kit.cancel(task);
    await note();
    expect(versions).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  }),
  check("B1", "keeps namespaces apart that share every name", async (kit) => {
    const mine = await kit.submitOne({ namespace: "mine" });
    const theirs = await kit.submitOne({ namespace: "theirs" });
    const [lane] = kit.lanes;
    const leases = await kit.lease(await kit.session(), 5, [lane!]);
    expect(ids(leases)).toEqual([mine.id]);
    expect(await kit.broker.counts("theirs")).toEqual([
      { queue: "default", priority: 1, status: "pending", tasks: 1 },
    ]);
    expect(await kit.statusOf(theirs)).toBe("pending");
  }),

  check("B9", "lets one task win an idempotency key, for a day", async (kit) => {
    const change = { durability: "relaxed", idempotencyKey: "order-1" } as const;
    const claim = async (task: ReturnType<typeof kit.task>) => {
      kit.note(task);
      const item = { task, origin: "submit", claimKey: true } as const;
      return (await kit.broker.enqueue([item])).outcomes[0]!;
    };
    const winner = kit.task(change);
    expect((await claim(winner)).kind).toBe("enqueued");
    const loser = kit.task(change);
    expect(await claim(loser)).toEqual({ kind: "key_taken", taskId: winner.id });
    expect(await kit.get(loser)).toBeUndefined();
    expect(await claim(winner)).toEqual({ kind: "known" });
    expect((await claim(kit.task({ ...change, queue: "other" }))).kind).toBe("enqueued");
    expect((await claim(kit.task({ ...change, namespace: "other" }))).kind).toBe("enqueued");
    const holder = await kit.session();
    await kit.recorded(await kit.end(await kit.take(holder), done));
    expect((await claim(kit.task(change))).kind).toBe("key_taken");
    await kit.harness.advance(limits.idempotencyKeyMs + 1_000);
    expect((await claim(kit.task(change))).kind).toBe("enqueued");
  }),
  check("B2", "keeps what came back in its place among groups", async (kit) => {
    const a = await kit.submitMany(2, { groupKey: "a" });
    const b = await kit.submitMany(2, { groupKey: "b" });
    const holder = await kit.session();
    const first = await kit.take(holder);
    await kit.end(first, released());
    const leases = await kit.lease(holder, 4);
    expect(ids(leases.filter(({ task }) => task.groupKey === "a"))).toEqual(ids(a));
    expect(ids(leases.filter(({ task }) => task.groupKey === "b"))).toEqual(ids(b));
  }),
];
