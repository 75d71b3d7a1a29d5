/** `make bench`: see --help. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release, tmpdir, totalmem } from "node:os";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import { Command, InvalidArgumentError } from "commander";
import { systemClock } from "../src/clock.js";
import { refreshCapacityPage } from "./capacity-page.js";
import { plotSvg } from "./plot.js";
import { markdownReport, ratioLines, type Results, terminalTable } from "./report.js";
import { type Load, type Rig, startRig } from "./rig.js";
import { type Figure, figures, type Sample, toRatios, toRows } from "./summary.js";
import { quickSystems, systemNamed, systems } from "./systems/index.js";

interface Flags {
  full: boolean;
  tasks?: number;
  rounds?: number;
  inFlight: number;
  concurrency: number;
  systems?: string;
  figures: string;
  durabilities: string;
  out: string;
  profile?: string;
}

const whole = (text: string): number => {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new InvalidArgumentError("expected a whole number above 0");
};

const here = path.dirname(fileURLToPath(import.meta.url));

const flags = new Command("bench")
  .description("Measures Drover beside its peers on this machine")
  .option("--quick", "3 rounds of 20,000 tasks, under 4 minutes; the default")
  .option("--full", "5 rounds of 30,000 tasks, under 25 minutes", false)
  .option("--tasks <n>", "tasks of a throughput figure", whole)
  .option("--rounds <n>", "rounds, beside the one that warms up", whole)
  .option("--in-flight <n>", "single submits that wait for their ack at once", whole, 256)
  .option("--concurrency <n>", "tasks that the worker process runs at once", whole, 100)
  .option("--systems <names>", "some of them; by default those of the ratios, with --full all")
  .option("--figures <names>", "some of them", figures.join(","))
  .option("--durabilities <names>", "some of them", "relaxed,durable")
  .option("--out <dir>", "where RESULTS.md and results/ go", here)
  .option("--profile <dir>", "CPU profiles of the Node processes go here; figures suffer")
  .parse()
  .opts<Flags>();

/** Rounds are left out rather than this exceeded. */
const budgetMs = flags.full ? 24 * 60_000 : 232_000;
const startedAt = systemClock.monotonic();
const rounds = flags.rounds ?? (flags.full ? 5 : 3);
const load: Load = {
  tasks: flags.tasks ?? (flags.full ? 30_000 : 20_000),
  singlesInFlight: flags.inFlight,
  batch: 500,
  batchesInFlight: 4,
  concurrency: flags.concurrency,
  perSecond: 200,
  latencySeconds: flags.full ? 8 : 4,
};
const wantedFigures = figures.filter((figure) => flags.figures.split(",").includes(figure));
const defaultSystems = (flags.full ? systems : quickSystems).map(({ name }) => name);
const wantedSystems = flags.systems?.split(",") ?? defaultSystems;
const absent: Record<string, string> = Object.fromEntries(
  systems
    .filter(({ name }) => !wantedSystems.includes(name))
    .map(({ name }) => [name, "not asked for; --full measures it"]),
);
const say = (text: string): void => console.error(text);

/** Of the last minute, before anything of ours ran. */
const loadBefore = loadavg()[0]!;
if (loadBefore > 0.5) {
  say(`the machine is not quiet (load ${loadBefore.toFixed(1)}): the figures count for little`);
}

async function startRigs(dir: string): Promise<Rig[]> {
  const rigs: Rig[] = [];
  for (const name of wantedSystems) {
    try {
      rigs.push(await startRig(systemNamed(name), { dir, profile: flags.profile }));
    } catch (error) {
      if (name === "drover") {
        await Promise.allSettled(rigs.map((rig) => rig.stop()));
        throw error;
      }
      absent[name] = String(error).split("\n", 1)[0]!;
      say(`${name} is absent: ${String(error)}`);
    }
  }
  return rigs;
}

/** Figure by figure, each system in turn, another one first in each round. */
async function measureRound(
  rigs: readonly Rig[],
  round: number,
  of: Load,
  some: readonly Figure[] = wantedFigures,
  durabilities: readonly string[] = flags.durabilities.split(","),
): Promise<Sample[]> {
  const turns = rigs.flatMap((rig) =>
    rig.system.durabilities
      .filter((durability) => durabilities.includes(durability))
      .map((durability) => ({ rig, durability })),
  );
  const samples: Sample[] = [];
  for (const figure of some) {
    for (let n = 0; n < turns.length; n += 1) {
      const { rig, durability } = turns[(n + round) % turns.length]!;
      const measured = await rig.measure(figure, durability, of, round);
      samples.push(...measured);
      for (const { value, unit } of measured) {
        const what = `round ${round} ${figure} ${rig.system.name} ${durability}`;
        say(`${what}: ${value.toFixed(unit === "ms" ? 2 : 0)} ${unit}`);
      }
    }
  }
  return samples;
}

/**
 * What has run for a while is measured, not what was just started: a coordinator in Node compiles
 * the last of its hot code after some 200,000 tasks, and does twice as many a second then. Every
 * RELAXED system whose ends are of Node is warmed up by as many; those that commit each task in
 * Postgres do no more by it.
 */
