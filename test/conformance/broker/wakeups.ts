import { expect } from "vitest";
import type { Hint, Lane } from "../../../src/broker/broker.js";
import { laneOf } from "../../support/task-factory.js";
import { check, failed, released, sayUntil, type Check, type Kit } from "./kit.js";

const never = new AbortController().signal;

/** Lets a wait reach the store before what should wake it happens; either order must do. */
const wait = (kit: Kit, lanes: readonly Lane[], timeoutMs = 5_000) =>
  kit.broker.waitForWork(0, lanes, timeoutMs, never);

/** Takes markers that stand until there is none. */
async function drain(kit: Kit, lanes: readonly Lane[] = kit.lanes): Promise<number> {
  let taken = 0;
  while (await kit.wakeFor([...lanes])) taken += 1;
  return taken;
}

const test = { namespace: "default", queue: "can-you-hear-me" };

/** Collects hints until `enough`, once it is sure to hear. */
async function listen(kit: Kit, enough: (hints: Hint[]) => boolean) {
  const hints: Hint[] = [];
  let hear = () => {};
  const hears = new Promise<void>((resolve) => (hear = resolve));
  let stop = () => {};
  const heard = new Promise<Hint[]>((resolve) => {
    stop = kit.broker.onHint((hint) => {
      if (hint.kind === "queue" && hint.queue === test.queue) return hear();
      hints.push(hint);
      if (enough(hints)) resolve(hints);
    });
  });
  await sayUntil(hears, () => kit.broker.setQueue({ ...test, paused: false }));
  return { hints, heard, stop };
}

