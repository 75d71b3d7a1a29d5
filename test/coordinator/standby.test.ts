import { afterEach, beforeEach, expect, it } from "vitest";
import type { Lease } from "../../src/broker/broker.js";
import { restMs, standbyMs } from "../../src/coordinator/standby.js";
import { limits } from "../../src/limits.js";
import { type SessionOwner, WorkerSession } from "../../src/coordinator/worker-session.js";
import { callsOf, fast, openAt, running, slots, type Watched } from "./fellow.js";
import { createWorld, draft, FakeWorker, type Node, offer, type World } from "./world.js";

let world: World;
beforeEach(() => {
  world = createWorld();
});
afterEach(async () => {
  await world.stop();
});

const idsOf = (leases: readonly Lease[]): string[] => leases.map(({ task }) => task.id);

it("sends the next leases in the turn in which results make room, and never more than slots", async () => {
  const { node, ids, fellow } = await fast(world, 100);
  while (fellow.done.size < 100) {
    const left = 100 - fellow.worker.leases.length;
    expect(fellow.finish()).toBe(Math.min(left, slots));
    await world.clock.advance(5);
  }
  expect(fellow.mostHeld).toBe(slots);
  expect(idsOf(fellow.worker.leases)).toEqual(ids);
  await world.until("acked", () => fellow.worker.acks.length === 100);
  expect(fellow.worker.acks.every(({ verdict }) => verdict === "accepted")).toBe(true);
  expect(await running(world, node)).toBe(0);
});

it("sends only as many as there is room for, in their order", async () => {
  const { ids, fellow } = await fast(world, 100);
  expect(fellow.finish(fellow.held.slice(0, 3))).toBe(3);
  expect(fellow.held).toHaveLength(slots);
  expect(idsOf(fellow.worker.leases)).toEqual(ids.slice(0, 2 * slots + 3));
});

it("keeps nothing for a worker that is slow", async () => {
  const node = await world.node();
  await world.submit(node, ...Array.from({ length: 60 }, () => draft()));
  const fellow = await openAt(world, node);
  for (let round = 0; round < 4; round += 1) {
    await world.until("leased", () => fellow.held.length === slots);
    await world.clock.advance(30);
    expect(await running(world, node)).toBe(slots);
    fellow.finish();
  }
});

it("keeps nothing while a slow task is among the last ones that ended", async () => {
  const { node, fellow } = await fast(world, 200);
  const [slow] = fellow.held;
  for (let round = 0; round < 8; round += 1) {
    fellow.finish(fellow.held.filter((lease) => lease !== slow));
    await world.clock.advance(5);
  }
  expect(await running(world, node)).toBeGreaterThan(slots);
  fellow.finish();
  await world.clock.advance(5);
  expect(fellow.done.has(slow!)).toBe(true);
  // What stood by before the slow one ended leaves with the next ones that end; nothing follows it.
  const before = (await running(world, node)) - slots;
  fellow.finish(fellow.held.slice(0, slots - 1));
  await world.clock.advance(5);
  expect(before).toBeLessThan(slots);
  expect(await running(world, node)).toBe(slots);
});

it("asks for no more than the free slots where nothing is left to stand by", async () => {
  const node = await world.node();
  const fellow = await openAt(world, node);
  const calls = callsOf(node).asked;
  for (let round = 0; round < 10; round += 1) {
    await world.submit(node, draft(), draft());
    await world.until("leased", () => fellow.held.length === 2);
    fellow.finish();
    await world.clock.advance(5);
  }
  expect(Math.max(0, ...calls)).toBeLessThanOrEqual(slots);
});

it("gives back what could not be sent in 50 ms: uncharged, at once, in its order, to whoever is idle", async () => {
  const { node, ids, fellow } = await fast(world, 4 * slots);
  const idle = await openAt(world, node);
  await world.until("the rest", () => idle.held.length === slots);
  expect(idsOf(idle.held)).toEqual(ids.slice(3 * slots));
  idle.finish();
  const stuck = world.clock.monotonic();
  await world.until("the unsent", () => idle.held.length === slots);
  expect(world.clock.monotonic() - stuck).toBeLessThan(2 * standbyMs);
  expect(idsOf(idle.held)).toEqual(ids.slice(2 * slots, 3 * slots));
  for (const { task } of idle.held) {
    expect(task).toMatchObject({ attempt: 2, retryCount: 0, leaseLosses: 0, releases: 0 });
  }
  expect(fellow.held).toHaveLength(slots);
});

