import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import * as path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { type Config, type ConfigInput, loadConfig } from "./config.js";
import { startEmbeddedPostgres } from "./history/postgres/embedded.js";
import { createServer } from "./server.js";
import { untilSignal } from "./signals.js";
import { createWorker, loadHandlers } from "./worker/index.js";

export interface DevOptions {
  readonly memory: boolean;
  readonly dataDir: string;
  /** Handlers of the worker that comes with it; default: the samples. */
  readonly handlers?: string | undefined;
  /** Submit the sample tasks and show them run. */
  readonly samples: boolean;
  /** Look at their effects from outside, then end. */
  readonly check: boolean;
  readonly flags: ConfigInput;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** What examples/ gives to `drover dev`; it is compiled beside the build. */
interface DevWorld {
  readonly env: Readonly<Record<string, string>>;
  readonly mailUrl: string;
  readonly sampleUrl: string;
  stop(): Promise<void>;
}
interface Samples {
  startDevWorld(options: { dataDir: string }): Promise<DevWorld>;
}
interface Demo {
  /** Resolves to whether every sample task came to its end, and with `check` had its effect. */
  runDemo: (options: {
    grpcAddress: string;
    httpUrl: string;
    mailUrl: string;
    sampleUrl: string;
    /** Undefined: history is in memory. */
    database: { url: string; schema: string } | undefined;
    check: boolean;
    signal: AbortSignal;
  }) => Promise<boolean>;
}

/** Time for sample handlers to end when it stops, in ms. */
const workerGraceMs = 2_000;

/**
 * `drover dev`: all parts in this process, on ports of the loopback address. Resolves to the exit
 * code.
 */
export async function runDev(options: DevOptions): Promise<number> {
  const interrupted = new AbortController();
  const signalled = untilSignal().then((signal) => {
    interrupted.abort(new Error(`stopped by ${signal}`));
    return signal;
  });
  const undo: (() => Promise<void>)[] = [];
  try {
    const { config, world } = await startParts(options, undo, interrupted.signal);
    if (!options.samples) {
      process.stdout.write(`${whereItIs(world)}\n`);
      await signalled;
      return 0;
    }
    const { runDemo } = await importExample<Demo>("demo");
    const database = { url: config.database_url, schema: config.database_schema };
    const done = await runDemo({
      ...world,
      check: options.check,
      database: config.history === "memory" ? undefined : database,
      signal: interrupted.signal,
    });
    if (!options.check && !interrupted.signal.aborted) await signalled;
    return done ? 0 : 1;
  } catch (error) {
    if (interrupted.signal.aborted) return 0;
    throw error;
  } finally {
    for (const end of undo.toReversed()) await end();
  }
}

/** What people need first, and would otherwise have to guess. */
const whereItIs = ({ grpcAddress, httpUrl, mailUrl }: Started["world"]): string =>
  `Drover is up: gRPC on ${grpcAddress}, REST on ${httpUrl}\n` +
  `Mails are caught at ${mailUrl}; everything stays up until Ctrl-C`;

interface Started {
  readonly config: Config;
  readonly world: { grpcAddress: string; httpUrl: string; mailUrl: string; sampleUrl: string };
}

async function startParts(
  options: DevOptions,
  undo: (() => Promise<void>)[],
  signal: AbortSignal,
): Promise<Started> {
  const dataDir = path.resolve(options.dataDir);
  await mkdir(dataDir, { recursive: true });
  const config = loadConfig({
    env: options.env,
    flags: options.flags,
    defaults: await stores(options, dataDir, undo, signal),
  });
  const world = await (await importExample<Samples>("dev-world")).startDevWorld({ dataDir });
  undo.push(() => world.stop());
  const server = createServer(config);
  await server.start();
  undo.push(() => server.stop("the end of drover dev"));
  const grpcAddress = `127.0.0.1:${server.grpcPort}`;
  const httpUrl = `http://127.0.0.1:${server.httpPort}`;
  // The sample handlers read their surroundings like any worker's: from the environment.
  Object.assign(process.env, world.env, { DROVER_ADDR: grpcAddress });
  const worker = createWorker({ address: grpcAddress, workerId: "sample-worker" });
  for (const { type, handle } of await loadHandlers(options.handlers ?? examplePath("handlers")))
    worker.handle(type, handle);
  await worker.start();
  undo.push(() => worker.stop({ graceMs: workerGraceMs }));
  const { mailUrl, sampleUrl } = world;
  return { config, world: { grpcAddress, httpUrl, mailUrl, sampleUrl } };
}

/** Memory broker, and a real Postgres of its own unless told otherwise. */
async function stores(
  options: DevOptions,
  dataDir: string,
  undo: (() => Promise<void>)[],
  signal: AbortSignal,
): Promise<ConfigInput> {
  const quiet = { broker: "memory", log_format: "pretty", log_level: "warn" };
  if (options.memory) return { ...quiet, history: "memory" };
  if (options.env.DATABASE_URL) return quiet;
  const postgres = await startEmbeddedPostgres({
    dataDir: path.join(dataDir, "postgres"),
    persistent: true,
    signal,
  });
  undo.push(() => postgres.stop());
  return { ...quiet, database_url: postgres.url };
}

/** Beside the build, or in the checkout when the sources run by themselves. */
function examplePath(name: string): string {
  const built = fileURLToPath(new URL(`./examples/${name}`, import.meta.url));
  if (existsSync(built) || existsSync(`${built}.js`)) return built;
  return fileURLToPath(new URL(`../examples/${name}`, import.meta.url));
}

async function importExample<T>(name: string): Promise<T> {
  const base = examplePath(name);
  const file = existsSync(`${base}.js`) ? `${base}.js` : `${base}.ts`;
  return (await import(pathToFileURL(file).href)) as T;
}
