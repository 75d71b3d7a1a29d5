import { describe, expect, it } from "vitest";
import { regressions } from "../../bench/regressions.js";

const kept = {
  ratios: { drain_vs_bullmq: 4, latency_p50_vs_bullmq: 1, e2e_bulk_vs_nats: 2 },
  ratio_spreads: {},
};
const run = (drain: [number, number], latency: [number, number] = [1, 1]) => ({
  ratios: {},
  ratio_spreads: { drain_vs_bullmq: drain, latency_p50_vs_bullmq: latency },
});

describe("what counts as slower", () => {
  it("one good round excuses bad ones", () => {
    expect(regressions(kept, run([0.5, 3.1]), 0.25)).toEqual([]);
  });

  it("a ratio whose best round misses by more than the tolerance is named", () => {
    expect(regressions(kept, run([0.5, 2.9]), 0.25)).toEqual([
      { ratio: "drain_vs_bullmq", kept: 4, best: 2.9 },
    ]);
  });

  it("latency is worse when it is higher", () => {
    expect(regressions(kept, run([4, 4], [1.2, 3]), 0.25)).toEqual([]);
    expect(regressions(kept, run([4, 4], [1.3, 3]), 0.25)).toEqual([
      { ratio: "latency_p50_vs_bullmq", kept: 1, best: 1.3 },
    ]);
  });

  it("what this run has not measured is left out", () => {
    expect(regressions(kept, { ratios: {}, ratio_spreads: {} }, 0.25)).toEqual([]);
  });
});
