/** What the scale runs found, as data and as bench/SCALE.md. Pure. */
import { median } from "../summary.js";

export interface ScaleRow {
  /** What it was measured under, e.g. "1,000,000 waiting". */
  readonly load: string;
  readonly figure: string;
  readonly value: number;
  readonly unit: string;
  /** Milliseconds; null where there are none. */
  readonly p50: number | null;
  readonly p99: number | null;
  /** Microseconds of CPU by process, for one task or call. */
  readonly cpu_us: Readonly<Record<string, number>>;
}

export interface Verdict {
  readonly what: string;
  /** The aim in words, e.g. "at most 1.2". */
  readonly wanted: string;
  readonly value: number;
  readonly unit: string;
  readonly holds: boolean;
}

export interface RunResult {
  readonly commit: string;
  /** The checkout held more than that commit. */
  readonly dirty: boolean;
  readonly at: string;
  /** Smaller loads: the figures say that it works, not more. */
  readonly quick: boolean;
  /** Of the minute before. */
  readonly load_before: number;
  readonly seconds: number;
  readonly settings: string;
  readonly rows: readonly ScaleRow[];
  readonly verdicts: readonly Verdict[];
}

/** bench/results/scale.json. Runs not asked for stay as an earlier call left them. */
export interface ScaleResults {
  readonly machine: Readonly<Record<string, string | number>>;
  readonly runs: Readonly<Record<string, RunResult>>;
}

export const atMost = (what: string, value: number, most: number, unit = "x"): Verdict => ({
  what,
  wanted: `at most ${most.toLocaleString("en-US")}`,
  value,
  unit,
  holds: value <= most,
});

export const atLeast = (what: string, value: number, least: number, unit = "x"): Verdict => ({
  what,
  wanted: `at least ${least.toLocaleString("en-US")}`,
  value,
  unit,
  holds: value >= least,
});

/** Rows of the same load and figure as one, of their medians; in the order of first sight. */
export function medianRows(rows: readonly ScaleRow[]): ScaleRow[] {
  const groups = new Map<string, ScaleRow[]>();
  for (const row of rows) {
    const name = `${row.load}\n${row.figure}`;
    groups.set(name, [...(groups.get(name) ?? []), row]);
  }
  return [...groups.values()].map((group) => {
    const first = group[0]!;
    const of = (read: (row: ScaleRow) => number | null): number | null => {
      const known = group.map(read).filter((value) => value !== null);
      return known.length === 0 ? null : median(known);
    };
    const names = Object.keys(first.cpu_us);
    return {
      ...first,
      value: of(({ value }) => value)!,
      p50: of(({ p50 }) => p50),
      p99: of(({ p99 }) => p99),
      cpu_us: Object.fromEntries(names.map((name) => [name, of(({ cpu_us }) => cpu_us[name]!)!])),
    };
  });
}

/** The row of that load and figure. Throws where there is none. */
export function rowOf(rows: readonly ScaleRow[], load: string, figure: string): ScaleRow {
  const found = rows.find((row) => row.load === load && row.figure === figure);
  if (found) return found;
  throw new Error(`no row of ${figure} under ${load}`);
}

/** Of all processes. */
export const cpuSum = ({ cpu_us }: ScaleRow): number =>
  Object.values(cpu_us).reduce((sum, us) => sum + us, 0);

export const formatNumber = (value: number): string =>
  value.toLocaleString("en-US", {
    maximumFractionDigits: Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2,
  });

const ms = (value: number | null): string => (value === null ? "" : formatNumber(value));
const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;

export function markdownTable(head: readonly string[], body: readonly (readonly string[])[]) {
  return [head, head.map(() => "---"), ...body].map(line).join("\n");
}

function rowsTable(rows: readonly ScaleRow[]): string {
  const processes = [...new Set(rows.flatMap(({ cpu_us }) => Object.keys(cpu_us)))];
  const head = ["load", "figure", "value", "unit", "p50 ms", "p99 ms"];
  const body = rows.map((row) => [
    row.load,
    row.figure,
    formatNumber(row.value),
    row.unit,
    ms(row.p50),
    ms(row.p99),
    ...processes.map((name) =>
      row.cpu_us[name] === undefined ? "" : formatNumber(row.cpu_us[name]),
    ),
  ]);
  return markdownTable([...head, ...processes.map((name) => `${name} us`)], body);
}

function verdictsTable(verdicts: readonly Verdict[]): string {
  const body = verdicts.map(({ what, wanted, value, unit, holds }) => [
    what,
    wanted,
    `${formatNumber(value)} ${unit}`,
    holds ? "yes" : "**no**",
  ]);
  return markdownTable(["aim", "wanted", "found", "held"], body);
}

function sectionOf(name: string, about: string, run: RunResult): string[] {
  const { commit, dirty, at, quick, load_before, seconds } = run;
  const facts = [
    `Commit ${commit.slice(0, 12)}${dirty ? " with changes on top" : ""}, ${at}`,
    `${seconds.toFixed(0)} s${quick ? ", `--quick`: small loads" : ""}`,
    `load of the machine before: ${load_before}`,
  ];
  return [
    `## ${name}`,
    `${about} ${run.settings}`,
    `${facts.join("; ")}.`,
    rowsTable(run.rows),
    ...(run.verdicts.length > 0 ? [verdictsTable(run.verdicts)] : []),
  ];
}

const explanation = [
  "CPU is microseconds of user and system time a task (or call), of each process with its",
  "children, until nothing was left to be done behind the last ack; where the unit is a second,",
  "microseconds a second. Every process runs on this one machine and competes for its cores.",
].join(" ");

/** `about`: what each run asks, in the order of the page. */
export function scaleReport(results: ScaleResults, about: Readonly<Record<string, string>>) {
  const runs = Object.entries(about).filter(([name]) => results.runs[name]);
  const absent = Object.keys(about).filter((name) => !results.runs[name]);
  const machine = Object.entries(results.machine).map(([name, value]) => `- ${name}: ${value}`);
  const parts = [
    "# Scale",
    "Written by `make bench-scale`, never by hand; the data is in " +
      "[results/scale.json](results/scale.json).",
    explanation,
    ...runs.flatMap(([name, text]) => sectionOf(name, text, results.runs[name]!)),
    ...(absent.length > 0 ? [`Not run yet: ${absent.join(", ")}.`] : []),
    "## Machine",
    machine.join("\n"),
  ];
  return `${parts.join("\n\n")}\n`;
}
