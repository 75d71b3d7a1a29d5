/** `make bench-scale`: see --help. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release, tmpdir, totalmem } from "node:os";
import * as path from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { systemClock } from "../../src/clock.js";
import { refreshCapacityPage } from "../capacity-page.js";
import { backlog } from "./backlog.js";
import { coordinators } from "./coordinators.js";
import { groups } from "./groups.js";
import { handlers } from "./handlers.js";
import { mixes } from "./mixes.js";
import { formatNumber, type RunResult, type ScaleResults, scaleReport } from "./report.js";
import type { ScaleRun } from "./scale-run.js";
import { streams } from "./streams-run.js";
import { unary } from "./unary.js";

const all: readonly ScaleRun[] = [backlog, groups, streams, coordinators, handlers, unary, mixes];

interface Flags {
  runs: string;
  quick: boolean;
  backlog?: number;
  out: string;
}

const whole = (text: string): number => {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new InvalidArgumentError("expected a whole number above 0");
};

const flags = new Command("bench-scale")
  .description("Measures what Drover carries on this machine, in under 10 minutes")
  .option("--runs <names>", "some of them", all.map(({ name }) => name).join(","))
  .option("--quick", "small loads: shows that it works, not more", false)
  .option("--backlog <n>", "tasks that wait; default 1,000,000, with --quick 20,000", whole)
  .option("--out <dir>", "where SCALE.md and results/ go", path.resolve(import.meta.dirname, ".."))
  .parse()
  .opts<Flags>();

const say = (text: string): void => console.error(text);
const git = (...args: string[]): string => execFileSync("git", args, { encoding: "utf8" }).trim();

function commitOf(): { commit: string; dirty: boolean } {
  try {
    return { commit: git("rev-parse", "HEAD"), dirty: git("status", "--porcelain") !== "" };
  } catch {
    return { commit: "unknown", dirty: true };
  }
}

function chosen(): ScaleRun[] {
  return flags.runs.split(",").map((name) => {
    const found = all.find((run) => run.name === name);
    if (found) return found;
    const names = all.map((run) => run.name).join(", ");
    throw new Error(`--runs: expected some of ${names}, got ${JSON.stringify(name)}`);
  });
}

async function resultOf(run: ScaleRun, dir: string): Promise<RunResult> {
  const load = Number(loadavg()[0]!.toFixed(2));
  if (load > 0.5) say(`${run.name}: the machine is not quiet (load ${load})`);
  const startedAt = systemClock.monotonic();
  const at = new Date(systemClock.now()).toISOString();
  const { quick, backlog: waiting } = flags;
  const found = await run.run({ dir: path.join(dir, run.name), quick, backlog: waiting, say });
  const seconds = Math.round((systemClock.monotonic() - startedAt) / 1_000);
  return { ...commitOf(), at, quick, load_before: load, seconds, ...found };
}

const folder = path.join(flags.out, "results");
const data = path.join(folder, "scale.json");
const report = path.join(flags.out, "SCALE.md");

/** After every run, so that one that fails later costs nothing that stands. */
function keep(name: string, result: RunResult): void {
  const before = existsSync(data)
    ? (JSON.parse(readFileSync(data, "utf8")) as ScaleResults)
    : { runs: {} };
  const machine = {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memory_gib: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
  };
  const found: Readonly<Record<string, RunResult>> = { ...before.runs, [name]: result };
  const inOrder = all.flatMap((run) => {
    const one = found[run.name];
    return one ? [[run.name, one] as const] : [];
  });
  const results: ScaleResults = { machine, runs: Object.fromEntries(inOrder) };
  mkdirSync(folder, { recursive: true });
  writeFileSync(data, JSON.stringify(results, undefined, 2));
  const about = Object.fromEntries(all.map((run) => [run.name, run.about]));
  writeFileSync(report, scaleReport(results, about));
  // They are committed, and everything committed is formatted.
  execFileSync(path.resolve("node_modules/.bin/oxfmt"), [data, report]);
  refreshCapacityPage(flags.out);
}

async function main(): Promise<void> {
  const runs = chosen();
  const startedAt = systemClock.monotonic();
  const dir = mkdtempSync(path.join(tmpdir(), "drover-scale-"));
  process.once("exit", () => rmSync(dir, { recursive: true, force: true }));
  process.once("SIGINT", () => process.exit(130));
  process.once("SIGTERM", () => process.exit(143));
  for (const run of runs) {
    const result = await resultOf(run, dir).catch((error: unknown) => {
      say(`${run.name} failed: ${error instanceof Error ? error.stack : String(error)}`);
      process.exitCode = 1;
    });
    if (!result) continue;
    keep(run.name, result);
    for (const { what, wanted, value, unit, holds } of result.verdicts) {
      const found = `${formatNumber(value)} ${unit} (${wanted})`;
      console.log(`${holds ? "held    " : "not held"}  ${run.name}: ${what}: ${found}`);
    }
  }
  const seconds = (systemClock.monotonic() - startedAt) / 1_000;
  const files = `${path.relative("", report)} and ${path.relative("", data)}`;
  console.log(`written to ${files} after ${seconds.toFixed(0)} s`);
}

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
