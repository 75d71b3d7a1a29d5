import { expect, it } from "vitest";
import { TaskService } from "../../gen/drover/v1/task_pb.js";
import type { Client, DroverClientError } from "../../src/client/index.js";
import { systemClock } from "../../src/clock.js";
import { Code } from "../../src/errors.js";
import { outcomeUnknown } from "../../src/transport/status.js";
import { RawClient } from "../api/grpc-client.js";
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
  until,
} from "../support/story.js";
import { ownPostgres } from "../support/stores.js";

const awayMs = soak ? 60_000 : 10_000;
const perSecond = 50;
const running = 10;

const title = `goes on in RELAXED queues while Postgres is away for ${awayMs / 1000} s`;
it(
  title,
  async () => {
    const postgres = await ownPostgres();
    const stores = await storyStores({ postgres });
    const coordinators = [await startCoordinator(stores.env), await startCoordinator(stores.env)];
    const addresses = coordinators.map(({ grpc }) => grpc);
    const env = { WORKER_CONCURRENCY: "50", STORY_QUEUES: "default,fast" };
    const workers = await Promise.all([0, 1].map(() => startWorker(addresses, env)));
    const client = storyClient(addresses);
    await client.queues.update("fast", { durability: "relaxed" });
    const durable = startLoad(client, perSecond);
    const relaxed = startLoad(client, perSecond, (n) => client.submit("noop", { n }, fast));
    const sleepers = await Promise.all(
      Array.from({ length: running }, () => client.submit("sleep", { ms: 4_000 })),
    );
    await Promise.all(sleepers.map(({ id }) => startOf(workers, id)));
    await durable.more(2 * perSecond, 20_000);

    await postgres.kill();
    const awayAt = systemClock.monotonic();
    const before = relaxed.acknowledged.size;
    const startsBefore = startsIn(workers, relaxed.acknowledged);
    // Acks of what ends now are withheld: nobody is shown an end that history does not hold.
    for (const { id } of sleepers) {
      await until("handler ends", async () => workers.some(({ ended }) => ended.has(id)), 20_000);
    }
    const shown = await Promise.all(sleepers.map(({ id }) => statusOf(client, id)));
    expect(shown.filter((status) => status !== "running")).toEqual([]);
    const raw = new RawClient(addresses[0]!);
    const refused = raw.unary(TaskService.method.submitTask, { task: { type: "noop" } });
    await expect(refused).rejects.toMatchObject({ code: Code.unavailable });
    raw.close();
    await systemClock.sleep(awayMs - (systemClock.monotonic() - awayAt));
    const taken = relaxed.acknowledged.size - before;
    const ran = startsIn(workers, relaxed.acknowledged) - startsBefore;
    await postgres.restart();

    await durable.more(2 * perSecond, 60_000);
    await Promise.all([durable.stop(), relaxed.stop()]);
    const acknowledged = new Set([...durable.acknowledged, ...relaxed.acknowledged]);
    for (const { id } of sleepers) acknowledged.add(id);
    const ledger = openLedger(stores);
    await drained(ledger, acknowledged.size, 60_000);
    expect([...durable.failures, ...relaxed.failures]).toEqual([]);
    const least = (awayMs / 1000) * perSecond * 0.8;
    invalidUnless(taken >= least, `${taken} RELAXED tasks were taken meanwhile, not ${least}`);
    expect(ran).toBeGreaterThan(0.95 * least);
    for (const each of sleepers) {
      expect(await client.get(each)).toMatchObject({ status: "completed", attempt: 1 });
    }

    await Promise.all(workers.map((worker) => worker.stop()));
    await expectAgreement({ ledger, acknowledged, workers });
    const charged = (await ledger.tasks()).filter((row) => row.retry_count + row.lease_losses > 0);
    expect(charged).toEqual([]);
    await expectNoOrphans(stores);
  },
  600_000,
);

const statusOf = (client: Client, id: string): Promise<string> =>
  client.get(id, { timeoutMs: 5_000 }).then(
    ({ status }) => status,
    ({ code }: DroverClientError) => (outcomeUnknown(code) ? "unavailable" : `error ${code}`),
  );

const fast = { queue: "fast" };

const startOf = (workers: readonly WorkerProcess[], id: string) =>
  Promise.any(workers.map((worker) => worker.started(({ taskId }) => taskId === id)));

const startsIn = (workers: readonly WorkerProcess[], ids: ReadonlySet<string>): number =>
  workers.flatMap(({ starts }) => starts).filter(({ taskId }) => ids.has(taskId)).length;
