/**
 * The conformance suite on a Redis Cluster of three primaries. A node refuses what a script touches
 * outside the slot of its key, and each check takes a key prefix, so slots, of its own: all three
 * serve.
 */
import { expect, test } from "vitest";
import { partitionKey } from "../../src/broker/redis/keys.js";
import { exerciseBroker } from "../conformance/broker.js";
import { ownCluster, type OwnCluster } from "../support/cluster.js";
import { makeRedisBroker } from "../support/redis-harness.js";

let started: Promise<OwnCluster> | undefined;
const cluster = (): Promise<OwnCluster> => (started ??= ownCluster());

exerciseBroker("the Redis broker on a Cluster", async (options = {}) =>
  makeRedisBroker({ ...options, cluster: await cluster() }),
);

test("a node refuses what leaves the slot of its key", async () => {
  const { redises, ...its } = await cluster();
  const [one, other] = [partitionKey("slots", 0), partitionKey("slots", 1)];
  const redis = redises[await its.holderOf(one)]!;
  const library = "#!lua name=slots\nredis.register_function('reach', function(keys, args)\n";
  const body = "return redis.call('SET', args[1], '1') end)";
  await redis.call("FUNCTION", "LOAD", library + body);
  await expect(redis.fcall("reach", 1, `${one}x`, `${one}y`)).resolves.toBe("OK");
  await expect(redis.fcall("reach", 1, `${one}x`, `${other}x`)).rejects.toThrow(/slot|non local/);
});
