import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

interface ProcessTimes {
  readonly parent: number;
  /** Of itself and of the children it has waited for, in clock ticks. */
  readonly ticks: number;
}

const ticksPerSecond = Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));

/** The line of /proc/<pid>/stat; the name in parentheses may hold anything. */
export function parseStat(line: string): ProcessTimes {
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  const [utime, stime, cutime, cstime] = fields.slice(11, 15).map(Number);
  return { parent: Number(fields[1]), ticks: utime! + stime! + cutime! + cstime! };
}

function readAll(): Map<number, ProcessTimes> {
  const all = new Map<number, ProcessTimes>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      all.set(Number(name), parseStat(readFileSync(`/proc/${name}/stat`, "utf8")));
    } catch {
      // It ended meanwhile; its parent has its time.
    }
  }
  return all;
}

/** Microseconds of CPU that each of the processes and all its descendants have used so far. */
export function cpuOf(pids: Readonly<Record<string, number>>): Record<string, number> {
  const all = readAll();
  const children = new Map<number, number[]>();
  for (const [pid, { parent }] of all) children.set(parent, [...(children.get(parent) ?? []), pid]);
  const ticksUnder = (pid: number): number =>
    (children.get(pid) ?? []).reduce((sum, child) => sum + ticksUnder(child), 0) +
    (all.get(pid)?.ticks ?? 0);
  return Object.fromEntries(
    Object.entries(pids).map(([name, pid]) => [name, (ticksUnder(pid) / ticksPerSecond) * 1e6]),
  );
}
