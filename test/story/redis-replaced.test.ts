import { Redis } from "ioredis";
import { expect, it } from "vitest";
import { systemClock } from "../../src/clock.js";
import { startCoordinator, startWorker } from "../support/processes.js";
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

const rounds = soak ? 5 : 1;
const submitsPerSecond = 50;
const running = 10;

const title = `loses nothing when another, empty Redis takes the port, ${rounds} times`;
it(
  title,
  async () => {
    // Nothing of it is on disk: what starts again on its port knows nothing.
    const redis = await ownRedis();
    const stores = await storyStores({ redis });
    const coordinators = [await startCoordinator(stores.env), await startCoordinator(stores.env)];
    const addresses = coordinators.map(({ grpc }) => grpc);
    const workers = await Promise.all(
      [addresses, addresses.toReversed()].map((list) =>
        startWorker(list, { WORKER_CONCURRENCY: "20" }),
      ),
    );
    const client = storyClient(addresses);
    const load = startLoad(client, submitsPerSecond);
    const sleepers = new Set<string>();
    for (let round = 0; round < rounds; round += 1) {
      const some = await Promise.all(
        Array.from({ length: running }, () => client.submit("sleep", { ms: 20_000 })),
      );
      for (const { id } of some) {
        sleepers.add(id);
        const starts = workers.map((each) => each.started(({ taskId }) => taskId === id));
        await Promise.any(starts);
      }
      await load.more(2 * submitsPerSecond, 20_000);
      const before = await identityOf(redis);
      await redis.kill();
      // Submitting goes on while there is none (P1): these wait in Postgres alone.
      await load.more(submitsPerSecond, 20_000);
      await redis.restart();
      const replacedAt = systemClock.now();
      const after = await identityOf(redis);
      invalidUnless(after.runId !== before.runId, "the same Redis came back");
      invalidUnless(before.keys > 20 && after.keys < before.keys, "the new Redis was not empty");
      await Promise.any(
        coordinators.map(({ events }) =>
          events.next(
            "rebuild",
            ({ msg, time }) => msg === "partition.rebuilt" && time >= replacedAt,
          ),
        ),
      );
      await load.more(2 * submitsPerSecond, 20_000);
    }
    await load.stop();
    const acknowledged = new Set([...load.acknowledged, ...sleepers]);
    const ledger = openLedger(stores);
    await drained(ledger, acknowledged.size, 60_000);
    const { size } = load.acknowledged;
    const least = rounds * 5 * submitsPerSecond;
    invalidUnless(size >= least, `${size} tasks were submitted, ${least} were to be`);
    expect(load.failures).toEqual([]);

    await Promise.all(workers.map((worker) => worker.stop()));
    await expectAgreement({ ledger, acknowledged, workers });
    const rows = await ledger.tasks();
    // Their workers stayed: no running task was run again, and nobody was charged for an absence.
    const again = rows.filter(({ id, attempt }) => sleepers.has(id) && attempt !== 1);
    expect(again).toEqual([]);
    expect(rows.filter((row) => row.retry_count + row.lease_losses > 0)).toEqual([]);
    await expectNoOrphans(stores);
  },
  600_000,
);

async function identityOf({ url }: OwnServer): Promise<{ runId: string; keys: number }> {
  const redis = new Redis(url);
  const info = await redis.info("server");
  const keys = await redis.dbsize();
  redis.disconnect();
  return { runId: /run_id:(\w+)/.exec(info)?.[1] ?? "", keys };
}
