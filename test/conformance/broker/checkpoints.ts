import { expect } from "vitest";
import type { Lease } from "../../../src/broker/broker.js";
import type { Payload } from "../../../src/task/task.js";
import { check, done, failed, lost, released, type Check, type Kit } from "./kit.js";

const at = (text: string): Payload => ({
  contentType: "application/json",
  data: Buffer.from(text),
});

const large = at(JSON.stringify("x".repeat(3_000)));
const larger = at(JSON.stringify("y".repeat(4_000)));
const progress = { fraction: 0.5, message: "half" };

const keep = (kit: Kit, lease: Lease, checkpoint: Payload | undefined, sessionId?: string) =>
  kit.broker.checkpoint([
    { token: lease.token, sessionId: sessionId ?? lease.sessionId, checkpoint },
  ]);

export const checkpointChecks: readonly Check[] = [
  check("B15", "hands the last checkpoint to the next attempt, and history", async (kit) => {
    const holder = await kit.session();
    await kit.submitOne();
    const first = await kit.take(holder);
    expect(first.task.checkpoint).toBeUndefined();
    expect(await keep(kit, first, at("1"))).toEqual([true]);
    expect(await keep(kit, first, large)).toEqual([true]);
    const told = await kit.end(first, failed(0));
    expect(told.task.checkpoint).toEqual(large);
    await kit.elapse(1_000, holder);
    const second = await kit.take(holder);
    expect(second.task.checkpoint).toEqual(large);
    await kit.end(second, released());
    const third = await kit.take(holder);
    expect(third.task.checkpoint).toEqual(large);
    expect(await keep(kit, third, undefined)).toEqual([true]);
    await kit.end(third, released());
    await kit.elapse(2_000, holder);
    expect((await kit.take(holder)).task.checkpoint).toBeUndefined();
  }),
  check("B15", "keeps it over the death of the worker", async (kit) => {
    await kit.warmUp();
    const holder = await kit.session();
    await kit.submitOne();
    const lease = await kit.take(holder);
    await keep(kit, lease, at("7"));
    await kit.broker.cutSession(holder.sessionId, holder.generation, 0);
    await kit.harness.advance(100);
    await kit.end(lease, lost, null);
    const next = await kit.take(await kit.session());
    expect(next.task.checkpoint).toEqual(at("7"));
  }),
  check("B15", "shows a large one wherever its task is shown", async (kit) => {
    await kit.warmUp();
    const holder = await kit.session();
    const task = await kit.submitOne({ durability: "relaxed" });
    const lease = await kit.take(holder);
    await keep(kit, lease, large);
    expect((await kit.get(task))?.checkpoint).toEqual(large);
    const next = { ...holder, generation: holder.generation + 1 };
    expect(await kit.resume(next, [lease.token])).toMatchObject({
      kept: [{ task: { checkpoint: large } }],
    });
    await kit.broker.progress([{ token: lease.token, sessionId: lease.sessionId, progress }]);
    const asked = await kit.cancel(task);
    expect(asked).toMatchObject({ kind: "requested", task: { checkpoint: large } });
    await kit.broker.cutSession(next.sessionId, next.generation, 0);
    await kit.harness.advance(100);
    const { lost: gone } = await kit.broker.sweep(0);
    expect(gone).toMatchObject([{ task: { checkpoint: large } }]);
    const ended = await kit.end(lease, lost, null);
    expect(ended.task).toMatchObject({ status: "cancelled", checkpoint: large });
    const told = await kit.outbox();
    expect(told.at(-1)!.task.checkpoint).toEqual(large);
    for (const transition of told) await kit.recorded(transition);
    expect(await kit.get(task)).toBeUndefined();
  }),
  check(
    "B15",
    "takes a large one back from history, until another takes its place",
    async (kit) => {
      const holder = await kit.session();
      const kept = { attempt: 1, fencingToken: 5, checkpoint: large };
      const task = Object.assign(kit.task(), kept);
      expect((await kit.restore(task)).kind).toBe("enqueued");
      expect((await kit.get(task))?.checkpoint).toEqual(large);
      const lease = await kit.take(holder);
      expect(lease.task.checkpoint).toEqual(large);
      expect(await keep(kit, lease, at("2"))).toEqual([true]);
      expect((await kit.get(task))?.checkpoint).toEqual(at("2"));
      expect(await keep(kit, lease, larger)).toEqual([true]);
      expect(await keep(kit, lease, large)).toEqual([true]);
      expect((await kit.get(task))?.checkpoint).toEqual(large);
      expect((await kit.end(lease, done)).task.checkpoint).toBeUndefined();
      expect((await kit.get(task))?.checkpoint).toBeUndefined();
    },
  ),
  check("B15", "goes with what history knows to have ended", async (kit) => {
    const holder = await kit.session();
    const task = await kit.submitOne();
    await keep(kit, await kit.take(holder), large);
    const row = Object.assign(kit.task(), task, { status: "failed", completedAt: 5 });
    await kit.broker.bury([row]);
    expect(await kit.get(task)).toBeUndefined();
  }),
  check("B15", "is told apart from one that only looks like it", async (kit) => {
    const holder = await kit.session();
    const task = await kit.submitOne();
    const lease = await kit.take(holder);
    const data = Buffer.concat([Buffer.alloc(43), Buffer.from([1, 255])]);
    const odd = { contentType: "", data };
    expect(await keep(kit, lease, odd)).toEqual([true]);
    expect((await kit.get(task))?.checkpoint).toEqual(odd);
    const told = await kit.end(lease, released());
    expect(told.task.checkpoint).toEqual(odd);
    expect((await kit.take(holder)).task.checkpoint).toEqual(odd);
  }),
  check("B15", "ignores what comes from a lease that is over, or from another", async (kit) => {
    const holder = await kit.session();
    await kit.submitOne();
    const lease = await kit.take(holder);
    expect(await keep(kit, lease, at("1"), "another")).toEqual([false]);
    const forged = { ...lease, token: Uint8Array.from(lease.token) };
    forged.token[forged.token.length - 1]! ^= 1;
    expect(await keep(kit, forged, at("1"))).toEqual([false]);
    expect(await keep(kit, { ...lease, token: Buffer.from("none") }, at("1"))).toEqual([false]);
    await kit.end(lease, released());
    expect(await keep(kit, lease, at("1"))).toEqual([false]);
    const next = await kit.take(holder);
    expect(next.task.checkpoint).toBeUndefined();
    expect(await keep(kit, lease, at("1"))).toEqual([false]);
    expect(await keep(kit, next, at("2"))).toEqual([true]);
    expect((await kit.get(next.task))?.checkpoint).toEqual(at("2"));
  }),
  check("B15", "goes with a task that completes, and stays with one that fails", async (kit) => {
    const holder = await kit.session();
    await kit.submitMany(2);
    const [one, other] = await kit.lease(holder, 2);
    expect(
      await kit.broker.checkpoint(
        [one!, other!].map(({ token, sessionId }) => ({ token, sessionId, checkpoint: at("3") })),
      ),
    ).toEqual([true, true]);
    expect((await kit.end(one!, done)).task.checkpoint).toBeUndefined();
    expect((await kit.end(other!, failed())).task.checkpoint).toEqual(at("3"));
  }),
];
