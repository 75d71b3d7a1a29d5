import type { Redis } from "ioredis";
import { DroverError } from "../../errors.js";
import { limits } from "../../limits.js";
import type { Lane } from "../broker.js";
import { transmit } from "./connection.js";
import { laneText, markerKey } from "./keys.js";
import type { Node } from "./nodes.js";
import { wake } from "./queue.js";
import { asList, asText } from "./scripts.js";
import type { Store } from "./store.js";

/**
 * How often a wait that was given up is ended again: the first try may come before the wait itself.
 */
const unblockMs = 25;

export interface Waits {
  /** See Broker.waitForWork. */
  wait(
    partition: number,
    lanes: readonly Lane[],
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<Lane | undefined>;
  stop(): void;
}

/** A connection to the node that serves a partition. */
interface Waiting {
  readonly node: Node;
  readonly redis: Redis;
}

/**
 * One connection per partition that is waited for: a blocking pop holds up everything behind it.
 */
export function createWaits(store: Store): Waits {
  const connections = new Map<number, Waiting>();
  let stopped = false;

  function connectionOf(partition: number): Waiting {
    const node = store.nodes.nodeOf(store.base(partition));
    const known = connections.get(partition);
    if (known?.node === node) return known;
    known?.redis.disconnect();
    const waiting = { node, redis: node.connection.dedicated() };
    connections.set(partition, waiting);
    return waiting;
  }

  return {
    async wait(partition, lanes, timeoutMs, signal) {
      const known = lanes.slice(0, limits.wakeLanes);
      const base = store.base(partition);
      const byKey = new Map(known.map((lane) => [markerKey(base, laneText(lane)), lane]));
      if (signal.aborted || stopped || byKey.size === 0) return undefined;
      const waiting = connectionOf(partition);
      try {
        await ready(store, waiting.redis, signal);
        const key = await pop(store, waiting, [...byKey.keys()], timeoutMs, signal);
        const lane = key === undefined ? undefined : byKey.get(key);
        if (!lane || !signal.aborted) return lane;
        await wake(store, lane);
        return undefined;
      } catch (error) {
        if (signal.aborted || stopped) return undefined;
        // The next wait is on the right node.
        if (store.nodes.heed(base, waiting.node, error) === "moved") return undefined;
        throw error;
      }
    },
    stop() {
      stopped = true;
      for (const { redis } of connections.values()) redis.disconnect();
    },
  };
}

async function ready(store: Store, redis: Redis, signal: AbortSignal): Promise<void> {
  if (redis.status === "ready") return;
  if (redis.status === "wait") void redis.connect().catch(() => undefined);
  const patience = new AbortController();
  const waits = AbortSignal.any([signal, patience.signal]);
  const connected = new Promise<void>((resolve) => redis.once("ready", resolve));
  await Promise.race([connected, store.clock.sleep(limits.storeCommandMs, waits)]);
  patience.abort();
  if ((redis.status as string) === "ready") return;
  throw new DroverError("broker_unavailable", "Redis did not answer: no connection to wait on", {
    retryAfterMs: 1_000,
  });
}

/** The key of a marker that was popped. */
async function pop(
  store: Store,
  { node, redis }: Waiting,
  keys: readonly string[],
  timeoutMs: number,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { clock } = store;
  const client = asText(await transmit(redis, clock, "CLIENT", ["ID"]));
  const waitMs = Math.max(1, Math.ceil(timeoutMs));
  const args = [...keys, (waitMs / 1_000).toFixed(3)];
  const popped = transmit(redis, clock, "BZPOPMIN", args, waitMs + limits.storeCommandMs);
  const ended = new AbortController();
  const unblock = async () => {
    while (!ended.signal.aborted) {
      await node.connection.send("CLIENT", ["UNBLOCK", client]).catch(() => undefined);
      await clock.sleep(unblockMs, ended.signal).catch(() => undefined);
    }
  };
  const onAbort = () => void unblock();
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    const [key] = asList(await popped);
    return key === undefined ? undefined : asText(key);
  } finally {
    ended.abort();
    signal.removeEventListener("abort", onAbort);
  }
}
