import * as path from "node:path";
import pg from "pg";
import { systemClock } from "../../src/clock.js";
import { startEmbeddedPostgres } from "../../src/history/postgres/embedded.js";
import { build, loadClient, loadWorker } from "../build.js";
import { startCoordinator } from "../coordinator.js";
import { startBenchRedis } from "../redis.js";
import type { Durability, Payload, System } from "./system.js";

const type = "noop";
const schema = "drover";
const prefix = "bench";

const queueOf = (durability: Durability): string => `bench-${durability}`;

async function setUpQueues(address: string): Promise<void> {
  const { createClient } = await loadClient();
  const client = createClient({ address });
  for (const durability of drover.durabilities) {
    await client.queues.update(queueOf(durability), { durability });
  }
  await client.close();
}

/** Drover as `drover serve` sets it up: history in Postgres, whose commits are synced to disk. */
export const drover: System = {
  name: "drover",
  settings:
    "one coordinator (drover serve), Redis and Postgres (fsync on), history on, all defaults; " +
    "one queue RELAXED, one DURABLE",
  durabilities: ["relaxed", "durable"],

  async serve({ dir, profile }) {
    const ends: (() => Promise<unknown>)[] = [];
    const stop = async (): Promise<void> => {
      for (const end of ends.splice(0).reverse()) await end();
    };
    try {
      const redis = await startBenchRedis(path.join(dir, "redis"));
      ends.push(() => redis.stop());
      const dataDir = path.join(dir, "postgres");
      const postgres = await startEmbeddedPostgres({ dataDir, persistent: true });
      ends.push(async () => {
        await postgres.stop();
        await postgres.deleteData();
      });
      const coordinator = await startCoordinator(
        {
          REDIS_URL: redis.url,
          DROVER_REDIS_PREFIX: prefix,
          DATABASE_URL: postgres.url,
          DROVER_DATABASE_SCHEMA: schema,
        },
        profile,
      );
      ends.push(() => coordinator.stop());
      const database = new pg.Client({ connectionString: postgres.url });
      await database.connect();
      ends.push(() => database.end());
      const { rows } = await database.query<{ server_version: string }>("SHOW server_version");
      await setUpQueues(coordinator.address);

      const count = async (durability: Durability, which: string): Promise<number> => {
        const sql = `SELECT count(*)::int AS n FROM ${schema}.tasks WHERE queue = $1 AND ${which}`;
        const answer = await database.query<{ n: number }>(sql, [queueOf(durability)]);
        return answer.rows[0]!.n;
      };
      return {
        pids: { coordinator: coordinator.pid, redis: redis.pid, postgres: postgres.pid },
        env: { DROVER_ADDR: coordinator.address, BENCH_BUILD: build },
        versions: { redis: redis.version, postgres: rows[0]!.server_version },
        async settled() {
          const outbox = `{${prefix}:0}:ob`;
          while ((await redis.connection.xlen(outbox)) > 0) await systemClock.sleep(20);
        },
        redisBytes: () => redis.bytes(),
        completed: (durability) => count(durability, "status = 'completed'"),
        live: (durability) => count(durability, "ended_at IS NULL"),
        stop,
      };
    } catch (error) {
      await stop();
      throw error;
    }
  },

  async produce(env, durability) {
    const { createClient } = await loadClient();
    const client = createClient({ address: env.DROVER_ADDR! });
    const options = { queue: queueOf(durability) };
    return {
      submit: (payload) => client.submit(type, payload, options),
      async submitBulk(all) {
        const outcomes = await client.submitMany(
          all.map((payload) => ({ type, payload, options })),
        );
        const refused = outcomes.find((outcome) => !outcome.ok);
        if (refused) throw refused.error;
      },
      close: () => client.close(),
    };
  },

  async work(env, { durability, concurrency }, hooks) {
    const { createWorker } = await loadWorker();
    const worker = createWorker({
      address: env.DROVER_ADDR!,
      workerId: "bench-worker",
      concurrency,
    });
    const handle = (payload: unknown): void => hooks.started(payload as Payload);
    worker.handle(type, handle, { queue: queueOf(durability) });
    await worker.start();
    return {
      acked: (started) => started - worker.running - worker.unacked,
      stop: () => worker.stop(),
    };
  },
};
