import { expect, it } from "vitest";
import { systemClock } from "../../src/clock.js";
import { startCoordinator, startWorker, type WorkerProcess } from "../support/processes.js";
import {
  drained,
  expectAgreement,
  expectNoOrphans,
  invalidUnless,
  openLedger,
  storyClient,
  storyStores,
  untilAllWork,
} from "../support/story.js";
import { type Direction, startTcpProxy } from "../support/tcp-proxy.js";

/** P14: what a worker ran that is cut off runs elsewhere within this. */
const boundMs = 17_000;
const directions: readonly Direction[][] = [["up"], ["down"], ["up", "down"]];

it.concurrent("takes a worker behind a blackhole for dead within 17 s, and back", async () => {
  const stores = await storyStores();
  const coordinators = [await startCoordinator(stores.env), await startCoordinator(stores.env)];
  const client = storyClient(coordinators.map(({ grpc }) => grpc));
  const cut = await Promise.all(
    directions.map(async (ways) => {
      const proxies = await Promise.all(coordinators.map(({ grpc }) => startTcpProxy(grpc)));
      const addresses = proxies.map(({ address }) => address);
      const worker = await startWorker(addresses, { WORKER_CONCURRENCY: "1" });
      return { ways, proxies, worker };
    }),
  );
  const workers = cut.map(({ worker }) => worker);
  const tasks = await Promise.all(workers.map(() => client.submit("once", {})));
  await Promise.all(tasks.map(({ id }) => holderOf(workers, id)));
  const rescuer = await startWorker(coordinators.map(({ grpc }) => grpc));

  const cutAt = systemClock.now();
  for (const { ways, proxies } of cut) {
    for (const proxy of proxies) for (const way of ways) proxy.blackhole(way);
  }
  const tookMs = await Promise.all(
    tasks.map(async ({ id }) => {
      const again = await rescuer.started(({ taskId }) => taskId === id);
      expect(again.attempt).toBe(2);
      return again.at - cutAt;
    }),
  );
  // None of them was asked: each stopped its handler on its own clock.
  for (const worker of workers) {
    const stopped = await worker.lines.next("lapse", ({ message }) =>
      /no renewal|stopping/.test(message),
    );
    invalidUnless(stopped.at >= cutAt, "a handler was stopped before the cut");
  }
  const healedAt = systemClock.now();
  for (const { proxies } of cut) for (const proxy of proxies) proxy.pass();
  for (const worker of workers) {
    await worker.lines.next(
      "new stream",
      ({ message, at }) => message === "connected" && at >= healedAt,
      15_000,
    );
  }
  await rescuer.stop();
  const next = await untilAllWork(client, workers);
  expect(tookMs.filter((ms) => ms > boundMs)).toEqual([]);

  const ledger = openLedger(stores);
  await drained(ledger, tasks.length + next.length);
  await Promise.all(workers.map((worker) => worker.stop()));
  const acknowledged = new Set([...tasks.map(({ id }) => id), ...next]);
  await expectAgreement({ ledger, acknowledged, workers: [...workers, rescuer] });
  await expectNoOrphans(stores);
}, 300_000);

it.concurrent("resumes at once, with the same attempt, when connections are reset", async () => {
  const stores = await storyStores();
  const coordinator = await startCoordinator(stores.env);
  const client = storyClient([coordinator.grpc]);
  const proxy = await startTcpProxy(coordinator.grpc);
  proxy.delay(20);
  const worker = await startWorker([proxy.address]);
  const resets = 5;
  const tasks = await Promise.all([1, 2, 3].map(() => client.submit("sleep", { ms: 6_000 })));
  await Promise.all(tasks.map(({ id }) => worker.started(({ taskId }) => taskId === id)));
  for (let reset = 0; reset < resets; reset += 1) {
    const before = coordinator.events.all.length;
    proxy.reset();
    await coordinator.events.next(
      "resumed session",
      (line) => line.resumed === true && coordinator.events.all.indexOf(line) >= before,
    );
  }
  invalidUnless(proxy.accepted > resets, `${proxy.accepted} connections in ${resets} resets`);
  const ledger = openLedger(stores);
  await drained(ledger, tasks.length);
  for (const row of await ledger.tasks()) {
    expect(row).toMatchObject({ status: "completed", attempt: 1, lease_losses: 0 });
  }
  await worker.stop();
  const acknowledged = new Set(tasks.map(({ id }) => id));
  await expectAgreement({ ledger, acknowledged, workers: [worker] });
  await expectNoOrphans(stores);
}, 120_000);

async function holderOf(workers: readonly WorkerProcess[], id: string): Promise<WorkerProcess> {
  const holding = workers.map(async (worker) => {
    await worker.started(({ taskId }) => taskId === id);
    return worker;
  });
  return Promise.any(holding);
}
