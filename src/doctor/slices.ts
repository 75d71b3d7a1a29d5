import type { Connection } from "../broker/redis/connection.js";
import { partitionKey } from "../broker/redis/keys.js";
import type { Node, Nodes } from "../broker/redis/nodes.js";
import type { Scripts } from "../broker/redis/scripts.js";
import { redisTime } from "./clocks.js";
import { type RedisFacts, readRedis } from "./redis.js";

/** A Redis, and the partitions that it serves. */
export interface Slice {
  readonly address: string;
  readonly connection: Connection;
  readonly scripts: Scripts;
  readonly partitions: readonly number[];
  readonly facts: RedisFacts;
  /** Its own clock. */
  readonly redisNow: number;
  /** How long it has been up: a partition opens some seconds after its start. */
  readonly uptimeMs: number;
}

/** A Redis that did not answer, and why. */
export interface Silence {
  readonly connection: Connection;
  readonly address: string;
  readonly error: unknown;
}

/** Each Redis that serves partitions, as it is. */
export async function readSlices(
  nodes: Nodes,
  prefix: string,
  partitions: number,
): Promise<{ slices: Slice[]; silent: Silence[] }> {
  const numbers = new Map<string, number>();
  for (let p = 0; p < partitions; p += 1) numbers.set(partitionKey(prefix, p), p);
  const slices: Slice[] = [];
  const silent: Silence[] = [];
  for (const { node, bases } of nodes.all()) {
    const own = bases.map((base) => numbers.get(base)!);
    try {
      slices.push(await readSlice(node, own));
    } catch (error) {
      silent.push({ connection: node.connection, address: node.address, error });
    }
  }
  return { slices, silent };
}

async function readSlice(node: Node, partitions: readonly number[]): Promise<Slice> {
  const { address, connection, scripts } = node;
  const facts = await readRedis(connection);
  const redisNow = await redisTime(connection);
  const uptimeMs = Number(facts.info.get("uptime_in_seconds")) * 1_000;
  return { address, connection, scripts, partitions, facts, redisNow, uptimeMs };
}
