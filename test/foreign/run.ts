/**
 * `make test-foreign`: a Python worker and a Python producer, generated from the contract by
 * Debian's tools, against two coordinators of the build on stores of their own. README.md tells
 * more. Whatever happens, all that was started is ended and all that was written is deleted.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import { removeLeftovers, startPostgres, startRedis } from "../support/servers.js";
import {
  type Conversation,
  type Coordinator,
  type Part,
  startCoordinator,
  startGuarded,
  startTalking,
} from "./parts.js";
import { ensureToolchain, generatePython, python } from "./toolchain.js";

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.resolve(here, "..", "..");
const tasks = 100;
const limitMs = 115_000;

/** Undone backwards. */
const undo: (() => Promise<unknown>)[] = [];

function ending<T extends { kill(): Promise<void> }>(part: T): T {
  undo.push(() => part.kill());
  return part;
}

async function startStores(): Promise<Record<string, string>> {
  await removeLeftovers();
  const keep = async <T extends { stop(): Promise<void> }>(starting: Promise<T>) => {
    const store = await starting;
    undo.push(() => store.stop());
    return store;
  };
  const [redis, postgres] = await Promise.all([keep(startRedis()), keep(startPostgres())]);
  const { PATH = "", HOME = "" } = process.env;
  return { PATH, HOME, REDIS_URL: redis.url, DATABASE_URL: postgres.url };
}

/** The generated modules alone are added to Debian's Python, and nothing is written beside ours. */
async function pythonWorld(): Promise<Record<string, string>> {
  const folder = await mkdtemp(path.join(tmpdir(), `drover-test-${process.pid}-foreign-`));
  undo.push(() => rm(folder, { recursive: true, force: true }));
  generatePython(root, folder);
  const { PATH = "", HOME = "" } = process.env;
  return { PATH, HOME, PYTHONPATH: folder, PYTHONDONTWRITEBYTECODE: "1" };
}

async function seen(part: Part, who: string, pattern: RegExp): Promise<string> {
  const line = await part.out.find(pattern);
  if (line !== undefined) return line;
  throw new Error(`${who} ended without ${pattern}: ${part.lastLines()}`);
}

/** The worker stands on its next stream, with the session and the work it had before. */
async function resumed(worker: Part, generation: number, what: RegExp): Promise<void> {
  const begin = new RegExp(`^connected: generation ${generation},`);
  const line = await seen(worker, "the worker", begin);
  if (!/, resumed,/.test(line) || !what.test(line)) {
    throw new Error(`the worker did not resume as it should: "${line}" is not ${what}`);
  }
}

/** All that can happen to coordinators, each time while a task runs. */
async function makeTrouble(
  producer: Conversation,
  worker: Part,
  [first, second]: readonly [Coordinator, Coordinator],
  stores: Record<string, string>,
): Promise<void> {
  await seen(producer, "the producer", /^trouble: stop the coordinator/);
  await first.stop();
  await seen(worker, "the worker", /^asked to move: GO_AWAY_REASON_SHUTDOWN/);
  await resumed(worker, 2, / [1-9]\d* running/);
  const again = ending(await startCoordinator(stores, first.port));
  producer.say("done");

  await seen(producer, "the producer", /^trouble: kill the coordinator/);
  await second.kill();
  await resumed(worker, 3, / [1-9]\d* running/);
  producer.say("done");

  await seen(producer, "the producer", /^trouble: kill every coordinator/);
  await again.kill();
  // The handler ends while there is nobody to tell: its result is kept, and sent on the next
  // stream.
  await seen(worker, "the worker", /^slept 2/);
  ending(await startCoordinator(stores, first.port));
  await resumed(worker, 4, / [1-9]\d* unacked/);
  producer.say("done");
}

async function story(): Promise<void> {
  ensureToolchain();
  const world = await pythonWorld();
  const stores = await startStores();
  const start = async () => ending(await startCoordinator(stores, 0));
  const pair = [await start(), await start()] as const;
  const addresses = pair.map((one) => one.address);
  const program = (name: string) => [python, path.join(here, name)] as const;

  const queue = ["--queue", "foreign"];
  const worker = ending(startGuarded([...program("handlers.py"), ...addresses, ...queue], world));
  await seen(worker, "the worker", /^connected: generation 1, new/);
  const producing = [...program("producer.py"), addresses.join(","), ...queue] as const;
  const producer = ending(startTalking(producing, world));
  const code = await Promise.race([
    producer.exited,
    makeTrouble(producer, worker, pair, stores).then(() => producer.exited),
  ]);
  const completed = producer.out.all.includes(`completed: ${tasks}`);
  if (code !== 0 || !completed) {
    const said = [producer, worker].map((part) => part.lastLines());
    throw new Error(`the producer ended with ${code}\n${said.join("\n-- worker --\n")}`);
  }
  const left = await worker.stop();
  if (left !== 0 || !worker.out.all.includes("left")) {
    throw new Error(`the worker ended with ${left}: ${worker.lastLines()}`);
  }
}

function interrupted(): Promise<never> {
  return new Promise((_, reject) => {
    const end = (why: string) => reject(new Error(why));
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, end);
    setTimeout(end, limitMs, `not done within ${limitMs} ms`).unref();
  });
}

process.chdir(root);
try {
  await Promise.race([story(), interrupted()]);
  console.log(`foreign: ok, ${tasks} tasks completed by a Python worker`);
} catch (error) {
  console.error(`foreign: not ok: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
} finally {
  for (const step of undo.reverse()) await step().catch(() => undefined);
}
// A story that was interrupted may still wait for something.
process.exit();
