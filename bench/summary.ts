/** Figures of many rounds as one: pure, so that tests can hold it to its words. */
import type { Durability } from "./systems/system.js";

export const figures = [
  "submit_single",
  "submit_bulk",
  "redis_bytes",
  "drain",
  "e2e_single",
  "e2e_bulk",
  "latency_200",
] as const;
export type Figure = (typeof figures)[number];

export type Unit = "tasks/s" | "ms" | "bytes/task";

/** One figure of one system in one round. */
export interface Sample {
  readonly round: number;
  readonly system: string;
  readonly durability: Durability;
  readonly figure: Figure;
  readonly tasks: number;
  readonly value: number;
  readonly unit: Unit;
  /**
   * Milliseconds. submit_*: from the call to its ack; e2e_* and latency_*: from before submit to
   * the first line of the handler; null where neither is measured.
   */
  readonly p50: number | null;
  readonly p99: number | null;
  /** Microseconds of CPU a task, by process; empty where nothing ran. */
  readonly cpu_us: Readonly<Record<string, number>>;
}

/** Medians over the rounds. */
export interface Row extends Omit<Sample, "round"> {
  readonly rounds: number;
  /** Lowest and highest value of a round. */
  readonly spread: readonly [low: number, high: number];
}

export interface Ratio {
  /** Value of Drover's row by that of the peer's row. */
  readonly value: number;
  /** Lowest and highest of the same ratio within one round. */
  readonly spread: readonly [low: number, high: number];
}

/** Of an even number of values the mean of the middle two; NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  if (sorted.length % 2 === 1) return sorted[Math.floor(middle)]!;
  return (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The smallest value that at least `share` (0 to 1) of them do not exceed; null of none. */
export function percentile(values: readonly number[], share: number): number | null {
  if (values.length === 0) return null;
  const sorted = Float64Array.from(values).toSorted();
  const rank = Math.ceil(sorted.length * share) - 1;
  return sorted[Math.min(sorted.length - 1, Math.max(0, rank))]!;
}

const spreadOf = (values: readonly number[]): [number, number] => [
  Math.min(...values),
  Math.max(...values),
];

const given = (values: readonly (number | null)[]): number[] =>
  values.filter((value) => value !== null);

function medianOrNull(values: readonly (number | null)[]): number | null {
  const known = given(values);
  return known.length === 0 ? null : median(known);
}

function rowOf(samples: readonly Sample[]): Row {
  const { round: _, ...first } = samples[0]!;
  const values = samples.map(({ value }) => value);
  const processes = Object.keys(first.cpu_us);
  return {
    ...first,
    value: median(values),
    p50: medianOrNull(samples.map(({ p50 }) => p50)),
    p99: medianOrNull(samples.map(({ p99 }) => p99)),
    cpu_us: Object.fromEntries(
      processes.map((name) => [name, median(samples.map(({ cpu_us }) => cpu_us[name] ?? 0))]),
    ),
    rounds: samples.length,
    spread: spreadOf(values),
  };
}

/** Figures in their order, Drover first, relaxed before durable: as text that sorts so. */
function placeOf({ figure, system, durability }: Sample): string {
  const first = system === "drover" ? 0 : 1;
  return `${figures.indexOf(figure)} ${first} ${system} ${durability === "relaxed" ? 0 : 1}`;
}

/** One row for each figure, system and durability. */
export function toRows(samples: readonly Sample[]): Row[] {
  const groups = new Map<string, Sample[]>();
  for (const sample of samples) {
    const place = placeOf(sample);
    groups.set(place, [...(groups.get(place) ?? []), sample]);
  }
  return [...groups.keys()].toSorted().map((place) => rowOf(groups.get(place)!));
}

/** Each ratio: Drover by a peer, of one figure; RELAXED unless said. */
const wanted: Readonly<Record<string, { figure: Figure; peer: string; durability?: Durability }>> =
  {
    e2e_bulk_vs_bullmq: { figure: "e2e_bulk", peer: "bullmq" },
    e2e_single_vs_bullmq: { figure: "e2e_single", peer: "bullmq" },
    drain_vs_bullmq: { figure: "drain", peer: "bullmq" },
    drain_vs_nats: { figure: "drain", peer: "nats" },
    submit_bulk_vs_bullmq: { figure: "submit_bulk", peer: "bullmq" },
    submit_single_vs_bullmq: { figure: "submit_single", peer: "bullmq" },
    durable_e2e_bulk_vs_graphile: {
      figure: "e2e_bulk",
      peer: "graphile-worker",
      durability: "durable",
    },
    latency_p50_vs_bullmq: { figure: "latency_200", peer: "bullmq" },
    latency_p50_vs_nats: { figure: "latency_200", peer: "nats" },
  };

type Measured = Pick<Sample, "system" | "durability" | "figure" | "value">;

function valueOf(
  all: readonly Measured[],
  system: string,
  figure: Figure,
  durability: Durability,
): number | undefined {
  const fits = (one: Measured): boolean =>
    one.system === system && one.durability === durability && one.figure === figure;
  return all.find(fits)?.value;
}

function quotient(all: readonly Measured[], name: string): number | undefined {
  const { figure, peer, durability = "relaxed" } = wanted[name]!;
  const ours = valueOf(all, "drover", figure, durability);
  const theirs = valueOf(all, peer, figure, durability);
  return ours === undefined || theirs === undefined ? undefined : ours / theirs;
}

/** The ratios whose two sides were measured; the spread is over rounds that have both. */
export function toRatios(samples: readonly Sample[]): Record<string, Ratio> {
  const rows = toRows(samples);
  const numbers = [...new Set(samples.map(({ round }) => round))];
  const rounds = numbers.map((number) => samples.filter(({ round }) => round === number));
  const ratios: Record<string, Ratio> = {};
  for (const name of Object.keys(wanted)) {
    const value = quotient(rows, name);
    if (value === undefined) continue;
    const each = rounds.map((round) => quotient(round, name));
    ratios[name] = { value, spread: spreadOf(each.filter((one) => one !== undefined)) };
  }
  return ratios;
}
