import { bullmq } from "./bullmq.js";
import { drover } from "./drover.js";
import type { System } from "./system.js";

/** All that can be measured, in the order of the table. */
export const systems: readonly System[] = [drover, bullmq];

export function systemNamed(name: string): System {
  const found = systems.find((system) => system.name === name);
  if (found) return found;
  const names = systems.map((system) => system.name).join(", ");
  throw new Error(`system: expected one of ${names}, got ${JSON.stringify(name)}`);
}
