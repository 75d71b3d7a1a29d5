/** Whether a run is slower than the figures that are kept. Pure. */
import type { Results } from "./report.js";

export interface Regression {
  readonly ratio: string;
  readonly kept: number;
  /** Of the best round: noise makes rounds worse, never better. */
  readonly best: number;
}

type Ratios = Pick<Results, "ratios" | "ratio_spreads">;

const isLatency = (name: string): boolean => name.startsWith("latency");

/**
 * Ratios by a peer measured in the same minutes, so that a slow machine slows both sides. A ratio
 * counts as worse when even its best round misses the kept median by more than `tolerance`
 * (0.25: a quarter). Those that only one side has are left out.
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
