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
  storyClient,
  storyStores,
} from "../support/story.js";
import { ownRedis } from "../support/stores.js";

const queued = soak ? 100_000 : 5_000;
/** Half of them end while Redis is being refilled, half after. */
const sleepsMs = [6_000, 18_000];
const running = 20;
/** P14: 15 s and 10 s per 100,000 live rows; beside it the second after which it is noticed. */
const boundMs = 15_000 + queued / 10 + 1_000;

const title = `ends ${queued} queued and ${running} running tasks after FLUSHALL, each once`;
it(
  title,
  async () => {
    const stores = await storyStores({ redis: await ownRedis() });
    const coordinators = [await startCoordinator(stores.env), await startCoordinator(stores.env)];
    const addresses = coordinators.map(({ grpc }) => grpc);
    const workers = await Promise.all(
      [addresses, addresses.toReversed()].map((list) =>
        startWorker(list, {
          WORKER_CONCURRENCY: String(running),
          STORY_QUEUES: "open,paused",
        }),
      ),
    );
    const client = storyClient(addresses);
    // What waits is kept waiting by a pause, which must outlive the flush like everything else.
    await client.queues.update("paused", { paused: true });
    const tasks = Array.from({ length: queued }, (_, n) => ({
      type: "noop",
      payload: { n },
      options: { queue: "paused" },
    }));
    const acknowledged = new Set<string>();
    for (const outcome of await client.submitMany(tasks)) {
      if (!outcome.ok) throw outcome.error;
      acknowledged.add(outcome.id);
    }
    const runners = await Promise.all(
      Array.from({ length: running }, (_, n) =>
        client.submit("sleep", { ms: sleepsMs[n % 2] }, { queue: "open" }),
      ),
    );
    for (const { id } of runners) acknowledged.add(id);
    await Promise.all(
      runners.map(({ id }) =>
        Promise.any(workers.map((worker) => worker.started(({ taskId }) => taskId === id))),
      ),
    );

    const before = await client.stats();
    const redis = new Redis(stores.redisUrl);
    const flushedAt = systemClock.now();
    await redis.flushall();
    redis.disconnect();
    invalidUnless(before.pending >= queued, `${before.pending} tasks were queued at the flush`);
    invalidUnless(before.processing >= running, `${before.processing} tasks ran at the flush`);

    const rebuilt = await Promise.any(
      coordinators.map(({ events }) =>
        events.next(
          "rebuild",
          ({ msg, time }) => msg === "partition.rebuilt" && time > flushedAt,
          boundMs + 30_000,
        ),
      ),
    );
    expect(rebuilt.time - flushedAt).toBeLessThan(boundMs);
    // Of what was paused, nothing has started.
    expect(workers.flatMap(({ starts }) => starts)).toHaveLength(running);
    await client.queues.update("paused", { paused: false });
    const ledger = openLedger(stores);
    await drained(ledger, queued + running, 60_000 + queued);

    await Promise.all(workers.map((worker) => worker.stop()));
    await expectAgreement({ ledger, acknowledged, workers });
    const rows = new Map((await ledger.tasks()).map((row) => [row.id, row]));
    const adopted = runners.filter(({ id }) => rows.get(id)?.attempt === 1);
    // Their workers stayed, so no running task had to be run again.
    expect(adopted).toHaveLength(running);
    expect(workers.flatMap(({ starts }) => starts)).toHaveLength(queued + running);
    const [counted] = await ledger.query(
      "SELECT sum(tasks)::int AS tasks FROM $.final_counts WHERE status = 'completed'",
    );
    expect(counted).toEqual({ tasks: queued + running });
    await expectNoOrphans(stores);
  },
  600_000,
);
