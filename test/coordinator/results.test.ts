import { afterEach, beforeEach, expect, it } from "vitest";
import type { Lease } from "../../src/broker/broker.js";
import type { WorkerResult } from "../../src/coordinator/frames.js";
import type { WorkerSession } from "../../src/coordinator/worker-session.js";
import { limits } from "../../src/limits.js";
import { bytesKey } from "../../src/short-text.js";
import { openAt, slots } from "./fellow.js";
import { createWorld, draft, type World } from "./world.js";

let world: World;
beforeEach(() => {
  world = createWorld();
});
afterEach(async () => {
  await world.stop();
});

/** A worker all of whose slots are taken. */
async function busy() {
  const node = await world.node();
  await world.submit(node, ...Array.from({ length: slots }, () => draft()));
  const { worker } = await openAt(world, node);
  await world.until("leased", () => worker.leases.length === slots);
  return worker;
}

const success = ({ token }: Pick<Lease, "token">): WorkerResult => ({
  key: bytesKey(token),
  outcome: { kind: "success", result: undefined },
});

/** Tokens of leases that may have been granted somewhere, and were not. */
const invented = ({ token }: Lease, count: number, from: number): Uint8Array[] =>
  Array.from({ length: count }, (_, nth) => {
    const other = Buffer.from(token);
    other.writeUInt32BE(from + nth, token.length - 4);
    return other;
  });

it("a result that is sent again while it is under way is answered once, and holds up no other", async () => {
  const worker = await busy();
  const [first, second] = worker.leases as [Lease, Lease];
  worker.frame({ results: [success(first), success(first), success(second)] });
  worker.frame({ results: [success(first)] });
  await world.until("answered", () => worker.acks.length >= 2);
  await world.clock.advance(1_000);
  expect(worker.acks).toMatchObject([
    { token: first.token, verdict: "accepted" },
    { token: second.token, verdict: "accepted" },
  ]);
});

it("a lease whose result is under way is known, and takes no slot", async () => {
  const worker = await busy();
  const session = worker.session as WorkerSession;
  const [first] = worker.leases as [Lease];
  worker.frame({ results: [success(first)] });
  worker.beat(worker.leases);
  expect(session.info().running).toBe(slots - 1);
  expect(session.inventory().map(bytesKey).toSorted()).toEqual(
    worker.leases.map(({ token }) => bytesKey(token)).toSorted(),
  );
  await world.until("answered", () => worker.acks.length === 1 && worker.beats.length === 1);
  expect(worker.beats).toMatchObject([{ unknownTokens: [] }]);
  expect(session.inventory()).toHaveLength(slots - 1);
  worker.beat(worker.leases);
  await world.until("answered", () => worker.beats.length === 2);
  expect(worker.beats[1]).toMatchObject({ unknownTokens: [first.token] });
});

it("a worker of which too many results are under way is asked to come again", async () => {
  const worker = await busy();
  const [first] = worker.leases as [Lease];
  const bound = 2 * limits.unackedResultsMin;
  const report = (count: number, from: number): void =>
    worker.frame({
      results: invented(first, count, from).map((token) => success({ token })),
    });
  report(bound - 1, 0);
  report(1, bound);
  expect(worker.closed).toBe(false);
  report(1, bound + 1);
  expect(worker.closedWith).toMatchObject({ id: "overloaded", retryAfterMs: 1_000 });
});
