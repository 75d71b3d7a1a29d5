import { expect, test } from "vitest";
import {
  atLeast,
  atMost,
  cpuSum,
  medianRows,
  rowOf,
  type RunResult,
  scaleReport,
  type ScaleRow,
} from "../../bench/scale/report.js";
import { markOf, stamped, stampOf } from "../../bench/scale/stamp.js";

const row = (given: Partial<ScaleRow>): ScaleRow => ({
  load: "empty",
  figure: "drain",
  value: 100,
  unit: "tasks/s",
  p50: null,
  p99: null,
  cpu_us: { coordinator: 10, redis: 5 },
  ...given,
});

const run = (given: Partial<RunResult>): RunResult => ({
  commit: "abcdef0123456789",
  dirty: false,
  at: "2026-11-22T09:00:00.000Z",
  quick: false,
  load_before: 0.1,
  seconds: 61.4,
  settings: "Five rounds.",
  rows: [row({})],
  verdicts: [],
  ...given,
});

test("rows of one load and figure become one of their medians", () => {
  const rows = [
    row({ value: 90, p50: 3, cpu_us: { coordinator: 9, redis: 1 } }),
    row({ figure: "submit" }),
    row({ value: 300, p50: 5, cpu_us: { coordinator: 30, redis: 3 } }),
    row({ value: 110, p50: null, cpu_us: { coordinator: 11, redis: 2 } }),
  ];
  const medians = medianRows(rows);
  expect(medians).toHaveLength(2);
  expect(rowOf(medians, "empty", "drain")).toEqual(
    row({ value: 110, p50: 4, cpu_us: { coordinator: 11, redis: 2 } }),
  );
  expect(cpuSum(medians[0]!)).toBe(13);
  expect(() => rowOf(medians, "deep", "drain")).toThrow("no row of drain under deep");
});

test("an aim is held at its bound, and not beyond it", () => {
  expect(atMost("ratio", 1.2, 1.2).holds).toBe(true);
  expect(atMost("ratio", 1.21, 1.2).holds).toBe(false);
  expect(atLeast("rate", 1_000, 1_000).holds).toBe(true);
  expect(atLeast("rate", 999, 1_000).holds).toBe(false);
  expect(atLeast("rate", Number.NaN, 1_000).holds).toBe(false);
});

test("the page says of each run when, on what and with which load it was made", () => {
  const verdicts = [atMost("submit latency", 1.5, 1.2)];
  const runs = { backlog: run({ verdicts, quick: true, dirty: true }) };
  const about = { backlog: "Is it slower?", unary: "How many?" };
  const page = scaleReport({ machine: { cores: 2 }, runs }, about);
  expect(page).toContain("Is it slower? Five rounds.");
  expect(page).toContain("Commit abcdef012345 with changes on top, 2026-11-22T09:00:00.000Z; 61 s");
  expect(page).toContain("`--quick`: small loads; load of the machine before: 0.1.");
  expect(page).toContain("| empty | drain | 100 | tasks/s |  |  | 10 | 5 |");
  expect(page).toContain("| submit latency | at most 1.2 | 1.5 x | **no** |");
  expect(page).toContain("Not run yet: unary.");
});

test("a payload of 100 bytes tells when it was made, and its mark", () => {
  const payload = stamped("g7");
  expect(JSON.stringify(payload)).toHaveLength(100);
  expect(markOf(payload)).toBe("g7");
  expect(stampOf(payload)).toBeGreaterThan(0);
});
