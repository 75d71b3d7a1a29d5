import type { Connection } from "../broker/redis/connection.js";
import { asList, asText } from "../broker/redis/scripts.js";
import { DroverError } from "../errors.js";
import { bytesText, type Chart, type Check, createChart, reasonOf } from "./check.js";

/** What Redis tells of itself. */
export interface RedisFacts {
  readonly info: ReadonlyMap<string, string>;
  /** CONFIG GET; undefined where this user may not. */
  readonly config: ReadonlyMap<string, string> | undefined;
}

export async function readRedis(connection: Connection): Promise<RedisFacts> {
  const info = new Map<string, string>();
  for (const line of asText(await connection.send("INFO", [])).split("\r\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) info.set(line.slice(0, colon), line.slice(colon + 1));
  }
  return { info, config: await readConfig(connection).catch(() => undefined) };
}

async function readConfig(connection: Connection): Promise<Map<string, string>> {
  const config = new Map<string, string>();
  for (const name of read) {
    const [key, value] = asList(await connection.send("CONFIG", ["GET", name]));
    if (key) config.set(asText(key), asText(value));
  }
  return config;
}

const read = ["appendfsync", "min-replicas-to-write", "cluster-require-full-coverage"];

/** Why nothing more is known of it. */
export const redisUnreachable = (
  connection: Pick<Connection, "lastError">,
  error: unknown,
): Check[] => {
  const chart = createChart("redis");
  const refused = error instanceof DroverError && error.id !== "broker_unavailable";
  if (refused && error.id === "config_invalid") {
    chart.fail("redis_url", error.message, { mend: error.hint });
  } else if (refused) {
    const mend = "Does this user have the right to all commands and to the keys of redis_prefix?";
    chart.fail("commands", reasonOf(error), { mend });
  } else {
    chart.fail("reachable", `no answer: ${reasonOf(connection.lastError ?? error)}`, {
      mend: "Start Redis, or mend redis_url (REDIS_URL, or REDIS_ADDR and REDIS_PASSWORD).",
      unreachable: true,
    });
  }
  return chart.checks;
};

/** Settings and state of Redis. `relaxedQueues` undefined: Postgres could not be asked. */
export function checkRedis(
  { info, config }: RedisFacts,
  relaxedQueues: number | undefined,
): Check[] {
  const chart = createChart("redis");
  const of = (name: string) => info.get(name) ?? "";
  checkVersion(chart, of);
  checkMemory(chart, of);
  checkPersistence(chart, of, config?.get("appendfsync"), relaxedQueues ?? 0);
  checkReplication(chart, of, config?.get("min-replicas-to-write"));
  return chart.checks;
}

type Info = (name: string) => string;

function checkVersion(chart: Chart, of: Info): void {
  const valkey = of("valkey_version");
  const shown = valkey === "" ? `Redis ${of("redis_version")}` : `Valkey ${valkey}`;
  const major = Number.parseInt(of("redis_version"), 10);
  if (major >= 7) chart.ok("version", shown);
  else chart.fail("version", `${shown}: 7.0 is needed`, { mend: "Upgrade to Redis 7 or Valkey." });
}

const nearlyFull = 0.85;

function checkMemory(chart: Chart, of: Info): void {
  const policy = of("maxmemory_policy");
  const most = Number(of("maxmemory"));
  const used = Number(of("used_memory"));
  if (policy === "noeviction") {
    chart.ok("maxmemory-policy", "noeviction");
  } else {
    chart.fail("maxmemory-policy", `${policy}: a full Redis throws queued tasks away`, {
      mend: "CONFIG SET maxmemory-policy noeviction, and in redis.conf.",
      breaks: "P12",
    });
  }
  if (most === 0) {
    chart.ok("memory", `${bytesText(used)} used, no maxmemory`);
    return;
  }
  const says = `${bytesText(used)} of ${bytesText(most)} used`;
  if (used < most * nearlyFull) chart.ok("memory", says);
  else if (used < most) {
    const mend = "Raise maxmemory or add workers; when full, new tasks are refused.";
    chart.warn("memory", says, { mend });
  } else {
    const mend = "Raise maxmemory; results and cancels still enter, new tasks do not.";
    chart.fail("memory", `${says}: new tasks are refused`, { mend });
  }
}

function checkPersistence(
  chart: Chart,
  of: Info,
  appendfsync: string | undefined,
  relaxed: number,
): void {
  const relaxedSays = relaxed === 0 ? "no queue is RELAXED" : `${relaxed} queues are RELAXED`;
  if (of("aof_enabled") !== "1") {
    const mend = "CONFIG SET appendonly yes, and in redis.conf.";
    const after =
      relaxed === 0
        ? "after a restart it is rebuilt from Postgres"
        : "their acknowledged tasks that Postgres does not hold yet are lost with the process";
    chart.warn("appendonly", `off; ${relaxedSays}: ${after}`, {
      mend,
      breaks: relaxed === 0 ? undefined : "P1",
    });
    return;
  }
  const broken = of("aof_last_write_status") === "err" || of("aof_last_bgrewrite_status") === "err";
  if (broken) {
    chart.fail("appendonly", "on, but the last write to the file failed", {
      mend: "Look at the disk of Redis and at its log.",
      breaks: "P1",
    });
    return;
  }
  const loses: Record<string, string> = {
    always: "an acknowledged task survives a crash",
    everysec: "a crash may lose a second of what RELAXED queues acknowledged",
    no: "a crash may lose half a minute of what RELAXED queues acknowledged",
  };
  const says = `on, appendfsync ${appendfsync ?? "(unknown: CONFIG is not allowed)"}; `;
  const meaning = loses[appendfsync ?? ""] ?? "how much a crash may lose is unknown";
  if (appendfsync !== "no" || relaxed === 0) {
    chart.ok("appendonly", `${says}${meaning}; ${relaxedSays}`);
    return;
  }
  const mend = "CONFIG SET appendfsync everysec, and in redis.conf.";
  chart.warn("appendonly", `${says}${meaning}; ${relaxedSays}`, { mend });
}

function checkReplication(chart: Chart, of: Info, least: string | undefined): void {
  if (of("role") !== "master") {
    chart.fail("role", `a replica of ${of("master_host")}: it takes no writes`, {
      mend: "Point redis_url at the primary.",
    });
    return;
  }
  const replicas = Number(of("connected_slaves"));
  if (replicas === 0) {
    const lost = "with its host goes what Postgres does not hold yet";
    chart.ok("replicas", `none: ${lost}; the rest is rebuilt from Postgres`);
  } else if (least === "0") {
    const says = `${replicas}, but min-replicas-to-write is 0: a primary cut off goes on taking`;
    const mend = "CONFIG SET min-replicas-to-write 1, so that two primaries never serve at once.";
    chart.warn("replicas", `${says} writes`, { mend });
  } else {
    chart.ok("replicas", `${replicas}, min-replicas-to-write ${least ?? "unknown"}`);
  }
}
