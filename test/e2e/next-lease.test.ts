import { expect, it, onTestFinished } from "vitest";
import { createClient } from "../../src/client/index.js";
import { createRedisBroker } from "../../src/broker/redis/redis-broker.js";
import { systemClock, systemRandom } from "../../src/clock.js";
import { loadConfig } from "../../src/config.js";
import { createServer } from "../../src/server.js";
import { createWorker } from "../../src/worker/index.js";
import { memoryFlags } from "../support/memory-flags.js";
import { monitorRedis } from "../support/redis-monitor.js";
import { ownRedis } from "../support/stores.js";
import { quietLogger } from "../support/worker-kit.js";

type Tasks = { pause: { payload: number; result: null } };

it("gives a busy worker its next tasks by the call that takes its results", async () => {
  const redis = await ownRedis();
  const broker = createRedisBroker({ url: redis.url, clock: systemClock, random: systemRandom });
  const server = createServer(loadConfig({ env: {}, flags: memoryFlags }), { broker });
  await server.start();
  onTestFinished(() => server.stop("the end of a test"));
  const address = `127.0.0.1:${server.grpcPort}`;
  const client = createClient<Tasks>({ address });
  onTestFinished(() => client.close({ graceMs: 0 }));
  const many = Array.from({ length: 200 }, (_, payload) => ({ type: "pause", payload }) as const);
  const outcomes = await client.submitMany(many);
  const receipts = outcomes.flatMap((one) => (one.ok ? [one] : []));
  expect(receipts).toHaveLength(many.length);
  const monitor = await monitorRedis(redis.url);
  onTestFinished(() => monitor.stop());
  const worker = createWorker<Tasks>({ address, logger: quietLogger, concurrency: 8 });
  onTestFinished(() => worker.stop({ graceMs: 0 }));
  // Too slow for leases to stand by, which also come by calls of their own and may go back.
  worker.handle("pause", async (n) => {
    await systemClock.sleep(40 + 4 * (n % 10));
    return null;
  });
  await worker.start();
  const ended = await Promise.all(receipts.map((receipt) => client.wait(receipt)));
  expect(ended.map(({ attempt }) => attempt)).toEqual(ended.map(() => 1));
  const settles = monitor.count("settle");
  expect(settles).toBeGreaterThanOrEqual(many.length / 8);
  // Each call for leases alone beside each for results is what it would be otherwise.
  expect(monitor.count("lease")).toBeLessThan(settles / 4);
}, 60_000);
