/**
 * The conformance suite on a node of a Redis Cluster. A node refuses what a script touches outside
 * the slot of its key, so this is what "the keys are ready for a Cluster" rests on. It holds all
 * slots itself: speaking to several nodes takes a client that Drover does not have.
 */
import { Redis } from "ioredis";
import { expect, test } from "vitest";
import { partitionKey } from "../../src/broker/redis/keys.js";
import { exerciseBroker } from "../conformance/broker.js";
import { makeRedisBroker } from "../support/redis-harness.js";
import { type OwnServer, ownRedis } from "../support/stores.js";

async function startNode(): Promise<OwnServer> {
  const server = await ownRedis({ args: ["--cluster-enabled", "yes"] });
  const redis = new Redis(server.url);
  await redis.call("CLUSTER", "ADDSLOTSRANGE", "0", "16383");
  while (!String(await redis.call("CLUSTER", "INFO")).includes("cluster_state:ok"));
  redis.disconnect();
  return server;
}

let started: Promise<OwnServer> | undefined;
const node = (): Promise<OwnServer> => (started ??= startNode());

exerciseBroker("the Redis broker on a node of a Cluster", async (options) =>
  makeRedisBroker({ ...options, url: (await node()).url }),
);

test("such a node refuses what leaves the slot of its key", async () => {
  const redis = new Redis((await node()).url);
  const [one, other] = [partitionKey("slots", 0), partitionKey("slots", 1)];
  const library = "#!lua name=slots\nredis.register_function('reach', function(keys, args)\n";
  const body = "return redis.call('SET', args[1], '1') end)";
  await redis.call("FUNCTION", "LOAD", library + body);
  await expect(redis.fcall("reach", 1, `${one}x`, `${one}y`)).resolves.toBe("OK");
  await expect(redis.fcall("reach", 1, `${one}x`, `${other}x`)).rejects.toThrow(/slot/);
  redis.disconnect();
});
