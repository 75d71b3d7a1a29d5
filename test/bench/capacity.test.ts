import { expect, test } from "vitest";
import { capacityBlocks, fillBlocks } from "../../bench/capacity.js";
import { currentPage } from "../../bench/capacity-page.js";
import type { Results } from "../../bench/report.js";

const row = {
  system: "drover",
  durability: "relaxed" as const,
  figure: "e2e_bulk" as const,
  tasks: 1_000,
  value: 9_000,
  unit: "tasks/s" as const,
  p50: null,
  p99: null,
  cpu_us: { producer: 10, coordinator: 100, redis: 50, postgres: 20, worker: 20 },
  rounds: 3,
  spread: [8_000, 9_500] as const,
};

const latest: Results = {
  commit: "abcdef0123456789",
  dirty: false,
  at: "2026-11-22T09:00:00.000Z",
  mode: "quick",
  machine: { cores: 2, load_before: 0.1 },
  settings: {},
  rounds_planned: 3,
  rounds_done: 3,
  rows: [row],
  ratios: {},
  ratio_spreads: {},
  absent: {},
  samples: [],
};

const lineOf = (block: string | undefined, start: string): string =>
  block?.split("\n").find((line) => line.startsWith(`| ${start}`)) ?? "";

test("the tables of docs/capacity.md say what bench/results says (make capacity)", () => {
  const { written, expected } = currentPage();
  expect(written).toBe(expected);
});

test("a core carries 700,000 microseconds of a process, and the least process limits", () => {
  const blocks = capacityBlocks(latest, { machine: {}, runs: {} });
  expect(lineOf(blocks["ceilings"], "RELAXED, in bulk")).toBe(
    "| RELAXED, in bulk | 70,000 | 7,000 | 14,000 | 35,000 | 35,000 |",
  );
  const small = "| small | RELAXED, in bulk | 2: 14,000 | 1: 14,000 | 2: 70,000 | 2: 70,000 |";
  expect(lineOf(blocks["clusters"], "small")).toBe(`${small} 14,000 | coordinator |`);
  expect(lineOf(blocks["million"], "RELAXED, in bulk")).toBe(
    "| RELAXED, in bulk | 140 | 72 | 29 | 29 |",
  );
});

test("the model is all cores by the sum of the costs, beside what was measured", () => {
  const blocks = capacityBlocks(latest, { machine: {}, runs: {} });
  expect(lineOf(blocks["check"], "e2e_bulk")).toBe(
    "| e2e_bulk, relaxed | 200 | 10,000 | 9,000 | 90 % |",
  );
});

test("a page and its tables must fit", () => {
  const page = "a\n<!-- computed: cost -->\nold\n<!-- end -->\nb\n";
  const filled = "a\n<!-- computed: cost -->\n\nnew\n\n<!-- end -->\nb\n";
  expect(fillBlocks(page, { cost: "new" })).toBe(filled);
  expect(fillBlocks(filled, { cost: "new" })).toBe(filled);
  expect(() => fillBlocks(page, {})).toThrow("asks for cost");
  expect(() => fillBlocks(page, { cost: "new", more: "x" })).toThrow("no place for more");
});
