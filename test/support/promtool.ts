import { execFileSync } from "node:child_process";
import { accessSync, constants, existsSync, mkdirSync, mkdtempSync, renameSync } from "node:fs";
import * as path from "node:path";

/** Beside what npm installed: kept from run to run, gone with it. */
const cache = path.resolve("node_modules/.cache/drover");
const kept = path.join(cache, "promtool");
const fetchMs = 60_000;

/**
 * promtool of this machine, else the one from Debian's package, unpacked beside the tests and not
 * installed. Undefined where there is neither; the strict reader of the tests judges alone then.
 */
export function findPromtool(): string | undefined {
  const folders = (process.env.PATH ?? "").split(path.delimiter);
  const found = [...folders.map((folder) => path.join(folder, "promtool")), kept].find(runs);
  if (found) return found;
  try {
    fetchDebian();
  } catch {
    return undefined;
  }
  return existsSync(kept) ? kept : undefined;
}

function runs(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function fetchDebian(): void {
  mkdirSync(cache, { recursive: true });
  const dir = mkdtempSync(path.join(cache, "fetch-"));
  const run = (program: string, ...args: string[]) =>
    execFileSync(program, args, { cwd: dir, stdio: "ignore", timeout: fetchMs });
  try {
    run("apt-get", "-qq", "download", "prometheus");
    run("sh", "-c", "dpkg-deb -x prometheus_*.deb unpacked");
    renameSync(path.join(dir, "unpacked/usr/bin/promtool"), kept);
  } finally {
    run("rm", "-r", dir);
  }
}
