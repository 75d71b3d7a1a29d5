import { describe, expect, it } from "vitest";
import { cpuRegressions, regressions } from "../../bench/regressions.js";

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

describe("what counts as dearer", () => {
  const sample = (round: number, system: string, us: number) => ({
    round,
    system,
    durability: "relaxed" as const,
    figure: "drain" as const,
    tasks: 1_000,
    value: 1,
    unit: "tasks/s" as const,
    p50: null,
    p99: null,
    cpu_us: { worker: us / 2, redis: us / 2 },
  });
  const rounds = (...ratios: readonly number[]) => ({
    samples: ratios.flatMap((ratio, round) => [
      sample(round, "drover", 100 * ratio),
      sample(round, "bullmq", 100),
    ]),
  });

  it("CPU of a task by the peer's in the same round, of all processes, at its best", () => {
    expect(cpuRegressions(rounds(0.9, 1, 1.1), rounds(1.2, 3), "bullmq", 0.25)).toEqual([]);
    const [worse] = cpuRegressions(rounds(0.9, 1, 1.1), rounds(1.5, 3), "bullmq", 0.25);
    expect(worse).toMatchObject({ ratio: "CPU of a task of drain by bullmq's", kept: 1 });
    expect(worse!.best).toBeCloseTo(1.5);
  });

  it("nothing is judged that one of the runs has not measured", () => {
    expect(cpuRegressions(rounds(1), rounds(9), "nats", 0.25)).toEqual([]);
    expect(cpuRegressions({ samples: [] }, rounds(9), "bullmq", 0.25)).toEqual([]);
  });
});
