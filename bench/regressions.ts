/** Whether a run is slower than the figures that are kept. Pure. */
import type { Results } from "./report.js";
import { figures, median, type Sample } from "./summary.js";

export interface Regression {
  readonly ratio: string;
  readonly kept: number;
  /** Of the best round: noise makes rounds worse, never better. */
  readonly best: number;
}

type Ratios = Pick<Results, "ratios" | "ratio_spreads">;
type Sampled = Pick<Results, "samples">;

const isLatency = (name: string): boolean => name.startsWith("latency");

/**
 * Ratios by a peer measured in the same minutes, so that a slow machine slows both sides. A ratio
 * counts as worse when even its best round misses the kept median by more than `tolerance`
 * (0.25: a quarter). Those that only one side has are left out. Only for quiet machines: systems
 * of more processes lose more of a crowded one.
 */
export function regressions(kept: Ratios, run: Ratios, tolerance: number): Regression[] {
  const worse: Regression[] = [];
  for (const [ratio, before] of Object.entries(kept.ratios)) {
    const spread = run.ratio_spreads[ratio];
    if (!spread) continue;
    const best = isLatency(ratio) ? spread[0] : spread[1];
    const misses = isLatency(ratio)
      ? best > before * (1 + tolerance)
      : best < before * (1 - tolerance);
    if (misses) worse.push({ ratio, kept: before, best });
  }
  return worse;
}

/** Of every round that has both: CPU of a task, of all processes, by that of the peer. */
function cpuQuotients(samples: readonly Sample[], figure: string, peer: string): number[] {
  const of = (system: string): Map<number, number> => {
    const relaxed = samples.filter(
      (one) => one.figure === figure && one.system === system && one.durability === "relaxed",
    );
    const sum = ({ cpu_us }: Sample): number =>
      Object.values(cpu_us).reduce((total, us) => total + us, 0);
    return new Map(relaxed.map((one) => [one.round, sum(one)]));
  };
  const theirs = of(peer);
  return [...of("drover")]
    .map(([round, us]) => us / (theirs.get(round) ?? Number.NaN))
    .filter((quotient) => Number.isFinite(quotient) && quotient > 0);
}

/** The same, of CPU a task: what others do on the machine hardly changes it. */
export function cpuRegressions(
  kept: Sampled,
  run: Sampled,
  peer: string,
  tolerance: number,
): Regression[] {
  return figures.flatMap((figure) => {
    const before = cpuQuotients(kept.samples, figure, peer);
    const now = cpuQuotients(run.samples, figure, peer);
    if (before.length === 0 || now.length === 0) return [];
    const [middle, best] = [median(before), Math.min(...now)];
    const ratio = `CPU of a task of ${figure} by ${peer}'s`;
    return best > middle * (1 + tolerance) ? [{ ratio, kept: middle, best }] : [];
  });
}
