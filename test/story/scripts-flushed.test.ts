import { Redis } from "ioredis";
import { expect, it } from "vitest";
import { type LogLine, startCoordinator, startWorker } from "../support/processes.js";
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
import { ownRedis } from "../support/stores.js";

const flushes = soak ? 500 : 30;
const perFlush = 20;

it(`feels nothing of SCRIPT FLUSH and FUNCTION FLUSH, ${flushes} times under load`, async () => {
  const stores = await storyStores({ redis: await ownRedis() });
  const coordinators = [await startCoordinator(stores.env), await startCoordinator(stores.env)];
  const addresses = coordinators.map(({ grpc }) => grpc);
  const workers = await Promise.all(
    [0, 1].map(() => startWorker(addresses, { WORKER_CONCURRENCY: "20" })),
  );
  const client = storyClient(addresses);
  const load = startLoad(client, 200);
  const redis = new Redis(stores.redisUrl);
  for (let flush = 0; flush < flushes; flush += 1) {
    await load.more(perFlush, 20_000);
    await redis.function("FLUSH", "SYNC");
    await redis.script("FLUSH", "SYNC");
  }
  const stats = await redis.info("commandstats");
  redis.disconnect();
  await load.more(perFlush, 20_000);
  await load.stop();
  const ledger = openLedger(stores);
  await drained(ledger, load.acknowledged.size);
  const least = flushes * perFlush;
  const { size } = load.acknowledged;
  invalidUnless(size >= least, `${size} tasks were submitted, ${least} were to be`);
  const flushed = Number(/cmdstat_script\|flush:calls=(\d+)/.exec(stats)?.[1]);
  invalidUnless(flushed >= flushes, `scripts were flushed ${flushed} times`);
  expect(load.failures).toEqual([]);
  for (const { events } of coordinators) {
    const warnings = events.all.filter(({ level }) => Number(level) >= 40);
    expect(warnings.filter((line) => !isOfHistory(line))).toEqual([]);
  }
  await Promise.all(workers.map((worker) => worker.stop()));
  const paid = (await ledger.tasks()).filter((row) => row.attempt !== 1);
  expect(paid).toEqual([]);
  await expectAgreement({ ledger, acknowledged: load.acknowledged, workers });
  await expectNoOrphans(stores);
}, 600_000);

/** Postgres may answer too late where the machine is busy; it has no part in this. */
const isOfHistory = ({ err }: LogLine): boolean =>
  (err as { id?: string } | undefined)?.id === "history_unavailable";
