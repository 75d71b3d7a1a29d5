import fc from "fast-check";
import { describe, it } from "vitest";
import type { MakeBroker } from "./broker-harness.js";
import { steps } from "./model/commands.js";
import { Real } from "./model/compare.js";
import { ReferenceBroker } from "./model/reference.js";

export interface ModelRuns {
  readonly runs: number;
  readonly commands: number;
  /** Repeats one failure: both stand in the report of it. */
  readonly seed?: number;
  readonly path?: string;
  /** Does not look for the smallest failure; for those who only want to know that there is one. */
  readonly endOnFailure?: boolean;
}

/**
 * Random calls on a broker and on a naive reference: replies and visible state agree after every
 * one, or it rejects.
 */
export async function runModel(make: MakeBroker, options: ModelRuns): Promise<void> {
  const { runs, commands: maxCommands, ...rest } = options;
  const commands = fc.commands(steps, { maxCommands, size: "max" });
  await fc.assert(
    fc.asyncProperty(commands, async (cmds) => {
      const harness = await make();
      try {
        await harness.broker.open(0, 1);
        const real = new Real(harness, await harness.broker.now());
        await fc.asyncModelRun(() => ({ model: new ReferenceBroker(), real }), cmds);
      } finally {
        await harness.stop();
      }
    }),
    { numRuns: runs, ...rest },
  );
}

export function exerciseBrokerModel(name: string, make: MakeBroker, options: ModelRuns): void {
  describe(`${name} against the reference`, () => {
    it(
      `agrees in ${options.runs} random lives of up to ${options.commands} calls`,
      () => runModel(make, options),
      60_000,
    );
  });
}
