import { expect, it } from "vitest";
import { limits } from "../../src/limits.js";
import { Dialer } from "../../src/worker/dialer.js";
import { createManualClock } from "../support/manual-clock.js";

const longest = { next: () => 1 - Number.EPSILON, bytes: (n: number) => new Uint8Array(n) };

/** The longest wait for the next dial after each of so many streams that stood for so long. */
async function waitsOf(streams: number, stoodMs: number): Promise<number[]> {
  const clock = createManualClock();
  const dials: number[] = [];
  const dialer = new Dialer({
    clock,
    random: longest,
    addresses: ["a:1", "b:1"],
    dial: async () => dials.push(clock.monotonic()) > 0,
    onFailure: () => undefined,
  });
  const waits: number[] = [];
  for (let n = 0; n < streams; n += 1) {
    const lostAt = clock.monotonic();
    dialer.streamLost(stoodMs);
    await clock.advance(limits.redialMaxMs);
    waits.push(Math.round(dials[n]! - lostAt));
  }
  dialer.stop();
  return waits;
}

it("comes back soon each time a stream breaks that stood for a second", async () => {
  const soon = limits.redialFirstMs;
  expect(await waitsOf(6, 1_000)).toEqual([soon, soon, soon, soon, soon, soon]);
});

it("waits longer and longer where streams break as soon as they stand", async () => {
  expect(await waitsOf(7, 999)).toEqual([250, 500, 1_000, 2_000, 4_000, 5_000, 5_000]);
});
