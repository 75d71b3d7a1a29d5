import { Redis } from "ioredis";
import { expect, it } from "vitest";
import { startCoordinator, startWorker, type WorkerProcess } from "../support/processes.js";
import {
  drained,
  expectAgreement,
  expectNoOrphans,
  invalidUnless,
  openLedger,
  soak,
  startLoad,
  storyClient,
  storyStores,
} from "../support/story.js";
import { type OwnServer, ownRedis } from "../support/stores.js";

const kills = soak ? 20 : 2;
const submitsPerSecond = 200;

const title = `loses no DURABLE task when Redis with AOF is killed ${kills} times under load`;
it(
  title,
  async () => {
    const redis = await ownRedis({ appendonly: true, args: ["--appendfsync", "everysec"] });
    const stores = await storyStores({ redis });
    const coordinators = [await startCoordinator(stores.env), await startCoordinator(stores.env)];
    const addresses = coordinators.map(({ grpc }) => grpc);
    const workers = await Promise.all(
      [0, 1, 2].map(() => startWorker(addresses, { WORKER_CONCURRENCY: "20" })),
    );
    const client = storyClient(addresses);
    const load = startLoad(client, submitsPerSecond, (n) =>
      n % 20 === 0 ? client.submit("sleep", { ms: 3_000 }) : client.submit("noop", { n }),
    );
    let underLoad = 0;
    for (let kill = 0; kill < kills; kill += 1) {
      await load.more(2 * submitsPerSecond, 20_000);
      const started = startsOf(workers);
      await redis.kill();
      // Submitting works while Redis is down (P1): the row is the promise.
      await load.more(submitsPerSecond / 2, 20_000);
      await redis.restart();
      await newStart(workers, started);
      underLoad += startsOf(workers) > started && started > 0 ? 1 : 0;
    }
    await load.stop();
    const ledger = openLedger(stores);
    await drained(ledger, load.acknowledged.size, 60_000);
    invalidUnless(underLoad >= kills, `${underLoad} of ${kills} kills came under load`);
    const least = kills * 2 * submitsPerSecond;
    const { size } = load.acknowledged;
    invalidUnless(size >= least, `${size} tasks were submitted, ${least} were to be`);
    expect(load.failures).toEqual([]);
    expect(await appendOnly(redis)).toBe(true);

    await Promise.all(workers.map((worker) => worker.stop()));
    await expectAgreement({ ledger, acknowledged: load.acknowledged, workers });
    for (const { starts } of workers) expectRising(starts.map(({ fencingToken }) => fencingToken));
    // An absent Redis is charged to nobody (P10).
    const charged = (await ledger.tasks()).filter((row) => row.retry_count + row.lease_losses > 0);
    expect(charged).toEqual([]);
    await expectNoOrphans(stores);
  },
  600_000,
);

const startsOf = (workers: readonly WorkerProcess[]): number =>
  workers.reduce((sum, { starts }) => sum + starts.length, 0);

/** Resolves when work goes on. */
async function newStart(workers: readonly WorkerProcess[], before: number): Promise<void> {
  const known = new Set(workers.flatMap(({ starts }) => starts));
  await Promise.any(workers.map((worker) => worker.started((start) => !known.has(start), 30_000)));
  expect(startsOf(workers)).toBeGreaterThan(before);
}

async function appendOnly({ url }: OwnServer): Promise<boolean> {
  const redis = new Redis(url);
  const info = await redis.info("persistence");
  redis.disconnect();
  return info.includes("aof_enabled:1");
}

/** Grants of a task come in the order of their tokens, whatever Redis forgot between them. */
function expectRising(tokens: readonly number[]): void {
  const epochs = tokens.map((token) => Math.floor(token / 2 ** 40));
  expect(epochs).toEqual(epochs.toSorted((a, b) => a - b));
}
