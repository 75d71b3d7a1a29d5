import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { BulkRequest } from "../../src/coordinator/coordinator.js";
import { limits } from "../../src/limits.js";
import { formTaskId } from "../../src/task/ids.js";
import type { FakeWorker } from "./world.js";
import { createWorld, draft, offer, type World } from "./world.js";

let world: World;
beforeEach(() => {
  world = createWorld();
});
afterEach(async () => {
  await world.stop();
});

const bulk = (change: Partial<BulkRequest> = {}): BulkRequest => ({
  filter: {},
  limit: 1_000,
  dryRun: false,
  pageToken: "",
  ...change,
});

/** A node with a worker, and so many tasks that failed at it. */
async function withDead(types: readonly string[]) {
  const node = await world.node();
  const subscriptions = [...new Set(types)];
  const worker = await world.open(node, world.worker(), {
    offer: {
      ...offer(50),
      subscriptions: [{ queue: "default", types: subscriptions, weight: 1 }],
    },
  });
  const drafts = types.map((type) => draft({ type, maxRetries: 0 }));
  const ids = await world.submit(node, ...drafts);
  await world.until("leased", () => worker.leases.length === types.length);
  for (const lease of worker.leases) worker.fail(lease);
  await world.until("acked", () => worker.acks.length === types.length);
  return { node, coordinator: node.coordinator, worker, ids };
}

const leasedAgain = (worker: FakeWorker, before: number, count: number) =>
  world.until("leased again", () => worker.leases.length === before + count);

describe("dead letters", () => {
  it("that fit run again, slice by slice, and others stay", async () => {
    const { coordinator, worker } = await withDead(["a", "a", "b", "a", "b"]);
    const counted = await coordinator.retryMany(
      "default",
      bulk({ dryRun: true, filter: { type: "a" } }),
    );
    expect(counted).toMatchObject({ matched: 3, done: 0, nextPageToken: "" });
    const request = bulk({ filter: { type: "a" }, limit: 2 });
    const first = await world.wait("first", coordinator.retryMany("default", request));
    expect(first).toMatchObject({ matched: 2, done: 2 });
    const { nextPageToken: pageToken } = first;
    const rest = await world.wait(
      "rest",
      coordinator.retryMany("default", { ...request, pageToken }),
    );
    expect(rest).toMatchObject({ matched: 1, done: 1, nextPageToken: "" });
    await leasedAgain(worker, 5, 3);
    expect(worker.leases.slice(5).map(({ task }) => [task.type, task.run])).toEqual([
      ["a", 2],
      ["a", 2],
      ["a", 2],
    ]);
    const left = await coordinator.list({
      namespace: "default",
      statuses: ["failed"],
      pageSize: 9,
      pageToken: "",
    });
    expect(left.tasks.map(({ type }) => type)).toEqual(["b", "b"]);
  });

  it("run again within seconds, though the broker refused them as read too long ago", async () => {
    const { node, coordinator, worker } = await withDead(["a"]);
    const { broker } = node;
    const now = broker.now.bind(broker);
    broker.now = async (partition) => (await now(partition)) - 2 * limits.restoreStaleMs;
    const request = bulk({ filter: { type: "a" } });
    const done = await world.wait("retry", coordinator.retryMany("default", request));
    expect(done).toMatchObject({ matched: 1, done: 1 });
    broker.now = now;
    const soonMs = limits.commitMarkerIdleMs + 5_000;
    await world.until("leased again", () => worker.leases.length === 2, soonMs);
  });

  it("of another namespace are neither counted nor touched", async () => {
    const { coordinator } = await withDead(["a"]);
    expect(await coordinator.retryMany("other", bulk())).toMatchObject({ matched: 0 });
    const purge = bulk({ filter: { statuses: ["failed"] } });
    expect(await coordinator.purgeMany("other", purge)).toMatchObject({ matched: 0 });
  });

  it("are purged only where a status says so, and live tasks never", async () => {
    const { coordinator, ids } = await withDead(["a", "a"]);
    for (const statuses of [undefined, ["pending" as const]]) {
      const refused = coordinator.purgeMany("default", bulk({ filter: { statuses } }));
      await expect(refused).rejects.toMatchObject({
        id: "invalid_field",
        field: "filter.status",
      });
    }
    const again = coordinator.retryMany("default", bulk({ filter: { statuses: ["completed"] } }));
    await expect(again).rejects.toMatchObject({ field: "filter.status" });
    const purged = await coordinator.purgeMany(
      "default",
      bulk({ filter: { statuses: ["failed"] } }),
    );
    expect(purged).toMatchObject({ matched: 2, done: 2, nextPageToken: "" });
    await expect(coordinator.get("default", ids[0]!)).rejects.toMatchObject({
      id: "task_not_found",
    });
  });

  it("make a new task where another payload is given, linked to the old one", async () => {
    const { coordinator, worker, ids } = await withDead(["a"]);
    const payload = { contentType: "application/json", data: Buffer.from('{"mended":true}') };
    const redrive = { payload, requestId: formTaskId(world.clock.now(), 0, Buffer.alloc(8, 7)) };
    const retry = () => world.wait("retry", coordinator.retry("default", ids[0]!, redrive));
    const made = await retry();
    expect(made).toMatchObject({ type: "a", run: 1, payload, terms: { redrivenFrom: ids[0] } });
    expect((await retry()).id).toBe(made.id);
    await leasedAgain(worker, 1, 1);
    expect(worker.leases[1]!.task).toMatchObject({ id: made.id, payload });
    worker.succeed(worker.leases[1]!);
    await world.until("acked", () => worker.acks.length === 2);
    const old = await world.wait("get", coordinator.get("default", ids[0]!));
    expect(old).toMatchObject({ status: "failed", run: 1 });
    await expect(
      world.wait("no", coordinator.retry("default", made.id, redrive)),
    ).rejects.toMatchObject({ id: "task_not_retryable" });
  });
});
