import { Redis } from "ioredis";
import { systemClock } from "../../src/clock.js";
import { startRedis } from "./servers.js";
import { type OwnServer, ownUntilStopped } from "./stores.js";

/** A Redis Cluster of one's own, on ports of this machine. */
export interface OwnCluster {
  readonly nodes: readonly OwnServer[];
  /** Of all nodes, as redis_url takes them. */
  readonly url: string;
  readonly urls: readonly string[];
  /** A plain connection to each node. */
  readonly redises: readonly Redis[];
  /** Which node holds the slot of a key. */
  holderOf(key: string): Promise<number>;
  /** Moves the slot of a key and all its keys to another node, a few keys at a time. */
  moveSlot(key: string, to: number, steps?: SlotSteps): Promise<void>;
  /** Adds a replica of a node, in step with it; it is the last of `nodes`. */
  addReplica(of: number): Promise<Redis>;
  /** Until each node says that the Cluster is whole. */
  whole(): Promise<void>;
}

export interface SlotSteps {
  /** Called once the slot is on the move, before the first key goes. */
  moving?(): Promise<void>;
  /** Called when about half of the keys have gone. */
  halfway?(): Promise<void>;
}

const slotCount = 16_384;
const pollMs = 5;
const limitMs = 20_000;

async function startNode(appendonly: boolean): Promise<OwnServer> {
  const args = ["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"];
  args.push("--cluster-node-timeout", "2000", "--appendfsync", "always");
  return ownUntilStopped(await startRedis({ args, appendonly }));
}

function connectTo({ url }: OwnServer): Redis {
  const redis = new Redis(url, { maxRetriesPerRequest: null });
  redis.on("error", () => undefined);
  return redis;
}

/** So many primaries without replicas. Takes about a second. Ends with the test file. */
export async function ownCluster(size = 3, appendonly = false): Promise<OwnCluster> {
  const nodes = await Promise.all(Array.from({ length: size }, () => startNode(appendonly)));
  const redises = nodes.map(connectTo);
  const share = Math.ceil(slotCount / size);
  await Promise.all(
    redises.map(async (redis, at) => {
      const last = Math.min(slotCount, (at + 1) * share) - 1;
      await redis.call("CLUSTER", "SET-CONFIG-EPOCH", String(at + 1));
      await redis.call("CLUSTER", "ADDSLOTSRANGE", String(at * share), String(last));
    }),
  );
  for (const { port } of nodes.slice(1)) {
    await redises[0]!.call("CLUSTER", "MEET", "127.0.0.1", String(port));
  }
  const whole = async (): Promise<void> => {
    await Promise.all(redises.map((redis) => until(() => isWhole(redis, size, nodes.length))));
  };
  await whole();

  async function holderOf(key: string): Promise<number> {
    const slot = Number(await redises[0]!.call("CLUSTER", "KEYSLOT", key));
    const ranges = (await redises[0]!.call("CLUSTER", "SLOTS")) as [
      number,
      number,
      [string, number],
    ][];
    const [, , [, port]] = ranges.find(([first, last]) => first <= slot && slot <= last)!;
    return nodes.findIndex((node) => node.port === port);
  }
  return {
    nodes,
    redises,
    url: nodes.map(({ url }) => url).join(","),
    urls: nodes.map(({ url }) => url),
    whole,
    holderOf,
    async addReplica(of) {
      const node = await startNode(appendonly);
      const redis = connectTo(node);
      nodes.push(node);
      redises.push(redis);
      await redis.call("CLUSTER", "MEET", "127.0.0.1", String(nodes[of]!.port));
      await whole();
      await redis.call("CLUSTER", "REPLICATE", await idOf(redises[of]!));
      await until(async () => (await redis.info("replication")).includes("master_link_status:up"));
      return redis;
    },
    async moveSlot(key, to, steps = {}) {
      const from = await holderOf(key);
      const slot = String(await redises[0]!.call("CLUSTER", "KEYSLOT", key));
      const [source, target] = [redises[from]!, redises[to]!];
      const [sourceId, targetId] = await Promise.all([idOf(source), idOf(target)]);
      await target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", sourceId);
      await source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", targetId);
      await steps.moving?.();
      const total = Number(await source.call("CLUSTER", "COUNTKEYSINSLOT", slot));
      await moveKeys(source, slot, nodes[to]!.port, Math.floor(total / 2));
      await steps.halfway?.();
      await moveKeys(source, slot, nodes[to]!.port, Number.POSITIVE_INFINITY);
      for (const redis of [target, source, ...redises]) {
        await redis.call("CLUSTER", "SETSLOT", slot, "NODE", targetId);
      }
    },
  };
}

const idOf = async (redis: Redis): Promise<string> => String(await redis.call("CLUSTER", "MYID"));

async function isWhole(redis: Redis, size: number, known: number): Promise<boolean> {
  const info = String(await redis.call("CLUSTER", "INFO"));
  const has = (field: string, value: string | number) => info.includes(`${field}:${value}\r`);
  return (
    has("cluster_state", "ok") &&
    has("cluster_slots_ok", slotCount) &&
    has("cluster_size", size) &&
    has("cluster_known_nodes", known)
  );
}

/** A few at a time, as resharding tools do. */
async function moveKeys(source: Redis, slot: string, port: number, most: number): Promise<void> {
  for (let moved = 0; moved < most;) {
    const count = String(Math.min(10, most - moved));
    const keys = (await source.callBuffer("CLUSTER", "GETKEYSINSLOT", slot, count)) as Buffer[];
    if (keys.length === 0) return;
    await source.call("MIGRATE", "127.0.0.1", String(port), "", "0", "5000", "KEYS", ...keys);
    moved += keys.length;
  }
}

/** Redis tells nobody when its Cluster has become whole. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  const signal = AbortSignal.timeout(limitMs);
  while (!(await holds())) await systemClock.sleep(pollMs, signal);
}
