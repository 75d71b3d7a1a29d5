/** A coordinator whose broker has several partitions, of which one may be away. */
import { afterEach, beforeEach, expect, it } from "vitest";
import type { Broker } from "../../src/broker/broker.js";
import { DroverError } from "../../src/errors.js";
import { partitionOfSlot, slotOfId, slotOfLeaseToken, slotOfQueue } from "../../src/task/ids.js";
import { createWorld, draft, type FakeWorker, type World } from "./world.js";

const partitions = 4;
/** One in each partition. */
const queues = Array.from({ length: partitions }, (_, partition) => {
  for (let n = 0; ; n += 1) {
    const slot = slotOfQueue("default", `queue-${n}`);
    if (partitionOfSlot(slot, partitions) === partition) return `queue-${n}`;
  }
});
const subscriptions = queues.map((queue) => ({ queue, types: ["send_email"], weight: 1 }));
const offer = (slots: number) => ({ slots, maxBytes: 0, subscriptions });
const queueOf = (taskId: string): string => queues[partitionOfSlot(slotOfId(taskId), partitions)]!;

let world: World;
beforeEach(() => {
  world = createWorld({}, partitions);
});
afterEach(async () => {
  await world.stop();
});

/** Whatever comes is done at once. */
function diligent(worker: FakeWorker): () => void {
  let done = 0;
  return () => {
    for (; done < worker.leases.length; done += 1) worker.succeed(worker.leases[done]!);
  };
}

/** The store of this partition answers no more, until the returned function is called. */
function takeAway(broker: Broker, partition: number): () => void {
  const refuse = () => new DroverError("broker_unavailable", "no answer");
  const isOf = (slot: number | undefined) => partitionOfSlot(slot ?? 0, partitions) === partition;
  const real: Partial<Broker> = {};
  let away = true;
  function guard<Name extends "enqueue" | "settle" | "lease" | "renewSessions" | "get" | "sweep">(
    name: Name,
    hits: (argument: never) => boolean,
  ): void {
    const call = broker[name].bind(broker) as (...args: unknown[]) => Promise<unknown>;
    const guarded = (...args: unknown[]) =>
      away && hits(args[0] as never) ? Promise.reject(refuse()) : call(...args);
    Object.assign(real, { [name]: guarded });
  }
  guard("enqueue", (items: { task: { id: string } }[]) =>
    items.some((it) => isOf(slotOfId(it.task.id))),
  );
  guard("settle", (items: { token: Uint8Array }[]) =>
    items.some(({ token }) => isOf(slotOfLeaseToken(token))),
  );
  guard("get", (ids: string[]) => ids.some((id) => isOf(slotOfId(id))));
  guard("lease", (request: { partition: number }) => request.partition === partition);
  guard("renewSessions", (asked: number) => asked === partition);
  guard("sweep", (asked: number) => asked === partition);
  Object.assign(broker, real, { serves: (asked: number) => !away || asked !== partition });
  return () => void (away = false);
}

it("partitions share the free slots of a worker, and none waits for the others to run dry", async () => {
  const node = await world.node();
  const worker = await world.open(node, world.worker(), { offer: offer(2) });
  const each = 12;
  const drafts = queues.flatMap((queue) => Array.from({ length: each }, () => draft({ queue })));
  await world.submit(node, ...drafts);
  const work = diligent(worker);
  await world.until("all done", () => {
    work();
    return worker.acks.length === each * partitions;
  });
  const early = worker.leases.slice(0, 4 * partitions).map(({ task }) => queueOf(task.id));
  expect(new Set(early).size).toBe(partitions);
});

it("a partition whose store is away holds up nobody else's work", async () => {
  const node = await world.node();
  const [dead, alive] = [queues[1]!, queues[2]!];
  for (const name of [dead, alive]) {
    const change = { durability: "relaxed" } as const;
    await world.wait("relax", node.coordinator.updateQueue("default", name, change));
  }
  const back = takeAway(node.broker, 1);
  expect(node.coordinator.degraded()).toContain("1 of 4 partitions");
  const worker = await world.open(node, world.worker(), { offer: offer(4) });
  const items = [dead, alive].map((queue) => ({ draft: draft({ queue }), requestId: "" }));
  const outcomes = await world.wait("submit", node.coordinator.submit("default", items));
  expect(outcomes[0]).toMatchObject({ kind: "refused", error: { id: "broker_unavailable" } });
  expect(outcomes[1]).toMatchObject({ kind: "submitted" });
  const work = diligent(worker);
  await world.until("its task is done", () => {
    work();
    return worker.acks.length === 1;
  });
  back();
  expect(node.coordinator.degraded()).toBeUndefined();
  await world.submit(node, draft({ queue: dead }));
  await world.until("and the other's, later", () => {
    work();
    return worker.acks.length === 2;
  });
});

it("takes DURABLE tasks of a partition that is away, and says why they wait", async () => {
  const node = await world.node();
  const back = takeAway(node.broker, 1);
  const worker = await world.open(node, world.worker(), { offer: offer(2) });
  const [id] = await world.submit(node, draft({ queue: queues[1]! }));
  const view = await world.wait("get", node.coordinator.get("default", id!));
  expect(view).toMatchObject({ status: "pending", pendingReason: "cold" });
  back();
  const work = diligent(worker);
  await world.until("found again, and done", () => {
    work();
    return worker.acks.length === 1;
  });
});

it("keeps a worker's other leases while the store of one is away, and gives that one back", async () => {
  const node = await world.node();
  const worker = await world.open(node, world.worker(), { offer: offer(2) });
  const [lost, kept] = await world.submit(
    node,
    draft({ queue: queues[1]! }),
    draft({ queue: queues[2]! }),
  );
  await world.until("both run", () => worker.leases.length === 2);
  const leaseOf = (id: string) => worker.leases.find(({ task }) => task.id === id)!;
  const [onLost, onKept] = [leaseOf(lost!), leaseOf(kept!)];
  const back = takeAway(node.broker, 1);
  const revoked = () => worker.commands.filter(({ kind }) => kind === "revoke").length;
  const held = () => (revoked() === 0 ? [onLost, onKept] : [onKept]);
  const beatFor = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 4_000) {
      worker.beat(held());
      await world.clock.advance(4_000);
    }
  };
  await beatFor(12_000);
  expect(revoked()).toBe(1);
  expect(worker.commands.at(-1)).toMatchObject({ kind: "revoke", token: onLost.token });
  // Before that the worker was told no: it must not believe in a lease nobody renews.
  expect(worker.beats[0]).toMatchObject({ renewed: false });
  expect(worker.beats.at(-1)).toMatchObject({ renewed: true });
  await beatFor(12_000);
  expect(revoked()).toBe(1);
  back();
  await beatFor(8_000);
  await world.until("it is leased anew", () => worker.leases.length === 3);
  expect(worker.leases[2]!.task).toMatchObject({ id: lost, leaseLosses: 0, retryCount: 0 });
  worker.succeed(onKept);
  worker.succeed(worker.leases[2]!);
  await world.until("both accepted", () => worker.acks.length === 2);
  expect(worker.acks.map(({ verdict }) => verdict)).toEqual(["accepted", "accepted"]);
});
