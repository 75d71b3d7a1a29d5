import fc from "fast-check";
import { expectSame, type Real } from "./compare.js";
import type { ReferenceBroker } from "./reference.js";

export type Step = fc.AsyncCommand<ReferenceBroker, Real>;

export const sessionIds = ["s1", "s2", "s3"] as const;

class Command implements Step {
  private readonly text: string;
  private readonly act: (model: ReferenceBroker, real: Real) => Promise<void>;

  constructor(text: string, act: (model: ReferenceBroker, real: Real) => Promise<void>) {
    this.text = text;
    this.act = act;
  }

  check(): boolean {
    return true;
  }

  async run(model: ReferenceBroker, real: Real): Promise<void> {
    await this.act(model, real);
    await expectSame(model, real);
  }

  toString(): string {
    return this.text;
  }
}

export const command = (
  name: string,
  input: unknown,
  act: (model: ReferenceBroker, real: Real) => Promise<void>,
): Step => new Command(`${name}(${JSON.stringify(input)})`, act);

export const pick = <T>(from: readonly T[], at: number): T | undefined =>
  from.length === 0 ? undefined : from[at % from.length];

export const indexes = fc.nat({ max: 999 });
