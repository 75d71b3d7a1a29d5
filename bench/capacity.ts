/** The tables of docs/capacity.md, computed from what the benchmarks found. Pure. */
import type { Results } from "./report.js";
import { formatNumber, markdownTable, type ScaleResults, type ScaleRow } from "./scale/report.js";
import type { Row } from "./summary.js";

/** The part of a core that is planned with; the rest is for bursts, sweeps and garbage. */
const planned = 0.7;
const million = 1_000_000;

type Cost = Readonly<Record<string, number>>;

interface Way {
  readonly name: string;
  readonly cost: Cost;
}

const processes = ["producer", "coordinator", "redis", "postgres", "worker"] as const;
type Role = (typeof processes)[number];

const roleNames: Readonly<Record<Role, string>> = {
  producer: "producer",
  coordinator: "coordinator",
  redis: "Redis",
  postgres: "Postgres",
  worker: "worker",
};

const ownRow = (rows: readonly Row[], figure: string, durability: string): Row | undefined =>
  rows.find(
    (row) => row.system === "drover" && row.figure === figure && row.durability === durability,
  );

const scaleRow = (
  scale: ScaleResults,
  run: string,
  fits: (row: ScaleRow) => boolean,
): ScaleRow | undefined => scale.runs[run]?.rows.find(fits);

/** Two figures, because more is not known: 41,000 rather than 41,238. */
function rough(value: number): string {
  if (!Number.isFinite(value)) return "?";
  return Number(value.toPrecision(2)).toLocaleString("en-US");
}

const us = (value: number | undefined): string =>
  value === undefined ? "" : value.toFixed(value < 10 ? 1 : 0);

/** End to end, as most clients work; unary is the submit alone. */
function waysOf({ rows }: Results, scale: ScaleResults): Way[] {
  const endToEnd = (["relaxed", "durable"] as const).flatMap((durability) =>
    (["e2e_bulk", "e2e_single"] as const).flatMap((figure) => {
      const row = ownRow(rows, figure, durability);
      const how = figure === "e2e_bulk" ? "in bulk" : "one by one, SDK stream";
      return row ? [{ name: `${durability.toUpperCase()}, ${how}`, cost: row.cpu_us }] : [];
    }),
  );
  const unary = ["relaxed", "durable"].flatMap((durability) => {
    const fits = ({ load, figure }: ScaleRow): boolean =>
      load === durability && figure === "SubmitTask";
    const row = scaleRow(scale, "unary", fits);
    if (!row) return [];
    const { callers: _, ...cost } = row.cpu_us;
    return [{ name: `${durability.toUpperCase()}, unary SubmitTask, submit only`, cost }];
  });
  return [...endToEnd, ...unary];
}

function costTable(ways: readonly Way[]): string {
  const head = ["microseconds of CPU a task", ...processes.map((role) => roleNames[role])];
  return markdownTable(
    head,
    ways.map(({ name, cost }) => [name, ...processes.map((role) => us(cost[role]))]),
  );
}

const perCore = (costUs: number): number => (planned * million) / costUs;

function ceilingTable(ways: readonly Way[]): string {
  const head = ["tasks/s of one core at 70 %", ...processes.map((role) => roleNames[role])];
  const cell = (costUs: number | undefined): string =>
    costUs === undefined || costUs === 0 ? "" : rough(perCore(costUs));
  return markdownTable(
    head,
    ways.map(({ name, cost }) => [name, ...processes.map((role) => cell(cost[role]))]),
  );
}

const sumOf = (cost: Cost): number => Object.values(cost).reduce((sum, one) => sum + one, 0);

/** All processes on one machine: the model says cores by the sum of the costs. */
function checkTable(latest: Results): string {
  const cores = Number(latest.machine.cores);
  const rows = latest.rows.filter(
    (row) =>
      row.system === "drover" && row.unit === "tasks/s" && Object.keys(row.cpu_us).length > 0,
  );
  const body = rows.map((row) => {
    const model = (cores * million) / sumOf(row.cpu_us);
    return [
      `${row.figure}, ${row.durability}`,
      us(sumOf(row.cpu_us)),
      rough(model),
      rough(row.value),
      `${((row.value / model) * 100).toFixed(0)} %`,
    ];
  });
  const head = ["figure", "us a task, all", `model, ${cores} cores full`, "measured", "of it"];
  return markdownTable(head, body);
}

interface Cluster {
  readonly name: string;
  readonly coordinator: number;
  readonly redis: number;
  readonly postgres: number;
  readonly worker: number;
}

const clusters: readonly Cluster[] = [
  { name: "small", coordinator: 2, redis: 1, postgres: 2, worker: 2 },
  { name: "medium", coordinator: 4, redis: 1, postgres: 4, worker: 8 },
  { name: "one Redis, full", coordinator: 12, redis: 1, postgres: 8, worker: 16 },
  { name: "Redis Cluster (not measured)", coordinator: 48, redis: 8, postgres: 32, worker: 64 },
];
const clusterRoles = ["coordinator", "redis", "postgres", "worker"] as const;

function clusterTable(ways: readonly Way[]): string {
  const body = clusters.flatMap((cluster) =>
    ways.map(({ name, cost }) => {
      const carries = clusterRoles.map((role) => ({
        role,
        rate: cluster[role] * perCore(cost[role] ?? Number.NaN),
      }));
      const least = carries.toSorted((a, b) => a.rate - b.rate)[0]!;
      return [
        cluster.name,
        name,
        ...carries.map(({ role, rate }) => `${cluster[role]}: ${rough(rate)}`),
        rough(least.rate),
        roleNames[least.role],
      ];
    }),
  );
  const roles = ["coordinators", "Redis primaries", "Postgres cores", "worker processes"];
  return markdownTable(["cluster", "work", ...roles, "carries, tasks/s", "first limit"], body);
}

