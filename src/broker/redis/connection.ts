import { Command, Redis, type RedisOptions } from "ioredis";
import type { Clock, Random, Timer } from "../../clock.js";
import { limits } from "../../limits.js";
import type { Events } from "../../telemetry/events.js";
import type { Argument } from "./call.js";
import { PlainConnector } from "./connector.js";
import { Line, translate, unavailable } from "./line.js";

export { type Argument, ownStoreId } from "./call.js";
export { unavailable } from "./line.js";

export interface ConnectionOptions {
  readonly url: string;
  /** Of a Cluster's node, in events and warnings. */
  readonly node?: string | undefined;
  readonly clock: Clock;
  readonly random: Random;
  /** Settings of the store that endanger promises, in plain words. */
  readonly onWarning: (message: string) => void;
  readonly events?: Events | undefined;
  /** Tests only: the store says it is another one. */
  readonly testStoreId?: (() => string | undefined) | undefined;
}

export interface Connection {
  /**
   * True from a connect whose store id is known until the socket closes or a command is overdue.
   */
  readonly available: boolean;
  /** run_id of the Redis process, read at each connect; "" before the first. */
  readonly storeId: string;
  /** It is a node of a Redis Cluster, by what it said at the last connect. */
  readonly inCluster: boolean;
  /** Why there was no connection last time; undefined if that never happened. */
  readonly lastError: unknown;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Replies are Buffers. Rejects with `broker_unavailable` after 2 s, and destroys the socket. */
  send(name: string, args: readonly Argument[]): Promise<unknown>;
  /** Called after every connect. */
  onReady(listener: () => void): void;
  /** Another connection of the same kind, for what blocks or listens. It connects on first use. */
  dedicated(): Redis;
}

/**
 * Commands fail at once while there is no connection: whoever waits for an answer is told that it
 * is unknown.
 */
function redisOptions({ random, url }: ConnectionOptions) {
  return {
    ...(url.startsWith("redis:") && { Connector: PlainConnector }),
    lazyConnect: true,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: true,
    maxRetriesPerRequest: null,
    connectTimeout: limits.storeCommandMs,
    protocol: 2,
    retryStrategy: (times: number) =>
      Math.min(50 * 2 ** Math.min(times, 6), 2_000) * (0.5 + random.next()),
  } as const satisfies RedisOptions;
}

export function createConnection(options: ConnectionOptions): Connection {
  const { clock, node } = options;
  const settings = redisOptions(options);
  const open = (): Redis => greetedInTime(new Redis(options.url, settings), clock);
  const redis = open();
  const listeners = new Set<() => void>();
  let storeId = "";
  let inCluster = false;
  let available = false;
  const nameOf = (): string => options.testStoreId?.() ?? storeId;
  let line: Line | undefined;

  async function greet(): Promise<void> {
    line = new Line(redis.stream, clock, limits.storeCommandMs);
    const info = String(await line.send("INFO", [], ""));
    storeId = /^run_id:(\w+)/m.exec(info)?.[1] ?? "";
    inCluster = /^cluster_enabled:1/m.test(info);
    warnOfEviction(info, (text) => options.onWarning(node ? `node ${node}: ${text}` : text));
    available = true;
    options.events?.emit("store.available", { store: "broker", node });
    for (const listener of listeners) listener();
  }
  let lastError: unknown;
  // Without a listener ioredis would print.
  redis.on("error", (error) => (lastError = error));
  redis.on("ready", () => {
    greet().catch((error: unknown) => {
      lastError = error;
      destroy(redis);
    });
  });
  redis.on("close", () => {
    if (available) {
      options.events?.emit("store.unavailable", { store: "broker", node, error: lastError });
    }
    available = false;
  });

  return {
    get available() {
      return available;
    },
    get storeId() {
      return nameOf();
    },
    get inCluster() {
      return inCluster;
    },
    get lastError() {
      return lastError;
    },
    async start() {
      await redis.connect().catch(() => undefined);
      if (available) return;
      await heardWithin(limits.storeCommandMs, clock, listeners);
    },
    async stop() {
      available = false;
      line?.stop();
      redis.disconnect();
    },
    send(name, args) {
      if (!available || !line) return Promise.reject(unavailable("there is no connection"));
      return line.send(name, args, nameOf());
    },
    onReady: (listener) => void listeners.add(listener),
    dedicated: () => open().on("error", () => undefined),
  };
}

/**
 * ioredis bounds the dialing alone. Who takes the call and says nothing then may have been replaced
 * long since: nobody hangs up for a process that froze, or a host that went.
 */
function greetedInTime(redis: Redis, clock: Clock): Redis {
  let timer: Timer | undefined;
  redis.on("connect", () => {
    timer = clock.after(limits.storeCommandMs, () => destroy(redis));
  });
  for (const end of ["ready", "close"]) redis.on(end, () => timer?.cancel());
  return redis;
}

/** Resolves when a listener is called, or after so many ms. */
async function heardWithin(ms: number, clock: Clock, listeners: Set<() => void>): Promise<void> {
  const patience = new AbortController();
  const listener = () => patience.abort();
  listeners.add(listener);
  await clock.sleep(ms, patience.signal).catch(() => undefined);
  listeners.delete(listener);
}

/** One command with a deadline of its own, on a connection that ioredis keeps. */
export async function transmit(
  redis: Redis,
  clock: Clock,
  name: string,
  args: readonly (string | Buffer)[],
  deadlineMs: number = limits.storeCommandMs,
): Promise<unknown> {
  const command = new Command(name, [...args], { replyEncoding: null });
  const timer = clock.after(deadlineMs, () => {
    destroy(redis);
    command.reject(unavailable(`no answer in ${deadlineMs} ms`));
  });
  try {
    return await redis.sendCommand(command);
  } catch (error) {
    throw translate(error);
  } finally {
    timer.cancel();
  }
}

/** It dials anew by itself. */
export function destroy(redis: Redis): void {
  const { stream } = redis as { stream?: Redis["stream"] };
  stream?.destroy();
}

function warnOfEviction(info: string, warn: (message: string) => void): void {
  const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1];
  if (policy === undefined || policy === "noeviction") return;
  warn(
    `Redis evicts keys when full (maxmemory-policy ${policy}): queued tasks could vanish. ` +
      "Set maxmemory-policy noeviction.",
  );
}
