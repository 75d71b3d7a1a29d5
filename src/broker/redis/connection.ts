import { Redis, type RedisOptions } from "ioredis";
import { ChurnSet } from "../../churn.js";
import type { Clock, Random, Timer } from "../../clock.js";
import { DroverError } from "../../errors.js";
import { limits } from "../../limits.js";
import type { Events } from "../../telemetry/events.js";
import { type Argument, Call } from "./call.js";

export { type Argument, ownStoreId } from "./call.js";

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
function redisOptions(random: Random) {
  return {
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
  const settings = redisOptions(options.random);
  const redis = new Redis(options.url, settings);
  const listeners = new Set<() => void>();
  let storeId = "";
  let inCluster = false;
  let available = false;
  const nameOf = (): string => options.testStoreId?.() ?? storeId;
  const patience = new Patience(redis, clock, limits.storeCommandMs);

  async function greet(): Promise<void> {
    const info = String(await transmit(redis, clock, "INFO", []));
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
    readAtOnce(redis);
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
      patience.stop();
      redis.disconnect();
    },
    send(name, args) {
      if (!available) return Promise.reject(unavailable("there is no connection"));
      return sendWithin(patience, redis, name, args, nameOf());
    },
    onReady: (listener) => void listeners.add(listener),
    dedicated: () => new Redis(options.url, settings).on("error", () => undefined),
  };
}

/** Resolves when a listener is called, or after so many ms. */
async function heardWithin(ms: number, clock: Clock, listeners: Set<() => void>): Promise<void> {
  const patience = new AbortController();
  const listener = () => patience.abort();
  listeners.add(listener);
  await clock.sleep(ms, patience.signal).catch(() => undefined);
  listeners.delete(listener);
}

/** One command with a deadline of its own. */
export function transmit(
  redis: Redis,
  clock: Clock,
  name: string,
  args: readonly Argument[],
  deadlineMs: number = limits.storeCommandMs,
): Promise<unknown> {
  const patience = new Patience(redis, clock, deadlineMs);
  return sendWithin(patience, redis, name, args, "").finally(() => patience.stop());
}

/**
 * The deadline of a connection's commands. When one passes, the socket is destroyed, as later
 * answers would be too. One timer for all: nearly every answer comes long before it.
 */
class Patience {
  readonly #redis: Redis;
  readonly #clock: Clock;
  readonly #ms: number;
  /** In the order sent, which is that of their ends. */
  readonly #waiting = new ChurnSet<Call>();
  #timer: Timer | undefined;

  constructor(redis: Redis, clock: Clock, ms: number) {
    this.#redis = redis;
    this.#clock = clock;
    this.#ms = ms;
  }

  begin(call: Call): void {
    call.endAt = this.#clock.monotonic() + this.#ms;
    this.#waiting.add(call);
    this.#timer ??= this.#clock.after(this.#ms, () => this.#look());
  }

  end(call: Call): void {
    this.#waiting.delete(call);
  }

  /** Call when the connection is given up, which rejects what waits. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #look(): void {
    this.#timer = undefined;
    const now = this.#clock.monotonic();
    for (const waiting of this.#waiting) {
      if (waiting.endAt > now) {
        this.#timer = this.#clock.after(waiting.endAt - now, () => this.#look());
        return;
      }
      this.#waiting.delete(waiting);
      destroy(this.#redis);
      waiting.giveUp(unavailable(`no answer in ${this.#ms} ms`));
    }
  }
}

function sendWithin(
  patience: Patience,
  redis: Redis,
  name: string,
  args: readonly Argument[],
  storeId: string,
): Promise<unknown> {
  const call = new Call(name, args, storeId, (ended, error) => {
    patience.end(ended);
    return error === undefined ? undefined : translate(error);
  });
  patience.begin(call);
  try {
    // Rejects through the call's promise, also when there is no connection.
    void redis.sendCommand(call);
  } catch (error) {
    call.reject(error as Error);
  }
  return call.promise;
}

/**
 * ioredis listens in a way that Node's streams do not take for listening: every answer would be
 * queued, and read a tick later.
 */
function readAtOnce({ stream }: Redis): void {
  const listener = (): void => undefined;
  stream.on("data", listener).off("data", listener);
}

function destroy(redis: Redis): void {
  const { stream } = redis as { stream?: Redis["stream"] };
  stream?.destroy();
}

export function unavailable(why: string, cause?: unknown): DroverError {
  return new DroverError("broker_unavailable", `Redis did not answer: ${why}`, {
    retryAfterMs: 1_000,
    cause,
  });
}

const transient = /^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|BUSY|UNKILLABLE)\b/;

/**
 * What Redis said, in the words of the catalog. That it has forgotten a script is left as it is:
 * the caller mends it.
 */
function translate(error: unknown): unknown {
  if (!(error instanceof Error) || error.name !== "ReplyError") {
    return unavailable(error instanceof Error ? error.message : "connection lost", error);
  }
  if (/^NOSCRIPT|Function not found/.test(error.message)) return error;
  if (error.message.startsWith("OOM")) {
    const full = "Redis has reached its maxmemory and takes no new tasks";
    return new DroverError("overloaded", full, { retryAfterMs: 1_000, cause: error });
  }
  if (transient.test(error.message)) return unavailable(error.message, error);
  return new DroverError("internal", "a broker script failed", { cause: error });
}

function warnOfEviction(info: string, warn: (message: string) => void): void {
  const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1];
  if (policy === undefined || policy === "noeviction") return;
  warn(
    `Redis evicts keys when full (maxmemory-policy ${policy}): queued tasks could vanish. ` +
      "Set maxmemory-policy noeviction.",
  );
}