async function warmUp(rigs: readonly Rig[]): Promise<void> {
  await measureRound(rigs, 0, { ...load, tasks: Math.ceil(load.tasks / 2), latencySeconds: 1 });
  const warming = rigs.filter(({ system }) => !("program" in system));
  for (let time = 0; time < warmUps; time += 1) {
    await measureRound(warming, 0, load, ["e2e_single", "e2e_bulk"], ["relaxed"]);
  }
}

const warmUps = 5;

async function measureAll(rigs: readonly Rig[]): Promise<Sample[]> {
  await warmUp(rigs);
  const samples: Sample[] = [];
  let longestMs = 0;
  for (let round = 1; round <= rounds; round += 1) {
    const roundAt = systemClock.monotonic();
    if (roundAt - startedAt + longestMs > budgetMs) {
      say(`out of time: ${round - 1} of ${rounds} rounds`);
      break;
    }
    samples.push(...(await measureRound(rigs, round, load)));
    longestMs = Math.max(longestMs, systemClock.monotonic() - roundAt);
  }
  for (const rig of rigs) await rig.verify();
  return samples;
}

const git = (...args: string[]): string => execFileSync("git", args, { encoding: "utf8" }).trim();

function commitOf(): { commit: string; dirty: boolean } {
  try {
    return { commit: git("rev-parse", "HEAD"), dirty: git("status", "--porcelain") !== "" };
  } catch {
    return { commit: "unknown", dirty: true };
  }
}

function machineOf(rigs: readonly Rig[]): Record<string, string | number> {
  const versions: Record<string, string> = Object.assign({}, ...rigs.map((rig) => rig.versions));
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memory_gib: Math.round(totalmem() / 2 ** 30),
    load_before: Number(loadBefore.toFixed(2)),
    kernel: release(),
    node: process.version,
    ...versions,
  };
}

function settingsOf(rigs: readonly Rig[]): Record<string, string | number> {
  const systemSettings = rigs.map(({ system }) => [system.name, system.settings]);
  return {
    tasks: `${load.tasks} no-op tasks a figure, payload 100 bytes of JSON`,
    processes:
      "one producer and one worker for every system, of Node unless said; all on one machine, " +
      "loopback",
    single: `${load.singlesInFlight} submits wait for their ack at once`,
    bulk: `${load.batchesInFlight} batches of ${load.batch} wait for their ack at once`,
    worker: `runs ${load.concurrency} tasks at once`,
    latency: `${load.perSecond} tasks a second for ${load.latencySeconds} s`,
    redis: "one for each system: appendonly, appendfsync everysec, no snapshots, noeviction",
    warm_up:
      `one round of half of the tasks and, RELAXED where the ends are of Node, ${warmUps} times ` +
      "all of them end to end, single and in bulk, not counted; processes live on between rounds",
    ...(flags.profile === undefined ? {} : { profile: "CPU profiles were taken" }),
    ...Object.fromEntries(systemSettings),
  };
}

function resultsOf(rigs: readonly Rig[], samples: readonly Sample[]): Results {
  const ratios = Object.entries(toRatios(samples));
  return {
    ...commitOf(),
    at: new Date(systemClock.now()).toISOString(),
    mode: flags.full ? "full" : "quick",
    machine: machineOf(rigs),
    settings: settingsOf(rigs),
    rounds_planned: rounds,
    rounds_done: new Set(samples.map(({ round }) => round)).size,
    rows: toRows(samples),
    ratios: Object.fromEntries(ratios.map(([name, { value }]) => [name, value])),
    ratio_spreads: Object.fromEntries(ratios.map(([name, { spread }]) => [name, spread])),
    absent,
    samples,
  };
}

function write(results: Results): void {
  const folder = path.join(flags.out, "results");
  mkdirSync(folder, { recursive: true });
  const data = path.join(folder, "latest.json");
  const report = path.join(flags.out, "RESULTS.md");
  writeFileSync(data, JSON.stringify(results, undefined, 2));
  writeFileSync(path.join(folder, "latest.svg"), plotSvg(results.rows));
  writeFileSync(report, markdownReport(results, "results/latest.svg"));
  // They are committed, and everything committed is formatted.
  execFileSync(path.resolve("node_modules/.bin/oxfmt"), [data, report]);
  refreshCapacityPage(flags.out);
}

async function main(): Promise<void> {
  const dir = mkdtempSync(path.join(tmpdir(), "drover-bench-"));
  const starting = startRigs(dir);
  const stop = async (): Promise<void> => {
    const rigs = await starting.catch(() => []);
    await Promise.allSettled(rigs.map((rig) => rig.stop()));
    rmSync(dir, { recursive: true, force: true });
  };
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    process.once(signal, () => void stop().then(() => process.exit(code)));
  }
  try {
    const rigs = await starting;
    const samples = await measureAll(rigs);
    const results = resultsOf(rigs, samples);
    write(results);
    console.log(terminalTable(results.rows));
    for (const line of ratioLines(results)) console.log(line.join("  "));
    const seconds = (systemClock.monotonic() - startedAt) / 1_000;
    console.log(`written to ${path.relative("", flags.out)}/ after ${seconds.toFixed(0)} s`);
  } finally {
    await stop();
  }
}

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
