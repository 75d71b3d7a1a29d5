import pg from "pg";
import { load, noRedisBytes, nothingLeft, startBenchPostgres, unknownCount } from "./peers.js";
import type { Payload, System } from "./system.js";

interface Utils {
  migrate(): Promise<void>;
  addJob(type: string, payload: Payload): Promise<unknown>;
  addJobs(tasks: { identifier: string; payload: Payload }[]): Promise<unknown>;
  release(): Promise<unknown>;
}
interface Runner {
  readonly events: { on(event: "job:complete", hear: () => void): void };
  stop(): Promise<void>;
}
interface Graphile {
  makeWorkerUtils(options: object): Promise<Utils>;
  run(options: object): Promise<Runner>;
  Logger: new (factory: () => () => void) => object;
}

const type = "noop";
const localQueueSize = 500;

async function quiet(): Promise<{ graphile: Graphile; logger: object }> {
  const graphile = await load<Graphile>("graphile-worker");
  return { graphile, logger: new graphile.Logger(() => () => undefined) };
}

/** graphile-worker as its guide tunes it for throughput: a local queue, batched completion. */
export const graphileWorker: System = {
  name: "graphile-worker",
  settings: `localQueue of ${localQueueSize}, completion batched (delay 0), addJobs in bulk`,
  durabilities: ["durable"],
  singleShare: 0.1,

  async serve({ dir }) {
    const postgres = await startBenchPostgres(dir);
    const { graphile, logger } = await quiet();
    const utils = await graphile.makeWorkerUtils({ connectionString: postgres.url, logger });
    await utils.migrate();
    await utils.release();
    const database = new pg.Client({ connectionString: postgres.url });
    await database.connect();
    return {
      pids: { postgres: postgres.pid },
      env: { BENCH_DATABASE_URL: postgres.url },
      versions: {},
      settled: nothingLeft,
      redisBytes: noRedisBytes,
      completed: unknownCount,
      async live() {
        const sql = "SELECT count(*)::int AS n FROM graphile_worker._private_jobs";
        return (await database.query<{ n: number }>(sql)).rows[0]!.n;
      },
      async stop() {
        await database.end();
        await postgres.stop();
      },
    };
  },

  async produce(env) {
    const { graphile, logger } = await quiet();
    const utils = await graphile.makeWorkerUtils({
      connectionString: env.BENCH_DATABASE_URL,
      logger,
      maxPoolSize: 10,
    });
    return {
      submit: (payload) => utils.addJob(type, payload),
      submitBulk: (all) => utils.addJobs(all.map((payload) => ({ identifier: type, payload }))),
      close: async () => void (await utils.release()),
    };
  },

  async work(env, { concurrency }, hooks) {
    const { graphile, logger } = await quiet();
    let acked = 0;
    const runner = await graphile.run({
      connectionString: env.BENCH_DATABASE_URL,
      logger,
      noHandleSignals: true,
      taskList: { [type]: (payload: unknown): void => hooks.started(payload as Payload) },
      preset: {
        worker: {
          concurrentJobs: concurrency,
          maxPoolSize: 10,
          localQueue: { size: Math.max(localQueueSize, concurrency + 1) },
          completeJobBatchDelay: 0,
          failJobBatchDelay: 0,
        },
      },
    });
    runner.events.on("job:complete", () => (acked += 1));
    return { acked: () => acked, stop: () => runner.stop() };
  },
};
