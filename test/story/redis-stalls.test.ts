import { expect, it } from "vitest";
import { limits } from "../../src/limits.js";
import { type CoordinatorProcess, startCoordinator, startWorker } from "../support/processes.js";
import {
  drained,
  expectAgreement,
  expectNoOrphans,
  openLedger,
  soak,
  startLoad,
  storyClient,
  storyStores,
  until,
} from "../support/story.js";
import { ownRedis } from "../support/stores.js";

const stalls = soak ? 40 : 2;
const submitsPerSecond = 200;
/** Calls of the store are given up after 2 s, and may have been carried out all the same. */
const stallMaxMs = limits.storeCommandMs + 8_000;

const reachesRedis = ({ events }: CoordinatorProcess): boolean =>
  events.all.findLast(({ store }) => store === "broker")?.msg !== "store.unavailable";

const title = `runs what was leased in calls that Redis answered too late, ${stalls} times`;
it(
  title,
  async () => {
    const redis = await ownRedis();
    const stores = await storyStores({ redis });
    const coordinators = [await startCoordinator(stores.env), await startCoordinator(stores.env)];
    const addresses = coordinators.map(({ grpc }) => grpc);
    const workers = await Promise.all(
      [0, 1].map(() => startWorker(addresses, { WORKER_CONCURRENCY: "50" })),
    );
    const client = storyClient(addresses);
    const load = startLoad(client, submitsPerSecond);
    const givenUp = (): number =>
      coordinators
        .map((each) => each.log().split("no answer in 2000 ms").length - 1)
        .reduce((sum, count) => sum + count, 0);
    for (let stall = 0; stall < stalls; stall += 1) {
      await load.more(submitsPerSecond, 20_000);
      // Tasks are taken while Redis is away, too.
      await until("all reach Redis", async () => coordinators.every(reachesRedis), 20_000);
      const before = givenUp();
      redis.freeze();
      try {
        await until("a call is given up", async () => givenUp() > before, stallMaxMs);
      } finally {
        redis.thaw();
      }
    }
    await load.more(submitsPerSecond, 20_000);
    await load.stop();
    // A lease that only Redis knows of would last for the attempt's timeout, 15 min.
    const ledger = openLedger(stores);
    await drained(ledger, load.acknowledged.size);
    expect(load.failures).toEqual([]);

    await Promise.all(workers.map((worker) => worker.stop()));
    await expectAgreement({ ledger, acknowledged: load.acknowledged, workers });
    await expectNoOrphans(stores);
  },
  600_000,
);
