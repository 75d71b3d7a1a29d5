import { Redis } from "ioredis";
import type { Broker } from "../../src/broker/broker.js";
import { partitionKey } from "../../src/broker/redis/keys.js";
import { createRedisBroker, type RedisBrokerOptions } from "../../src/broker/redis/redis-broker.js";
import { systemClock } from "../../src/clock.js";
import type { BrokerHarness, BrokerHarnessOptions } from "../conformance/broker-harness.js";
import type { OwnCluster } from "./cluster.js";
import { auditPartition } from "./redis-audit.js";
import { createSeededRandom } from "./seeded-random.js";
import { freshPrefix, sharedRedis } from "./stores.js";

export interface RedisHarness extends BrokerHarness {
  readonly redis: Redis;
  readonly prefix: string;
}

export interface RedisHarnessOptions extends BrokerHarnessOptions {
  /** Default: the shared Redis of the run. */
  readonly url?: string;
  /** Instead of one Redis. */
  readonly cluster?: OwnCluster;
  readonly more?: Partial<RedisBrokerOptions>;
  /** The store's time stands still but for `advance`. Default false: it goes on meanwhile. */
  readonly frozen?: boolean;
}

export async function makeRedisBroker(options: RedisHarnessOptions = {}): Promise<RedisHarness> {
  const { partitions = 1, bounds = {}, cluster, frozen = false } = options;
  const url = cluster?.urls ?? options.url ?? (await sharedRedis()).url;
  const prefix = freshPrefix();
  const redis = new Redis(typeof url === "string" ? url : url[0]!);
  redis.on("error", () => undefined);
  const redisOf = async (partition: number): Promise<Redis> =>
    cluster ? cluster.redises[await cluster.holderOf(partitionKey(prefix, partition))]! : redis;
  if (frozen) {
    for (let p = 0; p < partitions; p += 1) await freeze(await redisOf(p), partitionKey(prefix, p));
  }
  const started: Broker[] = [];
  let replaced = 0;
  let seed = 7;

  async function another(): Promise<Broker> {
    const broker = createRedisBroker({
      url,
      clock: systemClock,
      random: createSeededRandom(seed++),
      prefix,
      partitions,
      bounds,
      sweepGuardMs: 0,
      testSkew: true,
      testStoreId: () => (replaced > 0 ? `replaced-${replaced}` : undefined),
      ...options.more,
    });
    await broker.start();
    started.push(broker);
    return broker;
  }

  return {
    redis,
    prefix,
    broker: await another(),
    another,
    async advance(ms) {
      for (let p = 0; p < partitions; p += 1) {
        await (await redisOf(p)).incrby(`${partitionKey(prefix, p)}skew`, Math.round(ms));
      }
    },
    async wipe() {
      for (let p = 0; p < partitions; p += 1) {
        const own = await redisOf(p);
        const time = ["skew", "frozen"].map((name) => `${partitionKey(prefix, p)}${name}`);
        const before = await own.mget(time);
        await dropKeys(own, `{${prefix}:${p}}:*`);
        // Time does not go back when a store loses its data.
        for (const [nth, key] of time.entries()) if (before[nth]) await own.set(key, before[nth]);
      }
    },
    async replace() {
      replaced += 1;
    },
    async audit() {
      const numbers = Array.from({ length: partitions }, (_, p) => p);
      const wrong = await Promise.all(
        numbers.map(async (p) => auditPartition(await redisOf(p), prefix, p)),
      );
      return wrong.flat();
    },
    async stop() {
      for (const broker of started) await broker.stop();
      redis.disconnect();
    },
  };
}

async function freeze(redis: Redis, key: string): Promise<void> {
  const [seconds] = await redis.time();
  await redis.set(`${key}frozen`, Number(seconds) * 1_000);
}

async function dropKeys(redis: Redis, match: string): Promise<void> {
  for await (const keys of redis.scanBufferStream({ match, count: 1_000 })) {
    if ((keys as Buffer[]).length > 0) await redis.del(...(keys as Buffer[]));
  }
}