export const wakeupChecks: readonly Check[] = [
  check("B12", "wakes the waiter when work comes in", async (kit) => {
    const task = kit.task();
    const waiting = wait(kit, [laneOf(kit.task({ type: "other" })), laneOf(task)]);
    await kit.submit(task);
    expect(await waiting).toEqual(laneOf(task));
  }),
  check("B12", "keeps a wake-up that nobody waited for", async (kit) => {
    const task = await kit.submitOne();
    expect(await wait(kit, [laneOf(task)])).toEqual(laneOf(task));
  }),
  check("B12", "says nothing of lanes that were not named", async (kit) => {
    await kit.submitOne();
    expect(await kit.wakeFor([laneOf(kit.task({ type: "other" }))])).toBeUndefined();
  }),
  check("B12", "wakes one of two coordinators for one insert", async (kit) => {
    const other = await kit.harness.another();
    const task = kit.task();
    const lanes = [laneOf(task)];
    const waits = [wait(kit, lanes, 400), other.waitForWork(0, lanes, 400, never)];
    await kit.submit(task);
    await kit.harness.advance(400);
    const woken = (await Promise.all(waits)).filter((lane) => lane !== undefined);
    expect(woken).toEqual(lanes);
  }),
  check("B12", "gives up at the end of its time, and when told to", async (kit) => {
    const lanes = [laneOf(kit.task())];
    expect(await kit.wakeFor(lanes)).toBeUndefined();
    const stopping = new AbortController();
    const waiting = kit.broker.waitForWork(0, lanes, 60_000, stopping.signal);
    stopping.abort();
    expect(await waiting.catch(() => undefined)).toBeUndefined();
    const task = await kit.submitOne();
    expect(await wait(kit, [laneOf(task)])).toEqual(laneOf(task));
  }),
  check("B12", "puts a wake-up back that its taker could not use", async (kit) => {
    const task = await kit.submitOne();
    const lane = await wait(kit, [laneOf(task)]);
    await kit.broker.wake(lane!);
    expect(await wait(kit, [laneOf(task)])).toEqual(laneOf(task));
  }),
  check("B12", "wakes the next one when a call stopped for want of slots", async (kit) => {
    await kit.submitMany(3);
    await drain(kit);
    const holder = await kit.session();
    expect((await kit.leaseReply(holder, 1)).more).toBe(true);
    expect(await wait(kit, kit.lanes)).toEqual(kit.lanes[0]);
    expect((await kit.leaseReply(holder, 2)).more).toBe(false);
    expect(await drain(kit)).toBe(0);
  }),
  check("B12", "wakes for what is promoted, released, retried and resumed", async (kit) => {
    const task = await kit.submitOne();
    const holder = await kit.session();
    const lease = await kit.take(holder);
    await drain(kit);
    await kit.end(lease, released());
    expect(await wait(kit, kit.lanes), "released").toEqual(laneOf(task));
    await kit.end(await kit.take(holder), failed(60_000));
    await drain(kit);
    await kit.broker.promoteNow(task.id);
    expect(await wait(kit, kit.lanes), "promoted").toEqual(laneOf(task));
    await kit.end(await kit.take(holder), failed(1_000));
    await drain(kit);
    await kit.elapse(2_000, holder);
    expect(await wait(kit, kit.lanes), "retried").toEqual(laneOf(task));
    const control = { namespace: "default", queue: "default" };
    await kit.broker.setQueue({ ...control, paused: true });
    await drain(kit);
    await kit.broker.setQueue({ ...control, paused: false });
    expect(await wait(kit, kit.lanes), "resumed").toEqual(laneOf(task));
  }),
  check("B12", "re-arms lanes with work at the next sweep, and empty ones never", async (kit) => {
    await kit.submitOne({ type: "full" });
    await kit.submitOne({ type: "empty" });
    const [full, empty] = kit.lanes;
    await kit.lease(await kit.session(), 1, [empty!]);
    await drain(kit);
    await kit.broker.sweep(0);
    expect(await wait(kit, [empty!, full!])).toEqual(full);
    expect(await drain(kit)).toBe(0);
  }),
  check("B12", "leaves nothing to wake for when eager dispatch took it", async (kit) => {
    const task = kit.note(kit.task());
    const request = kit.request(await kit.session(), 1);
    const { leases } = await kit.broker.enqueue([{ task, origin: "submit" }], request);
    expect(leases).toHaveLength(1);
    expect(await kit.wakeFor()).toBeUndefined();
  }),
  check("B12", "knows the lanes of a queue", async (kit) => {
    await kit.submitOne({ type: "one" });
    await kit.submitOne({ type: "one", priority: 3 });
    await kit.submitOne({ type: "one", requiredLabels: { zone: "eu" } });
    await kit.submitOne({ type: "two", queue: "other" });
    const lanes = await kit.broker.lanes("default", "default");
    const lane = { namespace: "default", queue: "default", type: "one" };
    expect(lanes).toHaveLength(2);
    expect(lanes).toContainEqual({ ...lane, requiredLabels: {} });
    expect(lanes).toContainEqual({ ...lane, requiredLabels: { zone: "eu" } });
    expect(await kit.broker.lanes("default", "nothing")).toEqual([]);
  }),
  check("B8", "hints a cancel at once to whoever holds the task", async (kit) => {
    await kit.submitOne();
    const lease = await kit.take(await kit.session());
    const other = await kit.harness.another();
    const { heard, stop } = await listen(kit, (hints) =>
      hints.some(({ kind }) => kind === "cancel"),
    );
    const { id: taskId, namespace } = lease.task;
    await other.cancel([{ taskId, namespace, graceMs: 1_000 }]);
    const hint = (await heard).find(({ kind }) => kind === "cancel");
    expect(hint).toMatchObject({ kind: "cancel", sessionId: lease.sessionId, taskId });
    stop();
  }),
  check("B12", "hints new lanes and changed queues", async (kit) => {
    const expected = ["lanes", "queue"] as const;
    const { heard, hints, stop } = await listen(kit, (seen) =>
      expected.every((kind) => seen.some((hint) => hint.kind === kind)),
    );
    await kit.submitOne();
    await kit.broker.setQueue({ namespace: "default", queue: "default", paused: false });
    await heard;
    const place = { namespace: "default", queue: "default" };
    expect(hints).toContainEqual({ kind: "lanes", ...place });
    expect(hints).toContainEqual({ kind: "queue", ...place });
    stop();
    const after = hints.length;
    await kit.submitOne({ type: "another" });
    expect(hints).toHaveLength(after);
  }),
];
