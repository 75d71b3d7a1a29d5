import { startBenchRedis } from "../redis.js";
import type { Payload, System } from "./system.js";

/** What is used of it. Its package is installed by `make bench` only, so nothing else needs it. */
interface BullMq {
  Queue: new (name: string, options: object) => Queue;
  Worker: new (
    name: string,
    handle: (task: { data: Payload }) => unknown,
    options: object,
  ) => {
    on(event: "completed" | "error", hear: (about: unknown) => void): void;
    waitUntilReady(): Promise<unknown>;
    run(): Promise<void>;
    close(): Promise<void>;
  };
}
interface Queue {
  waitUntilReady(): Promise<unknown>;
  add(name: string, data: Payload): Promise<unknown>;
  addBulk(tasks: { name: string; data: Payload }[]): Promise<unknown>;
  getJobCounts(): Promise<Record<string, number>>;
  close(): Promise<void>;
}

const packageName = "bullmq";
const load = async (): Promise<BullMq> => (await import(packageName)) as BullMq;

const queueName = "bench";
const type = "noop";
const ended = { removeOnComplete: true, removeOnFail: true };

function connectionOf(url: string | undefined): object {
  return { url, maxRetriesPerRequest: null };
}

/** BullMQ as its guide sets it up: finished tasks are removed at once, nothing else is tuned. */
export const bullmq: System = {
  name: "bullmq",
  settings: "one Queue and one Worker, removeOnComplete, no events, else defaults",
  durabilities: ["relaxed"],

  async serve({ dir }) {
    const { Queue } = await load();
    const redis = await startBenchRedis(dir);
    const queue = new Queue(queueName, { connection: connectionOf(redis.url) });
    await queue.waitUntilReady();
    return {
      pids: { redis: redis.pid },
      env: { BENCH_REDIS_URL: redis.url },
      versions: { redis: redis.version },
      settled: () => Promise.resolve(),
      redisBytes: () => redis.bytes(),
      completed: () => Promise.resolve(undefined),
      async live() {
        const { completed: _, ...counts } = await queue.getJobCounts();
        return Object.values(counts).reduce((sum, count) => sum + count, 0);
      },
      async stop() {
        await queue.close();
        await redis.stop();
      },
    };
  },

  async produce(env) {
    const { Queue } = await load();
    const queue = new Queue(queueName, {
      connection: connectionOf(env.BENCH_REDIS_URL),
      defaultJobOptions: ended,
    });
    await queue.waitUntilReady();
    return {
      submit: (data) => queue.add(type, data),
      submitBulk: (all) => queue.addBulk(all.map((data) => ({ name: type, data }))),
      close: () => queue.close(),
    };
  },

  async work(env, { concurrency }, hooks) {
    const { Worker } = await load();
    let acked = 0;
    const worker = new Worker(queueName, async ({ data }) => hooks.started(data), {
      connection: connectionOf(env.BENCH_REDIS_URL),
      concurrency,
      autorun: false,
    });
    worker.on("completed", () => (acked += 1));
    worker.on("error", (error) => console.error(error));
    await worker.waitUntilReady();
    void worker.run().catch((error: unknown) => console.error(error));
    return { acked: () => acked, stop: () => worker.close() };
  },
};
