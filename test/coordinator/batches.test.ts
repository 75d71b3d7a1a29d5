import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Batch, BatchSpec } from "../../src/task/batch/batch.js";
import { limits } from "../../src/limits.js";
import { newBatch } from "../support/batch-factory.js";
import { templateOf } from "../support/schedule-factory.js";
import { createWorld, draft, type FakeWorker, type Node, offer, type World } from "./world.js";

let world: World;
beforeEach(() => {
  world = createWorld();
});
afterEach(async () => {
  await world.stop();
});

const callback = templateOf({ type: "callback" });
const spec: BatchSpec = {
  description: "",
  callbacks: { complete: callback, success: callback },
  failureThreshold: 1,
};
/** A page of a sweep and all that is before it. */
const sweepMs = 6_000;

const create = (node: Node, change: Partial<BatchSpec> = {}) =>
  world.wait("create", node.coordinator.batches.create("default", { ...spec, ...change }, ""));
const get = (node: Node, { id }: Pick<Batch, "id">) =>
  world.wait("get", node.coordinator.batches.get("default", id));
const close = (node: Node, { id }: Pick<Batch, "id">) =>
  world.wait("close", node.coordinator.batches.close("default", id));
const submit = (node: Node, { id }: Pick<Batch, "id">, count: number) =>
  world.submit(node, ...Array.from({ length: count }, () => draft({ terms: { batchId: id } })));

/** A worker for the tasks of a batch, and one for its callbacks. */
async function workersOf(node: Node): Promise<{ own: FakeWorker; callbacks: FakeWorker }> {
  const own = await world.open(node, world.worker(), { offer: offer(10) });
  const callbacks = await world.open(node, world.worker(), { offer: offer(10, ["callback"]) });
  return { own, callbacks };
}

describe("a batch", () => {
  it("calls as soon as its last task has ended, on whichever coordinator", async () => {
    const [one, two] = [await world.node(), await world.node()];
    const batch = await create(one);
    const { own, callbacks } = await workersOf(two);
    await submit(one, batch, 2);
    await close(one, batch);
    await world.until("leased", () => own.leases.length === 2);
    own.succeed(own.leases[0]!);
    await world.until("acked", () => own.acks.length === 1);
    await world.clock.advance(limits.batchGatherMs * 4);
    expect((await get(two, batch)).called).toEqual({});
    own.succeed(own.leases[1]!);
    await world.until("called", () => callbacks.leases.length === 2, 1_000);
    const told = callbacks.leases.map(({ task }) => task.terms?.batchCallback);
    const counts = { completed: 2 };
    expect(told.toSorted((a, b) => (a!.event < b!.event ? -1 : 1))).toEqual([
      { batchId: batch.id, event: "complete", counts },
      { batchId: batch.id, event: "success", counts },
    ]);
    expect(await get(one, batch)).toMatchObject({ counts, completedAt: expect.any(Number) });
  });

  it("that was closed by a coordinator that died is found by a sweep", async () => {
    const node = await world.node();
    const { callbacks } = await workersOf(node);
    const batch = await create(node);
    await world.history.batches.close("default", batch.id);
    await world.until("called", () => callbacks.leases.length === 2, sweepMs);
  });

  it("whose callback was committed by a coordinator that died has it enqueued", async () => {
    const node = await world.node();
    const { callbacks } = await workersOf(node);
    const batch = await create(node, { callbacks: { complete: callback } });
    const [made] = await world.submit(node, draft({ type: "callback", delayMs: 1 }));
    await world.until("leased", () => callbacks.leases.length === 1);
    const task = { ...callbacks.leases[0]!.task, id: newBatch().id, status: "pending" } as const;
    expect(task.id).not.toBe(made);
    await world.history.batches.close("default", batch.id);
    const reply = await world.history.batches.call(batch.id, { complete: { ...task, version: 1 } });
    expect(reply.called).toHaveLength(1);
    await world.until(
      "enqueued",
      () => callbacks.leases.some((lease) => lease.task.id === task.id),
      limits.commitMarkerIdleMs + 5_000,
    );
  });

  it("whose cancel was broken off is cancelled on, and what is retried later is not", async () => {
    const node = await world.node();
    const { own, callbacks } = await workersOf(node);
    const batch = await create(node);
    await submit(node, batch, 12);
    await world.until("leased", () => own.leases.length === 10);
    const how = { reason: "no", graceMs: 100 };
    await world.history.batches.cancel("default", batch.id, how);
    const cancelled = async () => (await get(node, batch)).counts?.cancelled === 12;
    await world.clock.advance(sweepMs);
    await world.until("asked", () => own.commands.length >= 10, sweepMs);
    while (!(await cancelled())) await world.clock.advance(500);
    await world.until("called", () => callbacks.leases.length === 1, sweepMs);
    expect(callbacks.leases[0]!.task.terms?.batchCallback?.event).toBe("complete");

    const taskId = own.leases[0]!.task.id;
    await world.wait("retry", node.coordinator.retry("default", taskId));
    await world.clock.advance(2 * sweepMs);
    expect(await world.wait("get", node.coordinator.get("default", taskId))).toMatchObject({
      run: 2,
      cancelRequestedAt: undefined,
    });
  });

  it("is waited for until it is over, or the coordinator leaves", async () => {
    const [one, two] = [await world.node(), await world.node()];
    const batch = await create(one);
    const { signal } = new AbortController();
    const wait = (node: Node) => node.coordinator.batches.wait("default", batch.id, 60_000, signal);
    const [here, there] = [wait(one), wait(two)];
    await world.clock.advance(1_000);
    const short = two.coordinator.batches.wait("default", batch.id, 10, signal);
    expect(await world.wait("short", short)).toMatchObject({ finished: false });
    await close(one, batch);
    expect(await world.wait("here", here)).toMatchObject({ finished: true });
    expect(await world.wait("there", there)).toMatchObject({ finished: true });
    const open = await create(one);
    const leaving = one.coordinator.batches.wait("default", open.id, 60_000, signal);
    await one.stop();
    expect(await world.wait("leaving", leaving)).toMatchObject({ finished: false });
  });
});