function millionTable(ways: readonly Way[]): string {
  const body = ways.map(({ name, cost }) => [
    name,
    ...clusterRoles.map((role) => rough(Math.ceil(million / perCore(cost[role] ?? Number.NaN)))),
  ]);
  const head = ["cores for 1,000,000 tasks/s", ...clusterRoles.map((role) => roleNames[role])];
  return markdownTable(head, body);
}

function memoryTable(latest: Results, scale: ScaleResults): string {
  const isWaiting = ({ figure }: ScaleRow): boolean => figure === "Redis for a waiting task";
  const many = scaleRow(scale, "backlog", isWaiting);
  const few = ownRow(latest.rows, "redis_bytes", "relaxed");
  const grouped = scaleRow(scale, "groups", (row) => isWaiting(row) && row.load !== "no group");
  const stream = scaleRow(scale, "streams", ({ figure }) => figure === "memory for a stream");
  const gib = (bytes: number, count: number): string =>
    `${((bytes * count) / 2 ** 30).toFixed(1)} GiB`;
  const lines = [
    [few, "a waiting task, some thousands", few?.value],
    [many, `a waiting task, ${many?.load}`, many?.value],
    [grouped, `a waiting task, each in a group of its own, ${grouped?.load}`, grouped?.value],
  ] as const;
  const body = lines.flatMap(([row, what, bytes]) =>
    row && bytes !== undefined
      ? [[what, `${bytes.toFixed(0)} bytes of Redis`, gib(bytes, 10 * million)]]
      : [],
  );
  const kept = scaleRow(scale, "backlog", (row) => row.figure === "Postgres for a waiting task");
  if (kept) {
    const bytes = `${kept.value.toFixed(0)} bytes of Postgres`;
    body.push(["a task in history, with indexes", bytes, gib(kept.value, 10 * million)]);
  }
  if (stream) {
    const kib = stream.value;
    const ten = `${((kib * 10_000) / 1_024).toFixed(0)} MiB at 10,000`;
    body.push([
      `a worker's stream, ${stream.load}`,
      `${kib.toFixed(0)} KiB of the coordinator`,
      ten,
    ]);
  }
  return markdownTable(["what", "takes", "10 million of them, or as said"], body);
}

/** What the scale runs say about growth, each as it was found. */
function growthTable(scale: ScaleResults): string {
  const body = Object.entries(scale.runs).flatMap(([run, { verdicts }]) =>
    verdicts.map(({ what, wanted, value, unit, holds }) => [
      run,
      what,
      wanted,
      `${formatNumber(value)} ${unit}`,
      holds ? "yes" : "**no**",
    ]),
  );
  return markdownTable(["run", "aim", "wanted", "found", "held"], body);
}

function originOf(latest: Results, scale: ScaleResults): string {
  const { machine, mode } = latest;
  const small = Object.entries(scale.runs).filter(([, { quick }]) => quick);
  const busy = [
    Number(machine.load_before),
    ...Object.values(scale.runs).map((r) => r.load_before),
  ];
  const lines = [
    `- [results/latest.json](../bench/results/latest.json): \`make bench\` (${mode}) on commit ` +
      `${latest.commit.slice(0, 12)}, ${latest.at.slice(0, 10)}, ${machine.cores} cores ` +
      `(${machine.cpu}), node ${machine.node}, Redis ${machine.redis}, ` +
      `Postgres ${machine.postgres}`,
    `- [results/scale.json](../bench/results/scale.json): \`make bench-scale\`, runs ` +
      Object.keys(scale.runs).join(", "),
  ];
  if (small.length > 0) {
    const names = small.map(([name]) => name).join(", ");
    lines.push(`- made with loads too small to count (\`--quick\`): ${names}`);
  }
  if (Math.max(...busy) > 0.5) {
    const most = Math.max(...busy).toFixed(1);
    const why = "the machine was not quiet";
    lines.push(`- ${why} (load up to ${most} before a run): costs are too high`);
  }
  return lines.join("\n");
}

export type Blocks = Readonly<Record<string, string>>;

export function capacityBlocks(latest: Results, scale: ScaleResults): Blocks {
  const ways = waysOf(latest, scale);
  const whole = ways.filter(({ cost }) => cost["worker"] !== undefined);
  return {
    origin: originOf(latest, scale),
    cost: costTable(ways),
    ceilings: ceilingTable(ways),
    check: checkTable(latest),
    clusters: clusterTable(whole),
    memory: memoryTable(latest, scale),
    growth: growthTable(scale),
    million: millionTable(whole),
  };
}

/** Puts each block between its marks. Throws where one has no marks, or marks have no block. */
export function fillBlocks(page: string, blocks: Blocks): string {
  const seen = new Set<string>();
  const filled = page.replaceAll(
    /(<!-- computed: (\w+) -->\n)[\s\S]*?(<!-- end -->)/g,
    (_, start: string, name: string, end: string) => {
      const block = blocks[name];
      if (block === undefined) throw new Error(`the page asks for ${name}, which is not computed`);
      seen.add(name);
      return `${start}\n${block}\n\n${end}`;
    },
  );
  const left = Object.keys(blocks).filter((name) => !seen.has(name));
  if (left.length > 0) throw new Error(`the page has no place for ${left.join(", ")}`);
  return filled;
}
