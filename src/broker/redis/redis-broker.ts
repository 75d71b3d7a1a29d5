import type { Clock, Random } from "../../clock.js";
import { DroverError } from "../../errors.js";
import { limits } from "../../limits.js";
import type { Events } from "../../telemetry/events.js";
import type { Broker } from "../broker.js";
import { bury, cancel, get, promoteNow } from "./cancel.js";
import { checkpoint } from "./checkpoint.js";
import { covered } from "./covered.js";
import { enqueue } from "./enqueue.js";
import { createHints } from "./hints.js";
import { checkPrefix } from "./keys.js";
import { lease } from "./lease.js";
import { type BrokerBounds, readLibrary } from "./lua-source.js";
import { Nodes } from "./nodes.js";
import { readOutbox } from "./outbox.js";
import { recorded } from "./recorded.js";
import { counts, lanes, setQueue, wake } from "./queue.js";
import { createScripts, scriptNames } from "./scripts.js";
import {
  announce,
  closeSession,
  cutSession,
  listSessions,
  openSession,
  renewSessions,
} from "./session.js";
import { replace } from "./replace.js";
import { delivered, progress, settle, settleAndLease } from "./settle.js";
import { basesOf, createStore, type Store } from "./store.js";
import { close, now, open, status, sweep } from "./sweep.js";
import { createWaits } from "./wake.js";
import { onWatched } from "./watch.js";

export interface RedisBrokerOptions {
  /**
   * `redis://` or `rediss://` of a Redis 7 or Valkey, or of some nodes of one Redis Cluster: one is
   * enough to find the others, more help while it is away.
   */
  readonly url: string | readonly string[];
  readonly clock: Clock;
  readonly random: Random;
  /** Starts every key and names the hint channel. Default `drover`. */
  readonly prefix?: string;
  /** Power of two. Default 1. */
  readonly partitions?: number;
  /** Settings of the store that endanger promises, in plain words. */
  readonly onWarning?: (message: string) => void;
  readonly events?: Events;
  /**
   * Sweeps of a partition by all coordinators that are closer than this do nothing. Default 400 ms.
   */
  readonly sweepGuardMs?: number;
  /** Tests only: lower bounds. Default: those of limits.ts. */
  readonly bounds?: Partial<BrokerBounds>;
  /** Tests only: the store's time is moved by its `skew` keys, and stopped by `frozen` ones. */
  readonly testSkew?: boolean;
  /** Tests only: what the store calls itself, instead of its run_id. */
  readonly testStoreId?: () => string | undefined;
}

/** Shorter than a sweep interval, so that a lone coordinator skips none of its own. */
const defaultSweepGuardMs = limits.sweepMs - 100;

/** The live queue on Redis: every decision is one Lua script on the keys of one partition. */
export function createRedisBroker(options: RedisBrokerOptions): Broker {
  const { clock, random, onWarning = () => undefined } = options;
  const prefix = checkPrefix(options.prefix ?? "drover");
  const partitions = checkPartitions(options.partitions ?? 1);
  const { outboxEntries, outboxBytes, lanesPerQueue, bundleTasks } = limits;
  const sources = {
    bounds: { outboxEntries, outboxBytes, lanesPerQueue, bundleTasks, ...options.bounds },
    sweepGuardMs: options.sweepGuardMs ?? defaultSweepGuardMs,
    testSkew: options.testSkew ?? false,
  };
  const library = readLibrary(scriptNames, sources);
  const nodes = new Nodes({
    urls: typeof options.url === "string" ? [options.url] : options.url,
    bases: basesOf(prefix, partitions),
    scriptsOf: (connection) => createScripts(connection, sources, library, onWarning),
    clock,
    random,
    onWarning,
    events: options.events,
    testStoreId: options.testStoreId,
  });
  const { bundleTasks: together } = sources.bounds;
  return compose(createStore({ prefix, partitions, nodes, clock, random, bundleTasks: together }));
}

function compose(store: Store): Broker {
  const { nodes, partitions } = store;
  const hints = createHints(nodes, store.prefix);
  const waits = createWaits(store);
  return {
    partitions,
    get available() {
      return nodes.available;
    },
    serves: (partition) => nodes.serves(store.base(partition)),
    async start() {
      hints.start();
      await nodes.start();
    },
    async stop() {
      waits.stop();
      hints.stop();
      await nodes.stop();
    },
    now: (partition = 0) => now(store, partition),
    enqueue: (items, eager) => enqueue(store, items, eager),
    lease: (request) => lease(store, request),
    settle: (settlements) => settle(store, settlements),
    settleAndLease: (settlements, request) => settleAndLease(store, settlements, request),
    progress: (items) => progress(store, items),
    checkpoint: (items) => checkpoint(store, items),
    cancel: (items) => cancel(store, items),
    replace: (items) => replace(store, items),
    delivered: (items) => delivered(store, items),
    bury: (tasks) => bury(store, tasks),
    promoteNow: (taskId) => promoteNow(store, taskId),
    get: (taskIds) => get(store, taskIds),
    openSession: (session) => openSession(store, session),
    renewSessions: (partition, sessions) => renewSessions(store, partition, sessions),
    cutSession: (id, generation, leaseMs) => cutSession(store, id, generation, leaseMs),
    closeSession: (id, generation) => closeSession(store, id, generation),
    listSessions: () => listSessions(store),
    announce: (coordinator) => announce(store, coordinator),
    sweep: (partition) => sweep(store, partition),
    readOutbox: (partition, idleMs, limit) => readOutbox(store, partition, idleMs, limit),
    recorded: (items, born) => recorded(store, items, born),
    covered: (born) => covered(store, born),
    lanes: (namespace, queue) => lanes(store, namespace, queue),
    waitForWork: (partition, known, timeoutMs, signal) =>
      waits.wait(partition, known, timeoutMs, signal),
    wake: (lane) => wake(store, lane),
    onHint: (listener) => hints.listen(listener),
    watch: (taskIds) => onWatched(store, "watch", taskIds),
    announceLogs: (taskIds) => onWatched(store, "announce_logs", taskIds),
    setQueue: (control) => setQueue(store, control),
    counts: (namespace) => counts(store, namespace),
    status: (partition) => status(store, partition),
    close: (partition, reason) => close(store, partition, reason),
    open: (partition, epoch) => open(store, partition, epoch),
  };
}

function checkPartitions(partitions: number): number {
  const powerOfTwo = partitions >= 1 && Number.isInteger(Math.log2(partitions));
  if (powerOfTwo && partitions <= limits.partitionSlots) return partitions;
  throw new DroverError(
    "config_invalid",
    `partitions must be a power of two from 1 to ${limits.partitionSlots}, not ${partitions}`,
  );
}
