import { cronTimes } from "./cron.js";
import type { Schedule, Timing } from "./schedule.js";

/** The first tick after this time; undefined: the schedule is over. */
export function nextTick(timing: Timing, after: number): number | undefined {
  switch (timing.kind) {
    case "cron":
      return cronTimes(timing.cron, timing.timeZone).after(after);
    case "every": {
      const { everyMs, anchor } = timing;
      return after < anchor
        ? anchor
        : anchor + (Math.floor((after - anchor) / everyMs) + 1) * everyMs;
    }
    case "once":
      return timing.at > after ? timing.at : undefined;
  }
}

/** At most `most` ticks after one time and up to another, that one included. */
export function ticksBetween(timing: Timing, after: number, until: number, most: number): number[] {
  const ticks: number[] = [];
  let at = nextTick(timing, after);
  while (at !== undefined && at <= until && ticks.length < most) {
    ticks.push(at);
    at = nextTick(timing, at);
  }
  return ticks;
}

/** When a tick is to be taken: its time and its share of the jitter. */
export function dueOf(
  { namespace, name, jitterMs }: Pick<Schedule, "namespace" | "name" | "jitterMs">,
  tick: number,
): number {
  return jitterMs === 0
    ? tick
    : tick + Math.floor(share(`${namespace}\0${name}\0${tick}`) * jitterMs);
}

/**
 * Uniform in [0, 1) and the same on every coordinator. FNV-1a, 32 bits, with the finisher of
 * MurmurHash3: ticks differ in their last digits only.
 */
function share(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text, "utf8")) hash = Math.imul(hash ^ byte, 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
}
