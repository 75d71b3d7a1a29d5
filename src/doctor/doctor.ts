import { createConnection, type Connection } from "../broker/redis/connection.js";
import { createScripts } from "../broker/redis/scripts.js";
import { type Clock, type Random, systemClock, systemRandom } from "../clock.js";
import type { Config } from "../config.js";
import { DroverError } from "../errors.js";
import { createDatabase, type Database } from "../history/postgres/pool.js";
import { limits } from "../limits.js";
import type { Check } from "./check.js";
import { checkClocks, redisTime } from "./clocks.js";
import { checkPartitions } from "./partitions.js";
import { checkPostgres, type HistoryFacts } from "./postgres.js";
import { checkRedis, readRedis, redisUnreachable } from "./redis.js";
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
  const url = config.redis_url;
  const connection = createConnection({ url, clock, random, onWarning: () => undefined });
  const database = createDatabase({
    url: config.database_url,
    schema: config.database_schema,
    applicationName: "drover doctor",
    maxConnections: 1,
    clock,
  });
  try {
    const history = await lookAtPostgres(checks, config, database);
    const redis =
      config.broker === "redis" &&
      (await lookAtRedis(checks, config, connection, {
        clock,
        facts: history,
        full: options.full ?? false,
      }));
    checks.push(
      ...(await checkClocks(
        clock,
        redis ? connection : undefined,
        config.history === "postgres" && database.available ? database : undefined,
      )),
    );
  } finally {
    await Promise.all([connection.stop(), database.stop()]);
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

/** False: it did not answer, at the start or at some time later. */
async function lookAtRedis(
  checks: Check[],
  config: Config,
  connection: Connection,
  { clock, facts, full }: RedisContext,
): Promise<boolean> {
  try {
    await connection.start();
    const found = await readRedis(connection);
    checks.push(...checkRedis(found, facts?.relaxedQueues));
    const redisNow = await redisTime(connection);
    const place = { prefix: config.redis_prefix, partitions: config.partitions };
    const uptimeMs = Number(found.info.get("uptime_in_seconds")) * 1_000;
    const common = { connection, ...place, redisNow };
    checks.push(...(await checkPartitions({ ...common, epochs: facts?.epochs, uptimeMs })));
    const { outboxEntries, outboxBytes, lanesPerQueue } = limits;
    const bounds = { outboxEntries, outboxBytes, lanesPerQueue };
    const scripts = createScripts(connection, { bounds, sweepGuardMs: 0, testSkew: false });
    const parts = { prefix: config.redis_prefix, connection, scripts };
    const stop = new AbortController();
    const timer = full ? undefined : clock.after(keysMs, () => stop.abort());
    const bound = full ? {} : { most: keysMost, signal: stop.signal };
    const structures = await checkStructures(parts, config.partitions, bound);
    timer?.cancel();
    checks.push(...structures.checks);
    const { tasks } = structures;
    checks.push(...(await checkWork({ ...common, tasks, liveRows: facts?.liveTasks })));
    return true;
  } catch (error) {
    checks.push(...redisUnreachable(connection, error));
    return false;
  }
}

function verdictOf(checks: readonly Check[]): DoctorReport["verdict"] {
  if (checks.some(({ unreachable }) => unreachable)) return "unreachable";
  const broken = checks.some(({ level, breaks }) => level === "fail" || breaks !== undefined);
  return broken ? "broken" : "ok";
}
