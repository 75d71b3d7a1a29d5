/** What people read: the table of the terminal and bench/RESULTS.md. Pure. */
import Table from "cli-table3";
import { limitsInWords } from "./limit.js";
import type { Ratio, Row, Sample, Unit } from "./summary.js";

/** bench/results/latest.json. */
export interface Results {
  readonly commit: string;
  /** The checkout held more than that commit. */
  readonly dirty: boolean;
  readonly at: string;
  readonly mode: "quick" | "full";
  readonly machine: Readonly<Record<string, string | number>>;
  readonly settings: Readonly<Record<string, string | number>>;
  readonly rounds_planned: number;
  readonly rounds_done: number;
  readonly rows: readonly Row[];
  readonly ratios: Readonly<Record<string, number>>;
  readonly ratio_spreads: Readonly<Record<string, Ratio["spread"]>>;
  /** Peers that could not be measured, and why. */
  readonly absent: Readonly<Record<string, string>>;
  readonly samples: readonly Sample[];
}

const digits: Readonly<Record<Unit, number>> = { "tasks/s": 0, "bytes/task": 0, ms: 2 };

export function formatValue(value: number, unit: Unit): string {
  const fraction = digits[unit];
  return value.toLocaleString("en-US", {
    minimumFractionDigits: fraction,
    maximumFractionDigits: fraction,
  });
}

const ms = (value: number | null): string => (value === null ? "" : formatValue(value, "ms"));

/** Columns of a table; those of CPU are the processes that some row has. */
function headOf(rows: readonly Row[]): string[] {
  return ["figure", "system", "durability", "median", "spread", "unit", "p50", "p99"].concat(
    processesOf(rows),
    "CPU µs",
  );
}

/** In the order a task meets them. */
const wayOfTask = ["producer", "coordinator", "redis", "broker", "postgres", "worker"];

function processesOf(rows: readonly Row[]): string[] {
  const names = new Set(rows.flatMap(({ cpu_us }) => Object.keys(cpu_us)));
  const place = (name: string): number => (wayOfTask.indexOf(name) + 7) % 7;
  return [...names].toSorted((a, b) => place(a) - place(b));
}

function cellsOf(row: Row, processes: readonly string[]): string[] {
  const { figure, system, durability, value, unit, spread, p50, p99, cpu_us } = row;
  const range = spread.map((edge) => formatValue(edge, unit)).join(" – ");
  const numbers = [formatValue(value, unit), range, unit, ms(p50), ms(p99)];
  const cpu = processes.map((name) => cpu_us[name]?.toFixed(0) ?? "");
  const used = Object.values(cpu_us);
  const sum = used.reduce((total, us) => total + us, 0);
  return [figure, system, durability, ...numbers, ...cpu, used.length > 0 ? sum.toFixed(0) : ""];
}

const bodyOf = (rows: readonly Row[]): string[][] => {
  const processes = processesOf(rows);
  return rows.map((row) => cellsOf(row, processes));
};

/** Lines between rows and around the table would only make it longer. */
const bare = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
  middle: "  ",
};

/** For a terminal. */
export function terminalTable(rows: readonly Row[]): string {
  const head = headOf(rows);
  const table = new Table({
    head,
    chars: bare,
    colAligns: head.map((_, at) => (at < 3 ? "left" : "right")),
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
  });
  table.push(...bodyOf(rows));
  return table.toString();
}

const markdownRow = (cellTexts: readonly string[]): string => `| ${cellTexts.join(" | ")} |`;

function markdownTable(header: readonly string[], body: readonly (readonly string[])[]): string {
  const rule = header.map(() => "---");
  return [header, rule, ...body].map(markdownRow).join("\n");
}

export function ratioLines(results: Pick<Results, "ratios" | "ratio_spreads">): string[][] {
  return Object.entries(results.ratios).map(([name, value]) => {
    const spread = results.ratio_spreads[name] ?? [value, value];
    return [name, value.toFixed(2), spread.map((edge) => edge.toFixed(2)).join(" – ")];
  });
}

const facts = (record: Readonly<Record<string, string | number>>): string =>
  Object.entries(record)
    .map(([name, value]) => `- ${name.replaceAll("_", " ")}: ${value}`)
    .join("\n");

const explanation = [
  "Throughput is tasks a second, the median of the rounds; the spread is the lowest and the",
  "highest round. A task is done when its result is acked. `submit_*` runs without a worker,",
  "`drain` is the worker alone on what they left, from the first start of a handler, `e2e_*` is",
  "both from before the first submit. p50 and p99 are milliseconds: of the call for `submit_*`,",
  "from before submit to the first line of the handler for `e2e_*` (there it is mostly the wait in",
  "a full queue) and for `latency_200`, 200 tasks a second. The columns after are microseconds of",
  "CPU a task, user and system, of each process and its children, and their sum, with the work",
  "that is still done after the last ack. `relaxed` is as durable as the Redis, which syncs its",
  "AOF every second; `durable` is committed in Postgres before the ack. Every process runs on this",
  "one machine, so each system competes with its own producer, worker and stores for its cores.",
].join(" ");

const list = (lines: readonly string[]): string => lines.map((line) => `- ${line}`).join("\n");

function headerOf({ mode, commit, dirty, at, rounds_done, rounds_planned }: Results): string {
  const standing = `Commit ${commit}${dirty ? " with changes on top" : ""}, ${at}`;
  return [
    `Written by \`make bench\` (${mode}), never by hand; the data, with every round, is in`,
    "[results/latest.json](results/latest.json).",
    `${standing}; ${rounds_done} of ${rounds_planned} rounds, interleaved.`,
  ].join(" ");
}

/** bench/RESULTS.md. `plot` is its path as seen from there. */
export function markdownReport(results: Results, plot: string): string {
  const { rows, absent, machine, settings } = results;
  const missing = Object.entries(absent).map(([name, why]) => `${name}: ${why}`);
  const limits = limitsInWords(rows, Number(machine.cores));
  const parts = [
    "# Benchmark",
    headerOf(results),
    `![End to end, drain and submit by system](${plot})`,
    explanation,
    markdownTable(headOf(rows), bodyOf(rows)),
    "## Drover RELAXED by its peers",
    "Above 1 Drover is faster; for latency below 1 it is.",
    markdownTable(["ratio", "of the medians", "spread over rounds"], ratioLines(results)),
    "## What limits it",
    list(limits),
    "## The same for all",
    facts(settings),
    "## Machine",
    facts(machine),
    ...(missing.length > 0 ? ["## Absent", list(missing)] : []),
  ];
  return `${parts.join("\n\n")}\n`;
}
