import { execFile } from "node:child_process";
import * as fs from "node:fs/promises";
import * as path from "node:path";
import type { Clock } from "../../clock.js";
import { DroverError } from "../../errors.js";

/**
 * Claims the home for this process. A server left by a dead owner is stopped; one whose owner lives
 * is somebody else's, and refused.
 */
export async function claimHome(home: string, dataDir: string, clock: Clock): Promise<void> {
  const file = path.join(home, "owner");
  const mine = path.join(home, `owner.${process.pid}.${(claims += 1)}`);
  await fs.writeFile(mine, `${await identityOf(process.pid)}\n${dataDir}\n`);
  try {
    while (!(await linked(mine, file))) {
      const owner = await livingOwner(file);
      if (owner !== undefined) throw inUse(home, owner);
      await dropDead(file, `${mine}.dead`);
    }
  } finally {
    await fs.rm(mine, { force: true });
  }
  const data = path.join(home, "data");
  const server = await serverPid(data);
  if (server !== undefined) await endServer(server, data, clock);
}

/** Claims of this process, so that each has a name of its own. */
let claims = 0;

/** Whole at once, unlike a file that is made and then written: nobody reads half a claim. */
async function linked(from: string, to: string): Promise<boolean> {
  try {
    await fs.link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** Taken aside first: whoever found it dead as well may have put a living claim in its place. */
async function dropDead(file: string, aside: string): Promise<void> {
  await fs.rename(file, aside).catch(() => undefined);
  if ((await livingOwner(aside)) !== undefined) await linked(aside, file);
  await fs.rm(aside, { force: true });
}

export async function releaseHome(home: string): Promise<void> {
  await fs.rm(path.join(home, "owner"), { force: true });
}

/**
 * Deletes homes whose owner is dead and whose data directory is gone: nobody will come back for
 * them.
 */
export async function removeAbandoned(base: string, prefix: string): Promise<void> {
  for (const name of await fs.readdir(base)) {
    if (!name.startsWith(prefix)) continue;
    const home = path.join(base, name);
    const owner = path.join(home, "owner");
    const [, dataDir] = await ownerLines(owner);
    if (dataDir === undefined || (await livingOwner(owner)) !== undefined) continue;
    const there = await fs.stat(dataDir).catch(() => undefined);
    if (!there) await fs.rm(home, { recursive: true, force: true });
  }
}

/**
 * Postgres believes a pid file whose number another process got since; we look whether that is a
 * Postgres of this data.
 */
export async function dropStalePidFile(data: string): Promise<void> {
  if ((await serverPid(data)) === undefined) {
    await fs.rm(path.join(data, "postmaster.pid"), { force: true });
  }
}

async function serverPid(data: string): Promise<number | undefined> {
  const file = await fs.readFile(path.join(data, "postmaster.pid"), "utf8").catch(() => "");
  const pid = Number.parseInt(file, 10);
  if (!(pid > 0) || !alive(pid)) return undefined;
  return (await commandLine(pid))?.includes(data) ? pid : undefined;
}

async function endServer(pid: number, data: string, clock: Clock): Promise<void> {
  for (const [signal, polls] of [["SIGINT", 50] as const, ["SIGKILL", 20] as const]) {
    try {
      process.kill(pid, signal);
    } catch {
      return;
    }
    for (let poll = 0; poll < polls; poll += 1) {
      if ((await serverPid(data)) !== pid) return;
      await clock.sleep(100);
    }
  }
  throw new DroverError(
    "embedded_postgres_failed",
    `Postgres ${pid} of an earlier run does not end`,
  );
}

async function ownerLines(file: string): Promise<string[]> {
  const text = await fs.readFile(file, "utf8").catch(() => "");
  return text.split("\n").slice(0, -1);
}

async function livingOwner(file: string): Promise<number | undefined> {
  const [identity = ""] = await ownerLines(file);
  const pid = Number.parseInt(identity, 10);
  return pid > 0 && (await identityOf(pid)) === identity ? pid : undefined;
}

/**
 * A number and a start time: numbers alone are given out again. Undefined when there is no such
 * process.
 */
async function identityOf(pid: number): Promise<string | undefined> {
  if (process.platform !== "linux") {
    const started = await ps(pid, "lstart=");
    return started && `${pid} ${started.trim()}`;
  }
  const stat = await fs.readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  // The name in parentheses may hold anything; the start time is the twentieth field behind it.
  return stat && `${pid} ${stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]}`;
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

async function commandLine(pid: number): Promise<string | undefined> {
  if (process.platform === "linux") {
    return fs.readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => undefined);
  }
  return ps(pid, "args=");
}

function ps(pid: number, what: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile("ps", ["-p", String(pid), "-o", what], (error, out) =>
      resolve(error ? undefined : out),
    );
  });
}

function inUse(home: string, owner: number): DroverError {
  return new DroverError(
    "embedded_postgres_failed",
    `the embedded Postgres in ${home} is in use by process ${owner}`,
    { hint: "Stop that process, or choose another data directory." },
  );
}
