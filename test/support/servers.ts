import { execFileSync } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import * as path from "node:path";
import {
  type EmbeddedPostgres,
  startEmbeddedPostgres,
} from "../../src/history/postgres/embedded.js";
import { type Guarded, spawnGuarded, untilItSays } from "../../src/history/postgres/guarded.js";
import { keptPort } from "./ports.js";

/** A store of its own; it ends with the process that started it, even when that is killed. */
export interface OwnServer {
  url: string;
  port: number;
  /** Folder of its data; survives kill() and restart(), is deleted by stop(). */
  dir: string;
  /** Ends it and deletes its data. May be repeated. */
  stop(): Promise<void>;
  /** SIGKILL: no goodbye, no flush. Resolves once it is gone. */
  kill(): Promise<void>;
  /** Starts it again on the same port and folder; ends it first if it still runs. */
  restart(): Promise<void>;
  /** SIGSTOP: connections stay open, nothing answers. */
  freeze(): void;
  thaw(): void;
}

export interface OwnRedisOptions {
  /** Default false: nothing is written to disk, so kill() loses all. */
  appendonly?: boolean;
  port?: number;
  dir?: string;
  /** Further options, e.g. `["--maxmemory", "64mb"]`. */
  args?: string[];
}

export interface OwnPostgresOptions {
  port?: number;
  /** Further settings, e.g. `{ max_connections: "20" }`. */
  settings?: Record<string, string>;
}

const startLimitMs = 60_000;

export async function startRedis(options: OwnRedisOptions = {}): Promise<OwnServer> {
  const binary = findRedis();
  const dir = options.dir ?? (await temporaryFolder("redis"));
  await mkdir(dir, { recursive: true });
  let port = options.port ?? (await keptPort());
  let running: Guarded | undefined;

  async function launch(): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      const args = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--dir", dir];
      args.push("--appendonly", options.appendonly ? "yes" : "no", ...(options.args ?? []));
      const redis = spawnGuarded(binary, args, { cwd: dir });
      try {
        await untilItSays(redis, "Ready to accept connections", AbortSignal.timeout(startLimitMs));
        running = redis;
        return;
      } catch (cause) {
        redis.end();
        await redis.exited;
        const taken = /in use|bind/i.test(redis.lastLines());
        if (!taken || options.port !== undefined || attempt === 5) {
          throw new Error(`redis-server did not start: ${redis.lastLines()}`, { cause });
        }
        if (!options.appendonly) port = await keptPort();
      }
    }
  }
  async function end(how: (redis: Guarded) => void): Promise<void> {
    if (!running) return;
    how(running);
    await running.exited;
    running = undefined;
  }
  await launch();
  return {
    get url() {
      return `redis://127.0.0.1:${port}`;
    },
    get port() {
      return port;
    },
    dir,
    async stop() {
      await end((redis) => redis.end());
      await rm(dir, { recursive: true, force: true });
    },
    kill: () => end((redis) => redis.signal("SIGKILL")),
    async restart() {
      await end((redis) => redis.end());
      options = { ...options, port };
      await launch();
    },
    freeze: () => running?.signal("SIGSTOP"),
    thaw: () => running?.signal("SIGCONT"),
  };
}

export async function startPostgres(options: OwnPostgresOptions = {}): Promise<OwnServer> {
  const dir = await temporaryFolder("postgres");
  // Kept until stop(), so that it can be killed and started again; speed is asked for by hand
  // instead.
  const settings = { fsync: "off", full_page_writes: "off", ...options.settings };
  const launch = (port: number): Promise<EmbeddedPostgres> =>
    startEmbeddedPostgres({
      dataDir: path.join(dir, "data"),
      persistent: true,
      settings,
      startTimeoutMs: startLimitMs,
      port,
    });
  let running = await launch(options.port ?? (await keptPort()));
  return {
    get url() {
      return running.url;
    },
    get port() {
      return running.port;
    },
    dir,
    async stop() {
      await running.stop();
      await running.deleteData();
      await rm(dir, { recursive: true, force: true });
    },
    async kill() {
      process.kill(running.pid, "SIGKILL");
      await running.exited;
    },
    async restart() {
      await running.stop();
      running = await launch(running.port);
    },
    freeze: () => tellFamily(running.pid, "SIGSTOP"),
    thaw: () => tellFamily(running.pid, "SIGCONT"),
  };
}

/** The server and its children: each connection of Postgres is served by a process of its own. */
function tellFamily(pid: number, signal: NodeJS.Signals): void {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  process.kill(pid, signal);
  for (const child of children.split(" ").filter(Boolean)) {
    try {
      process.kill(Number(child), signal);
    } catch {
      // It ended meanwhile.
    }
  }
}

/** The program on PATH. As root on Debian it is installed; else one line says what to install. */
export function findRedis(): string {
  const found = onPath("redis-server") ?? onPath("valkey-server");
  if (found) return found;
  if (process.getuid?.() === 0 && onPath("apt-get")) installDebianRedis();
  const installed = onPath("redis-server");
  if (installed) return installed;
  throw new Error(
    "the tests need a Redis server: install the package redis-server (or valkey), or set REDIS_URL",
  );
}

function installDebianRedis(): void {
  console.log("redis-server is missing: installing Debian's");
  const apt = (...args: string[]) =>
    execFileSync("apt-get", ["-qq", ...args], {
      stdio: ["ignore", "ignore", "inherit"],
      env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    });
  apt("update");
  apt("install", "-y", "--no-install-recommends", "redis-server");
  if (existsSync("/run/systemd/system")) {
    execFileSync("systemctl", ["disable", "--now", "redis-server"], { stdio: "ignore" });
  }
}

function onPath(name: string): string | undefined {
  for (const folder of (process.env.PATH ?? "").split(path.delimiter)) {
    const file = path.join(folder, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // Not in this folder.
    }
  }
  return undefined;
}

/** Names carry the process that made them, so that a later run can tell what a killed one left. */
async function temporaryFolder(what: string): Promise<string> {
  return mkdtemp(path.join(tmpdir(), `drover-test-${process.pid}-${what}-`));
}

export async function removeLeftovers(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const pid = Number(/^drover-test-(\d+)-/.exec(name)?.[1]);
    if (pid > 0 && !existsSync(`/proc/${pid}`) && existsSync("/proc/self")) {
      await rm(path.join(tmpdir(), name), { recursive: true, force: true });
    }
  }
}
