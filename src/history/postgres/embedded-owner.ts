import * as fs from "node:fs/promises";
import * as path from "node:path";
import type { Clock } from "../../clock.js";
import { DroverError } from "../../errors.js";

/**
 * Claims the home for this process. A server left by a dead owner is stopped; one whose owner lives
 * is somebody else's, and refused.
 */
export async function claimHome(home: string, clock: Clock): Promise<void> {
  const data = path.join(home, "data");
  const server = await serverPid(data);
  if (server !== undefined) {
    const owner = Number(await fs.readFile(path.join(home, "owner"), "utf8").catch(() => "0"));
    if (owner !== 0 && alive(owner)) throw inUse(home, owner);
    await endServer(server, data, clock);
  }
  await fs.writeFile(path.join(home, "owner"), `${process.pid}\n`);
}

export async function releaseHome(home: string): Promise<void> {
  await fs.rm(path.join(home, "owner"), { force: true });
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
  const { execFile } = await import("node:child_process");
  return new Promise((resolve) => {
    execFile("ps", ["-p", String(pid), "-o", "args="], (error, out) =>
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