it("keeps nothing for a while after leases went back", async () => {
  const { node, fellow } = await fast(world, 400);
  await world.clock.advance(2 * standbyMs);
  expect(await running(world, node)).toBe(slots);
  const restsUntil = world.clock.monotonic() + restMs - 2 * standbyMs;
  let rounds = 0;
  for (; world.clock.monotonic() < restsUntil && fellow.done.size < 300; rounds += 1) {
    fellow.finish();
    await world.clock.advance(20);
    await world.until("leased", () => fellow.held.length === slots);
    expect(await running(world, node)).toBe(slots);
  }
  expect(rounds).toBeGreaterThan(10);
});

it("gives nothing back that a held up process could send in the same turn", async () => {
  const { fellow } = await fast(world, 100);
  await world.clock.advance(standbyMs);
  expect(fellow.finish()).toBe(slots);
});

it("cancels at once what is not sent yet, and says nothing of it to the worker", async () => {
  const { node, ids, fellow } = await fast(world, 100);
  const id = ids[2 * slots]!;
  await world.wait("cancel", node.coordinator.cancel("default", id, 30_000));
  const ended = async () => (await world.wait("get", node.coordinator.get("default", id))).status;
  const before = world.clock.monotonic();
  while ((await ended()) !== "cancelled") await world.clock.advance(1);
  expect(world.clock.monotonic() - before).toBeLessThan(standbyMs);
  fellow.finish();
  fellow.finish();
  await world.clock.advance(5);
  expect(fellow.worker.commands).toEqual([]);
  expect(idsOf(fellow.worker.leases)).not.toContain(id);
});

it("takes a lease that is not sent yet for neither lost nor unknown", async () => {
  const { node, fellow } = await fast(world, 400);
  for (let beat = 1; beat <= 3; beat += 1) {
    fellow.worker.beat(fellow.held);
    fellow.finish();
    await world.until("answered", () => fellow.worker.beats.length === beat);
  }
  expect(fellow.worker.beats.flatMap(({ unknownTokens }) => unknownTokens)).toEqual([]);
  while (fellow.done.size < 400) {
    fellow.finish();
    await world.clock.advance(5);
  }
  expect(fellow.worker.leases.every(({ task }) => task.attempt === 1)).toBe(true);
  expect(await running(world, node)).toBe(0);
});

/** Everything that has a worker get no more: what stood by is at once for another one. */
const endings: [string, (node: Node, fellow: Watched) => unknown][] = [
  ["says that it leaves", (_, { worker }) => worker.frame({ leaving: true })],
  ["loses its stream", (_, { worker }) => worker.session!.disconnected()],
  ["offers fewer slots", (_, { worker }) => worker.frame({ offer: offer(slots - 1) })],
  ["handles another type", (_, { worker }) => worker.frame({ offer: offer(slots, ["other"]) })],
  ["is asked to move", (node) => void node.coordinator.drain()],
  [
    "has a newer stream",
    (node, { worker, held }) =>
      openAt(world, node, new FakeWorker(worker.sessionId, 2), held).then(() => undefined),
  ],
];

it.each(endings)("gives back at once what stands by when the worker %s", async (_, end) => {
  const { ids, node, fellow } = await fast(world, 3 * slots);
  const other = await world.node();
  const before = world.clock.monotonic();
  const ending = end(node, fellow);
  const idle = await openAt(world, other);
  await world.until("the unsent", () => idle.held.length === slots);
  expect(world.clock.monotonic() - before).toBeLessThan(standbyMs);
  expect(idsOf(idle.held)).toEqual(ids.slice(2 * slots));
  expect(fellow.worker.leases).toHaveLength(2 * slots);
  for (const { task } of idle.held) {
    expect(task).toMatchObject({ attempt: 2, retryCount: 0, leaseLosses: 0 });
  }
  await ending;
});

it("sends nothing that stands by to a stream that does not read", async () => {
  const { fellow } = await fast(world, 100);
  fellow.worker.writable = false;
  expect(fellow.finish()).toBe(0);
  fellow.worker.writable = true;
  fellow.worker.session!.onWritable();
  expect(fellow.held).toHaveLength(slots);
});

it("keeps what stood by when the store has forgotten the session and it is opened again", async () => {
  const { node, ids, fellow } = await fast(world, 100);
  const { broker } = node;
  let listed = 0;
  const openSession = broker.openSession.bind(broker);
  broker.openSession = (open) => {
    listed = open.heldTokens.length;
    return openSession(open);
  };
  const renew = broker.renewSessions.bind(broker);
  broker.renewSessions = (partition, sessions) => {
    broker.renewSessions = renew;
    return Promise.resolve(sessions.map(() => "gone" as const));
  };
  fellow.worker.beat(fellow.held);
  await world.until("answered", () => fellow.worker.beats.length === 1, 45);
  expect(fellow.finish()).toBe(slots);
  expect(listed).toBe(2 * slots);
  expect(idsOf(fellow.held)).toEqual(ids.slice(2 * slots, 3 * slots));
  fellow.finish();
  await world.until("acked", () => fellow.worker.acks.length === 3 * slots);
  expect(fellow.worker.acks.every(({ verdict }) => verdict === "accepted")).toBe(true);
});

