import pg from "pg";
import { expect, it } from "vitest";
import { createClient } from "../../src/client/index.js";
import { startCoordinator, startWorker } from "../support/processes.js";
import { soak } from "../support/story.js";
import { freshPrefix, freshSchema, sharedPostgres, sharedRedis } from "../support/stores.js";

const tasks = soak ? 50_000 : 20_000;

it("runs every submitted task and records it: submitted, started and recorded are equal sets", async () => {
  const database = (await sharedPostgres()).url;
  const schema = freshSchema();
  const env = {
    REDIS_URL: (await sharedRedis()).url,
    DROVER_REDIS_PREFIX: freshPrefix(),
    DATABASE_URL: database,
    DROVER_DATABASE_SCHEMA: schema,
  };
  const coordinators = [await startCoordinator(env), await startCoordinator(env)];
  const addresses = coordinators.map(({ grpc }) => grpc);
  const workers = await Promise.all(
    [0, 1, 2, 3].map((n) =>
      startWorker(n % 2 === 0 ? addresses : addresses.toReversed(), {
        WORKER_ID: `w${n}`,
        WORKER_CONCURRENCY: "50",
      }),
    ),
  );
  const client = createClient({ address: addresses });
  const submitted = new Set<string>();
  for (let from = 0; from < tasks; from += 5_000) {
    const batch = Array.from({ length: 5_000 }, (_, n) =>
      client.submit("noop", { n: from + n }, { groupKey: n % 10 === 0 ? `g${n % 7}` : "" }),
    );
    for (const { id } of await Promise.all(batch)) submitted.add(id);
  }
  expect(submitted.size).toBe(tasks);
  await untilCompleted(client);
  await Promise.all(workers.map((worker) => worker.stop()));
  const started = workers.flatMap(({ starts }) => starts.map(({ taskId }) => taskId));
  expect(started).toHaveLength(tasks);
  expect(symmetricDifference(new Set(started), submitted)).toEqual([]);
  expect(workers.every(({ starts }) => starts.length > 0)).toBe(true);
  const rows = await completedRows(database, schema);
  expect(symmetricDifference(new Set(rows), submitted)).toEqual([]);
  await client.close();
  expect(await Promise.all(coordinators.map((each) => each.stop()))).toEqual([0, 0]);
}, 300_000);

/** History is told after the broker: the story ends when its own count says so. */
async function untilCompleted(client: ReturnType<typeof createClient>): Promise<void> {
  for (let completed = 0; completed < tasks;) ({ completed } = await client.stats());
}

async function completedRows(url: string, schema: string): Promise<string[]> {
  const database = new pg.Client({ connectionString: url });
  await database.connect();
  const { rows } = await database.query<{ id: string }>(
    `SELECT id::text FROM "${schema}".tasks WHERE status = 'completed'`,
  );
  await database.end();
  return rows.map(({ id }) => id);
}

const symmetricDifference = (a: ReadonlySet<string>, b: ReadonlySet<string>): string[] => [
  ...[...a].filter((id) => !b.has(id)),
  ...[...b].filter((id) => !a.has(id)),
];
