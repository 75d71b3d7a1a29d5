import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { cpuOf, parseStat } from "../../bench/cpu.js";
import { limitsInWords } from "../../bench/limit.js";
import { plotSvg } from "../../bench/plot.js";
import { markdownReport, ratioLines, type Results, terminalTable } from "../../bench/report.js";
import { median, percentile, type Sample, toRatios, toRows } from "../../bench/summary.js";

const sample = (given: Partial<Sample>): Sample => ({
  round: 1,
  system: "drover",
  durability: "relaxed",
  figure: "e2e_bulk",
  tasks: 1_000,
  value: 100,
  unit: "tasks/s",
  p50: 1,
  p99: 2,
  cpu_us: { producer: 10, redis: 5 },
  ...given,
});

const rounds = (system: string, values: readonly number[], more: Partial<Sample> = {}): Sample[] =>
  values.map((value, at) => sample({ system, value, round: at + 1, ...more }));

describe("medians and percentiles", () => {
  it("takes the middle value, or the mean of the middle two", () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([])).toBeNaN();
  });

  it("takes the smallest value that the share does not exceed", () => {
    const hundred = Array.from({ length: 100 }, (_, n) => 100 - n);
    expect(percentile(hundred, 0.5)).toBe(50);
    expect(percentile(hundred, 0.99)).toBe(99);
    expect(percentile([7], 0.99)).toBe(7);
    expect(percentile([], 0.5)).toBeNull();
  });
});

describe("rows", () => {
  it("hold the medians of the rounds, and their spread", () => {
    const samples = [
      sample({ round: 1, value: 90, p50: 3, cpu_us: { producer: 9, redis: 1 } }),
      sample({ round: 2, value: 300, p50: 5, cpu_us: { producer: 11, redis: 3 } }),
      sample({ round: 3, value: 100, p50: 4, cpu_us: { producer: 10, redis: 2 } }),
    ];
    expect(toRows(samples)).toEqual([
      {
        system: "drover",
        durability: "relaxed",
        figure: "e2e_bulk",
        tasks: 1_000,
        value: 100,
        unit: "tasks/s",
        p50: 4,
        p99: 2,
        cpu_us: { producer: 10, redis: 2 },
        rounds: 3,
        spread: [90, 300],
      },
    ]);
  });

  it("stand figure by figure, Drover first, relaxed before durable", () => {
    const samples = [
      sample({ figure: "drain", system: "bullmq" }),
      sample({ figure: "drain", durability: "durable" }),
      sample({ figure: "drain" }),
      sample({ figure: "submit_single", system: "bullmq" }),
    ];
    const places = toRows(samples).map(({ figure, system, durability }) =>
      [figure, system, durability].join(" "),
    );
    expect(places).toEqual([
      "submit_single bullmq relaxed",
      "drain drover relaxed",
      "drain drover durable",
      "drain bullmq relaxed",
    ]);
  });

  it("leave out percentiles nobody measured", () => {
    expect(toRows([sample({ p50: null, p99: null })])[0]).toMatchObject({ p50: null, p99: null });
  });
});

describe("ratios", () => {
  const samples = [
    ...rounds("drover", [300, 400, 900]),
    ...rounds("drover", [1, 1, 1], { durability: "durable" }),
    ...rounds("bullmq", [100, 100, 450]),
  ];

  it("are quotients of the rows, with the spread of the rounds", () => {
    expect(toRatios(samples).e2e_bulk_vs_bullmq).toEqual({ value: 4, spread: [2, 4] });
  });

  it("are left out where one side was not measured", () => {
    expect(Object.keys(toRatios(samples))).toEqual(["e2e_bulk_vs_bullmq"]);
    expect(toRatios(rounds("drover", [1]))).toEqual({});
  });
});

