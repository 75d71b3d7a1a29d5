import { startBenchRedis } from "../redis.js";
import { load, nothingLeft, queueName, unknownCount } from "./peers.js";
import type { Payload, System } from "./system.js";

interface BeeTask {
  save(): Promise<unknown>;
}
interface BeeQueue {
  ready(): Promise<unknown>;
  createJob(data: Payload): BeeTask;
  saveAll(tasks: BeeTask[]): Promise<Map<BeeTask, Error>>;
  process(concurrency: number, handle: (task: { data: Payload }) => Promise<void>): void;
  on(event: "succeeded" | "error", hear: (about: unknown) => void): void;
  checkHealth(): Promise<Record<"waiting" | "active" | "delayed", number>>;
  close(timeoutMs?: number): Promise<void>;
}
type Bee = { default: new (name: string, settings: object) => BeeQueue };

const endLimitMs = 5_000;

async function open(url: string | undefined, settings: object): Promise<BeeQueue> {
  const { default: Queue } = await load<Bee>("bee-queue");
  const queue = new Queue(queueName, { redis: { url }, ...settings });
  await queue.ready();
  return queue;
}

/** bee-queue as its README advises for speed: no stored objects, no events. */
export const beeQueue: System = {
  name: "bee-queue",
  settings: "removeOnSuccess, storeJobs, sendEvents and getEvents off, else defaults",
  durabilities: ["relaxed"],

  async serve({ dir }) {
    const redis = await startBenchRedis(dir);
    const queue = await open(redis.url, { isWorker: false, getEvents: false });
    return {
      pids: { redis: redis.pid },
      env: { BENCH_REDIS_URL: redis.url },
      versions: { redis: redis.version },
      settled: nothingLeft,
      redisBytes: () => redis.bytes(),
      completed: unknownCount,
      async live() {
        const { waiting, active, delayed } = await queue.checkHealth();
        return waiting + active + delayed;
      },
      async stop() {
        await queue.close();
        await redis.stop();
      },
    };
  },

  async produce(env) {
    const queue = await open(env.BENCH_REDIS_URL, {
      isWorker: false,
      getEvents: false,
      sendEvents: false,
      storeJobs: false,
    });
    return {
      submit: (data) => queue.createJob(data).save(),
      async submitBulk(all) {
        const [refused] = (await queue.saveAll(all.map((data) => queue.createJob(data)))).values();
        if (refused) throw refused;
      },
      close: () => queue.close(),
    };
  },

  async work(env, { concurrency }, hooks) {
    const queue = await open(env.BENCH_REDIS_URL, {
      getEvents: false,
      sendEvents: false,
      storeJobs: false,
      removeOnSuccess: true,
    });
    let acked = 0;
    queue.on("succeeded", () => (acked += 1));
    queue.on("error", (error) => console.error(error));
    queue.process(concurrency, async ({ data }) => hooks.started(data));
    return { acked: () => acked, stop: () => queue.close(endLimitMs) };
  },
};
