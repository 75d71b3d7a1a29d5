import { afterEach, beforeEach, expect, it } from "vitest";
import { restMs, standbyMs } from "../../src/coordinator/standby.js";
import { callsOf, fast, running, slots, Watched } from "./fellow.js";
import { createWorld, draft, type Node, offer, type World } from "./world.js";

/* How many leases stand by, and how their results are settled. */

let world: World;
beforeEach(() => {
  world = createWorld();
});
afterEach(async () => {
  await world.stop();
});

/** How many stand by for one that `fast` has made. */
function standingAt(node: Node, fellow: Watched): () => number {
  const calls = callsOf(node);
  const before = fellow.worker.leases.length - slots;
  return () => calls.granted - (fellow.worker.leases.length - before);
}

it("keeps what a worker ends in 10 ms, and asks seldom for many", async () => {
  const { node, fellow } = await fast(world, 800);
  const standing = standingAt(node, fellow);
  let calls: number[] = [];
  let most = 0;
  for (let round = 0; round < 60; round += 1) {
    if (round === 20) calls = callsOf(node).asked;
    expect(fellow.finish()).toBe(slots);
    await world.clock.advance(1);
    most = Math.max(most, standing());
  }
  expect(most).toBeGreaterThan(5 * slots);
  expect(most).toBeLessThanOrEqual(10 * slots);
  expect(calls.length).toBeLessThanOrEqual(16);
  expect(Math.min(...calls)).toBeGreaterThanOrEqual(2 * slots);
});

it("keeps no more than 128, however many a worker of few slots ends", async () => {
  const { node, fellow } = await fast(world, 3_000);
  const standing = standingAt(node, fellow);
  let most = 0;
  for (let round = 0; round < 40; round += 1) {
    for (let n = 0; n < 6; n += 1) expect(fellow.finish()).toBeLessThanOrEqual(slots);
    await world.clock.advance(1);
    most = Math.max(most, standing());
  }
  expect(most).toBeGreaterThan(64);
  expect(most).toBeLessThanOrEqual(128);
});

it("settles 64 results without waiting for more", async () => {
  const { node, fellow } = await fast(world, 3_000);
  for (let round = 0; round < 40; round += 1) {
    fellow.finish();
    await world.clock.advance(1);
  }
  await world.clock.advance(3);
  const { settled } = callsOf(node);
  for (let n = 0; n < 7; n += 1) expect(fellow.finish()).toBe(slots);
  await world.clock.advance(1);
  expect(settled).toContain(7 * slots);
});

it("keeps some for a worker of one slot, once eight results in a row came soon", async () => {
  const node = await world.node();
  await world.submit(node, ...Array.from({ length: 100 }, () => draft()));
  const fellow = new Watched(world.worker());
  await world.open(node, fellow.worker, { offer: offer(1) });
  for (let ended = 0; ended < 8; ended += 1) {
    await world.until("leased", () => fellow.held.length === 1);
    expect(await running(world, node)).toBe(1);
    expect(fellow.finish()).toBe(0);
  }
  await world.until("leased", () => fellow.held.length === 1);
  for (let round = 0; round < 30; round += 1) {
    fellow.finish();
    await world.clock.advance(1);
  }
  expect(await running(world, node)).toBeGreaterThan(5);
  expect(fellow.finish()).toBe(1);
  expect(fellow.mostHeld).toBe(1);
});

it("settles results together while nobody waits for more, and at once where somebody does", async () => {
  const { node, fellow } = await fast(world, 800);
  const { settled } = callsOf(node);
  for (let round = 0; round < 40; round += 1) {
    expect(fellow.finish()).toBe(slots);
    await world.clock.advance(1);
  }
  expect(Math.max(...settled)).toBeGreaterThanOrEqual(2 * slots);
  expect(Math.max(...settled)).toBeLessThanOrEqual(4 * slots);
  await world.clock.advance(2 * standbyMs);
  // What stood by went back, and none follows for a while.
  expect(await running(world, node)).toBe(slots);
  settled.length = 0;
  expect(fellow.finish(fellow.held.slice(0, 3))).toBe(0);
  await world.clock.advance(1);
  expect(settled).toEqual([3]);
});

it("keeps no more for a worker that is nearly stuck than what it has just ended", async () => {
  const { node, fellow } = await fast(world, 200);
  await world.clock.advance(2 * standbyMs + restMs);
  expect(await running(world, node)).toBe(slots);
  for (let n = 0; n < 3 * slots; n += 1) {
    // One slot of them moves.
    fellow.finish(fellow.held.slice(-1));
    await world.clock.advance(5);
  }
  expect(await running(world, node)).toBeGreaterThan(slots);
  expect(await running(world, node)).toBeLessThanOrEqual(slots + 4);
});

it("keeps no more than its slots for a worker that ends them once in 10 ms", async () => {
  const { node, fellow } = await fast(world, 400);
  let most = 0;
  for (let round = 0; round < 20; round += 1) {
    expect(fellow.finish()).toBe(slots);
    await world.clock.advance(10);
    // It was faster before.
    if (round >= 5) most = Math.max(most, await running(world, node));
  }
  expect(most).toBe(2 * slots);
});