describe("what limits a figure", () => {
  const limit = (value: number, cpu_us: Record<string, number>): string =>
    limitsInWords(toRows([sample({ value, cpu_us })]), 2)[0]!;

  it("is the machine when all cores are busy", () => {
    expect(limit(10_000, { producer: 100, coordinator: 90 })).toContain("1.90 of 2 cores");
    expect(limit(10_000, { producer: 100, coordinator: 90 })).toContain("Limited by the machine");
  });

  it("is the one thread of a process that fills its core", () => {
    expect(limit(10_000, { producer: 20, coordinator: 95 })).toContain("thread of the coordinator");
  });

  it("is waiting when nobody is busy, and Postgres is not one thread", () => {
    expect(limit(10_000, { producer: 20, postgres: 95 })).toContain("Limited by waiting");
  });

  it("is not said of figures without CPU", () => {
    expect(limitsInWords(toRows([sample({ cpu_us: {} })]), 2)).toEqual([]);
  });
});

describe("the report", () => {
  const samples = [...rounds("drover", [30_000, 31_000]), ...rounds("bullmq", [5_000, 5_500])];
  const rows = toRows(samples);
  const ratios = toRatios(samples);
  const results: Results = {
    commit: "abc123",
    dirty: false,
    at: "2026-01-02T03:04:05.000Z",
    mode: "quick",
    machine: { cores: 2 },
    settings: { worker: "runs 100 tasks at once" },
    rounds_planned: 3,
    rounds_done: 2,
    rows,
    ratios: { e2e_bulk_vs_bullmq: ratios.e2e_bulk_vs_bullmq!.value },
    ratio_spreads: { e2e_bulk_vs_bullmq: ratios.e2e_bulk_vs_bullmq!.spread },
    absent: { "bee-queue": "not installed" },
    samples,
  };

  it("has a table with a column of CPU for each process and their sum", () => {
    const [head, first] = terminalTable(rows).split("\n");
    expect(head).toMatch(/median +spread +unit +p50 +p99 +producer +redis +CPU µs/);
    expect(first).toMatch(/^e2e_bulk +drover +relaxed +30,500 +30,000 – 31,000 +tasks\/s/);
    expect(first).toMatch(/1\.00 +2\.00 +10 +5 +15$/);
  });

  it("names the commit, the rounds, the ratios, the limits and who is absent", () => {
    const text = markdownReport(results, "results/latest.svg");
    expect(text).toContain("Commit abc123, 2026-01-02T03:04:05.000Z; 2 of 3 rounds");
    expect(text).toContain("| e2e_bulk_vs_bullmq | 5.81 |");
    expect(text).toContain("e2e_bulk of drover (relaxed): 0.46 of 2 cores in use");
    expect(text).toContain("- bee-queue: not installed");
    expect(text).toContain("](results/latest.svg)");
    expect(ratioLines(results)).toEqual([["e2e_bulk_vs_bullmq", "5.81", "5.64 – 6.00"]]);
  });

  it("has a plot with a bar for each throughput row", () => {
    const plot = plotSvg([...rows, ...toRows([sample({ figure: "latency_200", unit: "ms" })])]);
    expect(plot.match(/<rect/g)).toHaveLength(3);
    expect(plot).toContain(">30,500</text>");
    expect(plot).not.toContain("latency_200");
  });
});

describe("CPU of processes", () => {
  it("is read past any name, with the children it waited for", () => {
    const line = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 9 0 5";
    expect(parseStat(line)).toEqual({ parent: 7, ticks: 124 });
    expect(parseStat(readFileSync("/proc/self/stat", "utf8")).parent).toBe(process.ppid);
  });

  it("only grows, and is zero for a process that is not there", () => {
    const first = cpuOf({ me: process.pid, nobody: 2 ** 30 });
    for (let n = 0; n < 1e7; n += 1) Math.sqrt(n);
    expect(cpuOf({ me: process.pid }).me).toBeGreaterThanOrEqual(first.me!);
    expect(first).toMatchObject({ nobody: 0 });
  });
});