it("hands back nothing of a call for more that was under way while the session was opened again", async () => {
  const { node, fellow } = await fast(world, 100);
  const { broker } = node;
  const openSession = broker.openSession.bind(broker);
  broker.openSession = async (open) => {
    // As the store saw it: before that call.
    const reply = await openSession({ ...open, heldTokens: open.heldTokens.slice(0, slots) });
    await world.clock.advance(1);
    return reply;
  };
  const renew = broker.renewSessions.bind(broker);
  broker.renewSessions = (_, sessions) => {
    broker.renewSessions = renew;
    return Promise.resolve(sessions.map(() => "gone" as const));
  };
  fellow.worker.beat(fellow.held);
  await world.until("answered", () => fellow.worker.beats.length === 1, 45);
  expect(fellow.finish()).toBe(slots);
  fellow.finish();
  await world.until("acked", () => fellow.worker.acks.length === 3 * slots);
  expect(fellow.worker.acks.every(({ verdict }) => verdict === "accepted")).toBe(true);
});

/** A session by itself, with twice as many leases as slots. */
async function alone() {
  const { fellow } = await fast(world, 100);
  const leases = [...fellow.worker.leases];
  const worker = world.worker();
  const back: Lease[] = [];
  const nothing = (): void => undefined;
  const owner: SessionOwner = {
    coordinatorId: "",
    clock: world.clock,
    wallNow: () => world.clock.now(),
    demandChanged: nothing,
    frame: nothing,
    gone: nothing,
    cancelSent: nothing,
    cancelUnsent: nothing,
    handBack: (lease) => void back.push(lease),
  };
  const hello = {
    workerId: "w",
    sessionId: worker.sessionId,
    generation: 1,
    heldTokens: [],
    offer: offer(slots),
    labels: {},
    sdk: "",
    host: "",
  };
  return { session: new WorkerSession("default", hello, worker, owner), worker, leases, back };
}

it("forgets a lease that ended before it was sent, and says nothing of it", async () => {
  const { session, worker, leases, back } = await alone();
  session.deliver(leases);
  session.revoke(leases[slots]!.token, "its time was over");
  for (const [key] of session.leases) session.leases.take(key);
  session.sendStandby();
  expect(worker.commands).toEqual([]);
  expect(worker.leases).toEqual(leases.toSpliced(slots, 1));
  expect(back).toEqual([]);
});

it("hands back at once what is granted beyond the slots of a worker that is asked to move", async () => {
  const { session, worker, leases, back } = await alone();
  session.draining = true;
  session.deliver(leases);
  expect(worker.leases).toEqual(leases.slice(0, slots));
  expect(back).toEqual(leases.slice(slots));
});

it("loses nothing, and charges nobody, when a coordinator dies with leases that stand by", async () => {
  const { node, ids, fellow } = await fast(world, 3 * slots);
  const elsewhere = await world.node();
  await node.crash();
  const { worker, held } = fellow;
  const again = await openAt(world, elsewhere, new FakeWorker(worker.sessionId, 2), held);
  expect(again.worker.welcome!.resumed).toBe(true);
  again.worker.leases.push(...held);
  for (let n = 0; n < 40 && again.done.size < 2 * slots; n += 1) {
    again.finish();
    await world.clock.advance(10);
  }
  for (const id of ids) {
    const task = await world.wait("get", elsewhere.coordinator.get("default", id));
    expect(task).toMatchObject({ status: "completed", retryCount: 0, leaseLosses: 0 });
  }
});

it("keeps few large payloads", async () => {
  const node = await world.node();
  const data = new Uint8Array(200 * 1024);
  const large = draft({ payload: { contentType: "application/json", data } });
  await world.submit(node, ...Array.from({ length: 60 }, () => large));
  const fellow = await openAt(world, node);
  await world.until("leased", () => fellow.held.length === slots);
  let most = 0;
  while (fellow.done.size < 60) {
    fellow.finish();
    await world.clock.advance(5);
    most = Math.max(most, (await running(world, node)) - fellow.held.length);
  }
  expect(most).toBeGreaterThan(0);
  expect(most * data.length).toBeLessThanOrEqual(limits.leaseBatchBytes + data.length);
});
