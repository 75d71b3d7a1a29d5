import { existsSync } from "node:fs";
import * as path from "node:path";
import { startEmbeddedPostgres } from "../../src/history/postgres/embedded.js";
import { spawnGuarded, untilItSays } from "../../src/history/postgres/guarded.js";
import { type BenchRedis, startBenchRedis } from "../redis.js";
import type { Servers } from "./system.js";

/** What peers share: packages that only `make bench` installs, and servers of their own. */

/** The package, if `make bench` has installed it; nothing else needs it. */
export const load = async <T>(name: string): Promise<T> => (await import(name)) as T;

export const queueName = "bench";

/** RabbitMQ takes 5 s on a quiet machine. */
const startLimitMs = 90_000;
const folders = ["/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin", "/opt/homebrew/bin"];

/** Throws, and the peer is listed as absent, where its server is not installed. */
export function findServer(name: string): string {
  const given = (process.env.PATH ?? "").split(":");
  const found = [...given, ...folders].find((folder) => existsSync(path.join(folder, name)));
  if (found !== undefined) return path.join(found, name);
  throw new Error(`${name} is not installed (apt-get install ${name})`);
}

export interface PeerServer {
  readonly pid: number;
  stop(): Promise<void>;
}

/** Starts a server that ends with this process; ready once it says `ready`. */
export async function startServer(
  program: string,
  args: string[],
  dir: string,
  ready: string | undefined,
): Promise<PeerServer> {
  const guarded = spawnGuarded(program, args, { cwd: dir });
  if (ready !== undefined) {
    await untilItSays(guarded, ready, AbortSignal.timeout(startLimitMs)).catch((cause) => {
      guarded.end();
      throw new Error(`${program} did not start: ${guarded.lastLines()}`, { cause });
    });
  }
  return {
    pid: guarded.child.pid!,
    async stop() {
      // Some have no ear for SIGINT.
      guarded.signal("SIGTERM");
      guarded.end();
      await guarded.exited;
    },
  };
}

/** A Postgres with its default settings, commits synced to disk. */
export async function startBenchPostgres(dir: string) {
  const postgres = await startEmbeddedPostgres({ dataDir: dir, persistent: true });
  return {
    url: postgres.url,
    pid: postgres.pid,
    async stop() {
      await postgres.stop();
      await postgres.deleteData();
    },
  };
}

/** A Redis for a peer that has no part in Node; `live` counts what waits or runs, from its keys. */
export async function serveRedis(
  dir: string,
  live: (redis: BenchRedis["connection"]) => Promise<number>,
): Promise<Servers> {
  const redis = await startBenchRedis(dir);
  return {
    pids: { redis: redis.pid },
    env: { BENCH_REDIS_URL: redis.url },
    versions: { redis: redis.version },
    settled: nothingLeft,
    redisBytes: () => redis.bytes(),
    completed: unknownCount,
    live: () => live(redis.connection),
    stop: () => redis.stop(),
  };
}

/** Peers outside Redis have none. */
export const noRedisBytes = (): Promise<undefined> => Promise.resolve(undefined);
export const nothingLeft = (): Promise<void> => Promise.resolve();
export const unknownCount = (): Promise<undefined> => Promise.resolve(undefined);
