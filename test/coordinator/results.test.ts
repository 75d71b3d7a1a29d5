import { afterEach, expect, it, onTestFinished } from "vitest";
import type { WorkerSession } from "../../src/coordinator/worker-session.js";
import { createWorld, draft, offer } from "./world.js";

const world = createWorld();
afterEach(() => world.stop());

it("a failure reported while the store is refilled keeps the retries of its task", async () => {
  const node = await world.node();
  const worker = await world.open(node, world.worker(), { offer: offer(1) });
  const [id] = await world.submit(node, draft());
  await world.until("a lease", () => worker.leases.length === 1);
  const [lease] = worker.leases;
  // Not out here any more: what it may cost stands in the record alone.
  (worker.session as WorkerSession).take(lease!.token);
  const { broker } = node;
  const [get, status] = [broker.get.bind(broker), broker.status.bind(broker)];
  let emptied = true;
  broker.get = async (ids) => (emptied ? ids.map(() => undefined) : get(ids));
  broker.status = async (partition) => ({ ...(await status(partition)), cold: emptied });
  worker.fail(lease!);
  await world.clock.advance(2_000);
  expect(worker.acks).toEqual([]);
  emptied = false;
  await world.until("an ack", () => worker.acks.length === 1);
  const task = await world.wait("get", node.coordinator.get("default", id!));
  expect([task?.status, task?.retryCount]).toEqual(["retrying", 1]);
});

it("many results that a store keeps waiting are no leak to warn of", async () => {
  const warnings: Error[] = [];
  const warned = (warning: Error): void => void warnings.push(warning);
  process.on("warning", warned);
  onTestFinished(() => void process.off("warning", warned));
  const node = await world.node();
  const worker = await world.open(node, world.worker(), { offer: offer(20) });
  await world.submit(node, ...Array.from({ length: 20 }, () => draft()));
  await world.until("leases", () => worker.leases.length === 20);
  const settle = node.broker.settle.bind(node.broker);
  node.broker.settle = () => Promise.reject(new Error("away"));
  node.broker.settleAndLease = () => Promise.reject(new Error("away"));
  for (const lease of worker.leases) worker.succeed(lease);
  await world.clock.advance(500);
  node.broker.settle = settle;
  await world.until("acks", () => worker.acks.length === 20);
  await new Promise((resolve) => setImmediate(resolve));
  expect(warnings).toEqual([]);
});
