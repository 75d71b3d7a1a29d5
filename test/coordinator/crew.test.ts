import { expect, test } from "vitest";
import { Crew } from "../../src/coordinator/crew.js";
import type { SessionPort } from "../../src/coordinator/frames.js";
import { type SessionOwner, WorkerSession } from "../../src/coordinator/worker-session.js";
import { createManualClock } from "../support/manual-clock.js";

const owner: SessionOwner = {
  coordinatorId: "",
  wallNow: () => 0,
  clock: createManualClock(),
  demandChanged: () => undefined,
  frame: () => undefined,
  gone: () => undefined,
  cancelSent: () => undefined,
  handBack: () => undefined,
  cancelUnsent: () => undefined,
};

/** A crew of such sessions; `asked` counts how often one was asked whether it can take more. */
function crewOf(sizes: readonly number[], partitions = 1) {
  const counts = { asked: 0 };
  const port: SessionPort = {
    get writable() {
      counts.asked += 1;
      return true;
    },
    send: () => undefined,
    close: () => undefined,
  };
  const sessions = sizes.map((slots, n) => {
    const queues = partitions === 1 ? ["default"] : ["q0", "q1", "q2", "q3"];
    const subscriptions = queues.map((queue) => ({ queue, types: ["noop"], weight: 1 }));
    const hello = {
      workerId: `worker-${n}`,
      sessionId: `session-${n}`,
      generation: 1,
      heldTokens: [],
      offer: { slots, maxBytes: 0, subscriptions },
      labels: {},
      sdk: "",
      host: "",
    };
    return new WorkerSession("default", hello, port, owner);
  });
  const crew = new Crew("key", sessions[0]!, partitions);
  for (const session of sessions) crew.sessions.add(session);
  return { crew, sessions, counts };
}

const slotsOf = (taken: ReturnType<Crew["reserve"]>): number[] => taken.map(({ slots }) => slots);

test("slots are taken evenly where there are more than asked for, beginning elsewhere each time", () => {
  const { crew } = crewOf([10, 10, 10, 10]);
  const first = crew.reserve(8);
  expect(slotsOf(first)).toEqual([2, 2, 2, 2]);
  const second = crew.reserve(8);
  expect(slotsOf(second)).toEqual([2, 2, 2, 2]);
  expect(second[0]!.session).not.toBe(first[0]!.session);
});

test("all free slots are taken where there are fewer than asked for, and none twice", () => {
  const { crew } = crewOf([1, 0, 5]);
  const taken = slotsOf(crew.reserve(200));
  expect(taken.toSorted((a, b) => a - b)).toEqual([1, 5]);
  expect(crew.hasFree).toBe(false);
  expect(crew.reserve(200)).toEqual([]);
});

test("a session whose stream has ended takes nothing", () => {
  const { crew, sessions } = crewOf([5, 5]);
  sessions[0]!.disconnected();
  expect(sessions[0]!.closed).toBe(true);
  expect(sessions[0]!.ended.signal.aborted).toBe(true);
  expect(slotsOf(crew.reserve(200))).toEqual([5]);
});

test("a lease call asks each of a thousand sessions a few times, not a thousand times", () => {
  const { crew, counts } = crewOf(Array.from({ length: 1_000 }, () => 4));
  crew.reserve(200);
  expect(counts.asked).toBeLessThanOrEqual(2_000);
  counts.asked = 0;
  expect(crew.hasFree).toBe(true);
  expect(counts.asked).toBe(1);
});

/**
 * Such a session has just ended as many tasks as it has slots, and has leases out in all of them.
 */
function fastAndBusy(session: WorkerSession): void {
  session.standby.ended(session.offer.slots, 0);
  session.reserved = session.offer.slots;
}

const partOf = (crew: Crew, more: boolean) => Object.assign(crew.inTurn()[0]!, { more });

test("room for leases that stand by is taken only where there is more work than the last call took", () => {
  const { crew, sessions } = crewOf([10]);
  fastAndBusy(sessions[0]!);
  expect(crew.wants(sessions[0]!)).toBe(false);
  expect(crew.reserve(200, partOf(crew, false))).toEqual([]);
  expect(crew.reserve(200)).toEqual([]);
  const part = partOf(crew, true);
  expect(crew.wants(sessions[0]!)).toBe(true);
  expect(slotsOf(crew.reserve(200, part))).toEqual([10]);
  expect(crew.wants(sessions[0]!)).toBe(false);
});

test("while another session of the crew has a free slot, nothing is taken to stand by", () => {
  const { crew, sessions } = crewOf([10, 10]);
  const part = partOf(crew, true);
  fastAndBusy(sessions[0]!);
  expect(crew.wants(sessions[0]!)).toBe(false);
  expect(slotsOf(crew.reserve(200, part))).toEqual([10]);
  expect(crew.wants(sessions[0]!)).toBe(true);
  fastAndBusy(sessions[1]!);
  expect(slotsOf(crew.reserve(200, part))).toEqual([10, 10]);
});

test("for a session of few slots nothing is taken to stand by", () => {
  const { crew, sessions } = crewOf([3, 3]);
  for (const session of sessions) fastAndBusy(session);
  expect(crew.reserve(200, partOf(crew, true))).toEqual([]);
});

test("for a large crew, or one with work in several partitions, nothing is taken to stand by", () => {
  const large = crewOf(Array.from({ length: 17 }, () => 10));
  for (const session of large.sessions) fastAndBusy(session);
  expect(large.crew.reserve(200, partOf(large.crew, true))).toEqual([]);
  const wide = crewOf([10], 2);
  fastAndBusy(wide.sessions[0]!);
  expect(wide.crew.partitions.size).toBe(2);
  expect(wide.crew.reserve(200, partOf(wide.crew, true))).toEqual([]);
});

test("it knows a lane with labels while that is found, and no longer", () => {
  const { sessions } = crewOf([1]);
  const [session] = sessions;
  const hello = { ...session!.hello, labels: { gpu: "yes" } };
  const crew = new Crew("key", Object.assign(session!, { hello }), 1);
  const [part] = crew.partitions.values();
  const [plain] = part!.lanes;
  crew.setLanes([{ ...plain!, requiredLabels: { gpu: "yes" } }]);
  expect([part!.lanes.length, part!.byKey.size]).toEqual([2, 2]);
  crew.setLanes([]);
  expect([...part!.byKey.values()]).toEqual(part!.lanes);
  expect(part!.lanes).toEqual([plain]);
});
