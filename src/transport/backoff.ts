import type { Random } from "../clock.js";
import { limits } from "../limits.js";

/**
 * Full jitter: a wait of chance below a ceiling that doubles from `firstMs` to `maxMs`, so that
 * those who failed together do not come back together. `failures` counts from 0.
 */
export function fullJitter(
  random: Random,
  failures: number,
  firstMs: number = limits.redialFirstMs,
  maxMs: number = limits.redialMaxMs,
): number {
  return random.next() * Math.min(maxMs, firstMs * 2 ** Math.min(failures, 16));
}
