import { expect } from "vitest";
import { limits } from "../../../src/limits.js";
import {
  check,
  checkDurable,
  done,
  failed,
  ids,
  lost,
  released,
  type Check,
  type Kit,
} from "./kit.js";
import { itemOf } from "../../support/outbox-items.js";

const said = async (kit: Kit): Promise<string[]> =>
  (await kit.outbox()).map(({ task }) => `${task.status} v${task.version}`);

const small = { bounds: { outboxEntries: 3 } };
const relaxed = { durability: "relaxed" } as const;

export const outboxChecks: readonly Check[] = [
  checkDurable("B9", "tells history of every transition but grants and promotions", async (kit) => {
    const task = await kit.submitOne({ runAt: (await kit.broker.now()) + 60_000 });
    await kit.broker.promoteNow(task.id);
    const holder = await kit.session();
    const first = await kit.take(holder);
    expect(await said(kit)).toEqual([]);
    await kit.end(first, failed(60_000));
    await kit.broker.promoteNow(task.id);
    await kit.end(await kit.take(holder), released());
    await kit.end(await kit.take(holder), done);
    expect(await said(kit)).toEqual(["retrying v4", "pending v7", "completed v9"]);
    const attempts = (await kit.outbox()).map(({ attempt }) => attempt?.outcome);
    expect(attempts).toEqual(["failed", "released", "completed"]);
  }),
  checkDurable("B9", "tells of losses and cancels as well", async (kit) => {
    await kit.submitOne();
    const { lease } = await kit.loseOne(lost);
    await kit.cancel(lease.task);
    expect(await said(kit)).toEqual(["pending v3", "cancelled v4"]);
    const [, cancelled] = await kit.outbox();
    expect(cancelled!.attempt).toBeUndefined();
  }),
  checkDurable("B9", "gives the same transition in the reply and in the outbox", async (kit) => {
    await kit.submitOne();
    const lease = await kit.take(await kit.session());
    const transition = await kit.end(lease, failed());
    const [entry] = await kit.outbox();
    expect(entry).toMatchObject({
      partition: 0,
      outboxId: transition.outboxId,
      outboxPlace: transition.outboxPlace,
      payloadOmitted: transition.payloadOmitted,
      task: { id: lease.task.id, status: "failed", version: transition.task.version },
      attempt: { outcome: "failed", fencingToken: lease.task.fencingToken },
    });
  }),
  checkDurable(
    "B9",
    "puts a RELAXED submit into the outbox whole, and a DURABLE one not",
    async (kit) => {
      const data = Buffer.from("the payload");
      const payload = { contentType: "text/plain", data };
      const [durable, fast] = await kit.enqueue(
        kit.task({ payload }),
        kit.task({ ...relaxed, payload }),
      );
      expect(durable).toMatchObject({ kind: "enqueued", outboxId: undefined });
      const entries = await kit.outbox();
      expect(entries).toMatchObject([{ payloadOmitted: false, attempt: undefined }]);
      const { outboxId, outboxPlace } = entries[0]!;
      expect(fast).toMatchObject({ kind: "enqueued", outboxId, outboxPlace });
      expect(entries[0]!.task).toMatchObject({
        status: "pending",
        version: 1,
        durability: "relaxed",
      });
      expect(Buffer.from(entries[0]!.task.payload!.data)).toEqual(data);
    },
  ),
  check("B9", "omits the payload only where history has it", async (kit) => {
    await kit.submitOne();
    const transition = await kit.end(await kit.take(await kit.session()), done);
    if (transition.payloadOmitted) expect(transition.task.payload).toBeUndefined();
    else expect(transition.task.payload).toBeDefined();
    const fast = await kit.submitOne(relaxed);
    const end = await kit.end(await kit.take(await kit.session()), done);
    expect(end.task.id).toBe(fast.id);
    expect(end).toMatchObject({ payloadOmitted: false });
    expect(end.task.payload).toBeDefined();
  }),
  check("B9", "tells nothing of what is restored or already known", async (kit) => {
    const task = kit.task(relaxed);
    expect(await kit.restore(task)).toMatchObject({ kind: "enqueued", outboxId: undefined });
    await kit.enqueue(task);
    expect(await said(kit)).toEqual([]);
  }),
  checkDurable("B9", "keeps a finished task readable until history has it", async (kit) => {
    const task = await kit.submitOne();
    const lease = await kit.take(await kit.session());
    const end = await kit.end(lease, done);
    expect(await kit.statusOf(task)).toBe("completed");
    await kit.recorded(end);
    expect(await kit.get(task)).toBeUndefined();
    expect(await said(kit)).toEqual([]);
    expect(await kit.verdict(lease, done)).toBe("duplicate");
  }),
  ...(["durable", "relaxed"] as const).map((durability) =>
    check("B9", `knows a finished ${durability} task as long as history does not`, async (kit) => {
      const task = await kit.submitOne({ durability });
      for (const birth of await kit.outbox()) await kit.recorded(birth);
      const [other] = await kit.submit(kit.task({ durability }));
      const holder = await kit.session();
      const [lease] = await kit.lease(holder, 2);
      const end = await kit.end(lease!, done);
      await kit.elapse(3_000);
      await kit.harness.advance(3 * limits.tombstoneMs);
      await kit.elapse(2_000);
      const { payload } = task;
      expect(await kit.get(task)).toMatchObject({ status: "completed", payload, attempt: 1 });
      expect(await kit.settle(lease!, done)).toMatchObject({
        verdict: "duplicate",
        recorded: false,
      });
      expect(await kit.enqueue(task)).toEqual([{ kind: "known" }]);
      expect(await kit.cancel(task)).toMatchObject({
        kind: "final",
        task: { id: task.id, status: "completed", version: end.task.version },
      });
      expect((await kit.cancel({ ...task, namespace: "other" })).kind).toBe("unknown");
      expect(await kit.statusOf(other!)).toBeDefined();
      await kit.recorded(end);
      expect(await kit.get(task)).toBeUndefined();
      await kit.harness.advance(limits.tombstoneMs - 60_000);
      await kit.broker.sweep(0);
      expect(await kit.settle(lease!, done)).toMatchObject({
        verdict: "duplicate",
        recorded: true,
      });
      expect(await kit.enqueue(task)).toEqual([{ kind: "known" }]);
      await kit.harness.advance(2 * limits.tombstoneMs);
      await kit.elapse(2_000);
      expect(await kit.verdict(lease!, done)).toBe("stale");
    }),
  ),
  check("B9", "shows each of many that ended at once, until history has that one", async (kit) => {
    const tasks = await kit.submitMany(5, relaxed);
    const leases = await kit.lease(await kit.session(), 5);
    const replies = await kit.broker.settle(
      leases.map(({ token, sessionId }, n) => {
        const result = { contentType: "text/plain", data: Buffer.from(`result ${n}`) };
        return { token, sessionId, kind: "complete" as const, result };
      }),
    );
    const results = async () =>
      (await kit.broker.get(ids(tasks))).map((task) => task?.result?.data.toString());
    const all = leases.map((_, n) => `result ${n}`);
    expect(await results()).toEqual(all);
    await kit.recorded(replies[1]!.transition!);
    expect(await results()).toEqual(all.map((one, n) => (n === 1 ? undefined : one)));
    const again = await kit.broker.settle(
      leases.map(({ token, sessionId }) => ({ token, sessionId, ...done })),
    );
    expect(again.map(({ recorded }) => recorded)).toEqual([false, true, false, false, false]);
    for (const one of await kit.outbox()) await kit.recorded(one);
    expect(await results()).toEqual(all.map(() => undefined));
  }),
  check("B9", "drops an entry once it is recorded, and repeats do no harm", async (kit) => {
    const task = await kit.submitOne(relaxed);
    const [entry] = await kit.outbox();
    await kit.recorded(entry!);
    await kit.recorded(entry!);
    expect(await said(kit)).toEqual([]);
    expect(await kit.statusOf(task)).toBe("pending");
    const end = await kit.end(await kit.take(await kit.session()), done);
    await kit.recorded(entry!);
    expect(await kit.statusOf(task)).toBe("completed");
    await kit.recorded(end);
    expect(await kit.get(task)).toBeUndefined();
  }),
  check("B9", "settles both entries of a task that are recorded in one call", async (kit) => {
    const task = await kit.submitOne(relaxed);
    const end = await kit.end(await kit.take(await kit.session()), done);
    const entries = await kit.outbox();
    expect(ids(entries.map((entry) => entry.task))).toEqual([task.id, task.id]);
    const { version } = end.task;
    await kit.broker.recorded(entries.map((entry) => ({ ...itemOf(entry), version })));
    expect(await said(kit)).toEqual([]);
    expect(await kit.get(task)).toBeUndefined();
  }),
  check("B9", "gives the births of plain tasks as the outbox tells them", async (kit) => {
    const data = Buffer.from("the payload");
    const tasks = Array.from({ length: 5 }, (_, n) =>
      kit.task({ ...relaxed, priority: 2, tags: ["a"], payload: { contentType: `x/${n}`, data } }),
    );
    for (const task of tasks) kit.note(task);
    const { outcomes, births } = await kit.broker.enqueue(
      tasks.map((task) => ({ task, origin: "submit" })),
    );
    expect(births).toHaveLength(1);
    const [born] = births;
    expect(born).toMatchObject({ partition: 0, ids: ids(tasks), version: 1 });
    expect(born!.bytes).toBeGreaterThan(5 * data.length);
    const told = tasks.map((_, nth) => born!.transitionOf(nth));
    const entries = await kit.outbox();
    expect(told).toEqual(entries);
    const places = entries.map(({ outboxId, outboxPlace }) => ({ outboxId, outboxPlace }));
    expect(
      tasks.map((_, nth) => ({
        outboxId: born!.outboxIdOf(nth),
        outboxPlace: born!.outboxPlaceOf(nth),
      })),
    ).toEqual(places);
    expect(outcomes).toMatchObject(
      places.map((place) => ({ kind: "enqueued", ...place, born: true })),
    );
  }),
  checkDurable("B9", "gives no birth that wins a key, or that history has", async (kit) => {
    const keyed = { ...relaxed, idempotencyKey: "k" };
    for (const change of [keyed, {}]) {
      const task = kit.task(change);
      kit.note(task);
      const reply = await kit.broker.enqueue([{ task, origin: "submit", claimKey: true }]);
      expect(reply.births).toEqual([]);
      expect(reply.outcomes[0]?.kind === "enqueued" && reply.outcomes[0].born).toBeFalsy();
    }
    const known = await kit.submitOne(relaxed);
    const again = await kit.broker.enqueue([{ task: known, origin: "submit" }]);
    expect(again).toMatchObject({ outcomes: [{ kind: "known" }], births: [] });
  }),
  check("B9", "drops births that are recorded, in whatever order and pieces", async (kit) => {
    const tasks = Array.from({ length: 7 }, () => kit.task(relaxed));
    for (const task of tasks) kit.note(task);
    const { births } = await kit.broker.enqueue(tasks.map((task) => ({ task, origin: "submit" })));
    const left = async () => ids((await kit.outbox()).map(({ task }) => task));
    const tell = (...nths: number[]) => kit.broker.recorded([], [{ births: births[0]!, nths }]);
    await tell(5, 1);
    expect(await left()).toEqual(ids([0, 2, 3, 4, 6].map((nth) => tasks[nth]!)));
    await tell(1, 2, 3);
    expect(await left()).toEqual(ids([0, 4, 6].map((nth) => tasks[nth]!)));
    expect((await kit.broker.sweep(0)).outboxEntries).toBe(3);
    const end = await kit.end(await kit.take(await kit.session()), done);
    await kit.broker.recorded([itemOf(end)], [{ births: births[0]!, nths: [4, 6, 0] }]);
    expect(await left()).toEqual([]);
    expect((await kit.broker.sweep(0)).outboxEntries).toBe(0);
    await tell(0, 6);
    expect(await kit.statusOf(tasks[6]!)).toBe("pending");
    expect(await kit.get(end.task)).toBeUndefined();
  }),
  check("B9", "says which new tasks have ended, and whether history holds it", async (kit) => {
    const tasks = Array.from({ length: 6 }, () => kit.task(relaxed));
    for (const task of tasks) kit.note(task);
    const { births } = await kit.broker.enqueue(tasks.map((task) => ({ task, origin: "submit" })));
    const other = await kit.harness.another();
    const covered = (...nths: number[]) => other.covered({ births: births[0]!, nths });
    expect(await covered(0, 1, 2, 3, 4, 5)).toEqual({ recorded: [], told: [] });
    const holder = await kit.session();
    const [one, two, three, four] = await kit.lease(holder, 4);
    const [first, second] = [await kit.end(one!, done), await kit.end(two!, done)];
    await kit.end(three!, failed(1_000));
    expect(await covered(0, 1, 2, 3, 4)).toEqual({ recorded: [], told: [0, 1] });
    await kit.recorded(second);
    expect(await covered(5, 1, 0)).toEqual({ recorded: [1], told: [0] });
    await kit.recorded(first);
    expect((await kit.cancel(tasks[5]!)).kind).toBe("cancelled");
    expect(await covered(0, 2, 3, 5)).toEqual({ recorded: [0], told: [] });
    expect(await covered()).toEqual({ recorded: [], told: [] });
    // Nothing has changed by asking, and what it said is true of what is told once more.
    expect(await kit.outbox()).toHaveLength(8);
    await kit.broker.recorded([], [{ births: births[0]!, nths: [0, 1] }]);
    expect(await kit.outbox()).toHaveLength(6);
    expect(await kit.statusOf(four!.task)).toBe("running");
  }),
  check("B9", "takes no planted tombstone, and no emptied store, for an end", async (kit) => {
    const tasks = Array.from({ length: 2 }, () => kit.task(relaxed));
    const { births } = await kit.broker.enqueue(tasks.map((task) => ({ task, origin: "submit" })));
    const covered = () => kit.broker.covered({ births: births[0]!, nths: [0, 1] });
    await kit.harness.wipe();
    expect(await covered()).toEqual({ recorded: [], told: [] });
    await kit.openAll();
    expect((await kit.cancel(tasks[0]!)).kind).toBe("unknown");
    expect(await covered()).toEqual({ recorded: [], told: [] });
  }),
  check("B9", "reads the oldest first, as many as asked, and only idle ones", async (kit) => {
    const first = await kit.submitMany(3, relaxed);
    await kit.harness.advance(10_000);
    const later = await kit.submitMany(2, relaxed);
    const read = async (idleMs: number, limit: number) =>
      ids((await kit.broker.readOutbox(0, idleMs, limit)).map((entry) => entry.task));
    expect(await read(0, 100)).toEqual(ids([...first, ...later]));
    expect(await read(0, 2)).toEqual(ids(first.slice(0, 2)));
    expect(await read(5_000, 100)).toEqual(ids(first));
    const sweep = await kit.broker.sweep(0);
    expect(sweep.outboxEntries).toBe(5);
    expect(sweep.oldestOutboxMs).toBeGreaterThanOrEqual(10_000);
  }),
  check("B9", "says that an idle outbox has no age", async (kit) => {
    expect(await kit.broker.sweep(0)).toMatchObject({ outboxEntries: 0, oldestOutboxMs: 0 });
  }),
  checkDurable(
    "B10",
    "stops leases and RELAXED submits while the outbox is full, and nothing else",
    async (kit) => {
      await kit.submitMany(2);
      const holder = await kit.session();
      const [one, two] = await kit.lease(holder, 2);
      await kit.submitMany(3, relaxed);
      const none = { leases: [], more: false };
      expect(await kit.leaseReply(holder, 5)).toMatchObject({ kind: "outbox_full", ...none });
      const refused = kit.task(relaxed);
      expect(await kit.enqueue(refused)).toEqual([{ kind: "outbox_full" }]);
      expect(await kit.get(refused)).toBeUndefined();
      const durable = await kit.submitOne();
      expect((await kit.cancel(durable)).kind).toBe("cancelled");
      await kit.end(one!, done);
      expect(await kit.renew(holder)).toEqual(["renewed"]);
      expect(await kit.cancel(two!.task)).toMatchObject({ kind: "requested" });
      for (const entry of await kit.outbox()) await kit.recorded(entry);
      await kit.submit(refused);
      expect((await kit.leaseReply(holder, 5)).leases).toHaveLength(4);
    },
    small,
  ),
  check(
    "B10",
    "refuses only the RELAXED submits that find no room",
    async (kit) => {
      const tasks = Array.from({ length: 5 }, () => kit.task(relaxed));
      const kinds = (await kit.enqueue(...tasks)).map((outcome) => outcome.kind);
      expect(kinds).toEqual(["enqueued", "enqueued", "enqueued", "outbox_full", "outbox_full"]);
    },
    small,
  ),
];
