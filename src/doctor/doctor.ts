import { Nodes } from "../broker/redis/nodes.js";
import { createScripts } from "../broker/redis/scripts.js";
import { basesOf } from "../broker/redis/store.js";
import { type Clock, type Random, systemClock, systemRandom } from "../clock.js";
import { type Config, redisUrlsOf } from "../config.js";
import { DroverError } from "../errors.js";
import { createDatabase, type Database } from "../history/postgres/pool.js";
import { limits } from "../limits.js";
import type { Check } from "./check.js";
import { checkClocks } from "./clocks.js";
import { checkCluster } from "./cluster.js";
import { checkPartitions } from "./partitions.js";
import { checkPostgres, type HistoryFacts } from "./postgres.js";
import { checkRedis, redisUnreachable } from "./redis.js";
import { readSlices, type Slice } from "./slices.js";
import { checkStructures } from "./structures.js";
import { checkWork } from "./work.js";

export interface DoctorReport {
  readonly checks: readonly Check[];
  /** The worst of them. unreachable: a store did not answer. */
  readonly verdict: "ok" | "broken" | "unreachable";
}

export interface DoctorOptions {
  /** Look at every key of Redis; default: at the first 200,000, and for 10 s at most. */
  readonly full?: boolean;
  readonly clock?: Clock;
  readonly random?: Random;
}

const keysMost = 200_000;
const keysMs = 10_000;

/**
 * Looks at both stores as they are and changes nothing; needs no coordinator. Never rejects for
 * what it finds, only for settings that leave nothing to look at.
 */
export async function runDoctor(
  config: Config,
  options: DoctorOptions = {},
): Promise<DoctorReport> {
  if (config.broker === "memory" && config.history === "memory") {
    const message = "broker and history are memory: there is no store to look at";
    throw new DroverError("config_invalid", message, { field: "broker" });
  }
  const { clock = systemClock, random = systemRandom } = options;
  const checks: Check[] = [];
  const nodes = nodesOf(config, clock, random);
  const database = createDatabase({
    url: config.database_url,
    schema: config.database_schema,
    applicationName: "drover doctor",
    maxConnections: 1,
    clock,
  });
  try {
    const history = await lookAtPostgres(checks, config, database);
    const context = { clock, facts: history, full: options.full ?? false };
    const slices =
      config.broker === "redis" ? await lookAtRedis(checks, config, nodes, context) : [];
    const several = slices.length > 1;
    const redises = slices.map(({ address, connection }) => {
      return { name: several ? `redis ${address}` : "redis", connection };
    });
    const asked = config.history === "postgres" && database.available ? database : undefined;
    checks.push(...(await checkClocks(clock, redises, asked)));
  } finally {
    await Promise.all([nodes.stop(), database.stop()]);
  }
  return { checks, verdict: verdictOf(checks) };
}

async function lookAtPostgres(
  checks: Check[],
  config: Config,
  database: Database,
): Promise<HistoryFacts | undefined> {
  if (config.history !== "postgres") return undefined;
  const report = await checkPostgres(database, config.partitions);
  checks.push(...report.checks);
  return report.facts;
}

interface RedisContext {
  readonly clock: Clock;
  readonly facts: HistoryFacts | undefined;
  readonly full: boolean;
}

function nodesOf(config: Config, clock: Clock, random: Random): Nodes {
  const { outboxEntries, outboxBytes, lanesPerQueue, bundleTasks } = limits;
  const bounds = { outboxEntries, outboxBytes, lanesPerQueue, bundleTasks };
  return new Nodes({
    urls: redisUrlsOf(config.redis_url),
    bases: basesOf(config.redis_prefix, config.partitions),
    scriptsOf: (connection) =>
      createScripts(connection, { bounds, sweepGuardMs: 0, testSkew: false }),
    clock,
    random,
    onWarning: () => undefined,
  });
}

/** Returns what answered, at the start and at all times later. */
async function lookAtRedis(
  checks: Check[],
  config: Config,
  nodes: Nodes,
  context: RedisContext,
): Promise<readonly Slice[]> {
  const { redis_prefix: prefix, partitions } = config;
  try {
    await nodes.start();
    const { slices, silent } = await readSlices(nodes, prefix, partitions);
    for (const { address, connection, error } of silent) {
      const found = redisUnreachable(connection, error);
      checks.push(...(nodes.inCluster ? found.map((check) => at(address, check)) : found));
    }
    if (slices.length === 0) {
      if (silent.length === 0) checks.push(...redisUnreachable(nodes, undefined));
      return [];
    }
    for (const { address, facts } of slices) {
      const found = checkRedis(facts, context.facts?.relaxedQueues);
      checks.push(...(nodes.inCluster ? found.map((check) => at(address, check)) : found));
    }
    if (nodes.inCluster) {
      checks.push(...(await checkCluster(nodes, slices, basesOf(prefix, partitions))));
    }
    await lookInside(checks, prefix, slices, context);
    return slices;
  } catch (error) {
    checks.push(...redisUnreachable(nodes, error));
    return [];
  }
}

const at = (address: string, check: Check): Check => ({
  ...check,
  says: `${address}: ${check.says}`,
});

/** What Drover keeps there. */
async function lookInside(
  checks: Check[],
  prefix: string,
  slices: readonly Slice[],
  { clock, facts, full }: RedisContext,
): Promise<void> {
  const common = { slices, prefix };
  checks.push(...(await checkPartitions({ ...common, epochs: facts?.epochs })));
  const stop = new AbortController();
  const timer = full ? undefined : clock.after(keysMs, () => stop.abort());
  const bound = full ? {} : { most: keysMost, signal: stop.signal };
  const { checks: found, tasks } = await checkStructures(slices, prefix, bound);
  timer?.cancel();
  checks.push(...found);
  checks.push(...(await checkWork({ ...common, tasks, liveRows: facts?.liveTasks })));
}

function verdictOf(checks: readonly Check[]): DoctorReport["verdict"] {
  if (checks.some(({ unreachable }) => unreachable)) return "unreachable";
  const broken = checks.some(({ level, breaks }) => level === "fail" || breaks !== undefined);
  return broken ? "broken" : "ok";
}
