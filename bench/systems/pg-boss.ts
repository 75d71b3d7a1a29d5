import pg from "pg";
import { systemClock } from "../../src/clock.js";
import {
  load,
  noRedisBytes,
  nothingLeft,
  queueName,
  startBenchPostgres,
  unknownCount,
} from "./peers.js";
import type { Payload, System } from "./system.js";

interface Boss {
  start(): Promise<unknown>;
  stop(options: object): Promise<void>;
  createQueue(name: string): Promise<void>;
  send(name: string, data: Payload): Promise<string | null>;
  insert(tasks: { name: string; data: Payload }[]): Promise<void>;
  fetch(name: string, options: object): Promise<{ id: string; data: Payload }[]>;
  complete(name: string, ids: string[]): Promise<unknown>;
  on(event: "error", hear: (error: unknown) => void): void;
}
type PgBoss = { default: new (options: object) => Boss };

const fetchers = 4;
const batchSize = 500;
/** Its workers poll; half a second is the shortest its options allow. */
const pollMs = 500;

async function open(url: string | undefined, supervise: boolean): Promise<Boss> {
  const { default: Boss } = await load<PgBoss>("pg-boss");
  const boss = new Boss({ connectionString: url, supervise, schedule: false, max: 10 });
  boss.on("error", (error) => console.error(error));
  await boss.start();
  return boss;
}

/** pg-boss by its documented batch calls: fetch, complete. */
export const pgBoss: System = {
  name: "pg-boss",
  settings: `${fetchers} loops of fetch and complete by ${batchSize}, polled each ${pollMs} ms`,
  durabilities: ["durable"],
  singleShare: 0.1,

  async serve({ dir }) {
    const postgres = await startBenchPostgres(dir);
    const boss = await open(postgres.url, true);
    await boss.createQueue(queueName);
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
        const sql = "SELECT count(*)::int AS n FROM pgboss.job WHERE state < 'completed'";
        return (await database.query<{ n: number }>(sql)).rows[0]!.n;
      },
      async stop() {
        await database.end();
        await boss.stop({ graceful: false });
        await postgres.stop();
      },
    };
  },

  async produce(env) {
    const boss = await open(env.BENCH_DATABASE_URL, false);
    return {
      submit: (data) => boss.send(queueName, data),
      submitBulk: (all) => boss.insert(all.map((data) => ({ name: queueName, data }))),
      close: () => boss.stop({ graceful: false }),
    };
  },

  async work(env, _, hooks) {
    const boss = await open(env.BENCH_DATABASE_URL, false);
    const ending = new AbortController();
    let acked = 0;
    const loop = async (): Promise<void> => {
      while (!ending.signal.aborted) {
        const tasks = await boss.fetch(queueName, { batchSize });
        for (const { data } of tasks) hooks.started(data);
        if (tasks.length > 0) {
          await boss.complete(
            queueName,
            tasks.map(({ id }) => id),
          );
          acked += tasks.length;
        } else await systemClock.sleep(pollMs, ending.signal).catch(() => undefined);
      }
    };
    const loops = Array.from({ length: fetchers }, loop);
    return {
      acked: () => acked,
      async stop() {
        ending.abort();
        await Promise.all(loops);
        await boss.stop({ graceful: false });
      },
    };
  },
};
