import { describe, expect, it } from "vitest";
import { GoAwayReason, ResultStatus } from "../../gen/drover/v1/task_pb.js";
import { createInbox } from "../support/inbox.js";
import { startFakeCoordinator } from "../support/fake-coordinator.js";
import { createManualClock } from "../support/manual-clock.js";
import {
  gate,
  jsonLease,
  nameOf,
  namesOf,
  reach,
  testWorker,
  tokenOf,
} from "../support/worker-kit.js";

describe("a worker whose stream breaks", () => {
  it("resumes on another coordinator with what it holds, and its handlers run on", async () => {
    const first = await startFakeCoordinator();
    const second = await startFakeCoordinator();
    const worker = testWorker({ address: [first.address, second.address] });
    const tasks = gate();
    worker.handle("task", tasks.handler);
    await worker.start();
    const before = await first.nextStream();
    before.lease(jsonLease("a", "task", "a"), jsonLease("b", "task", "b"));
    await tasks.running("b");
    await tasks.finish("a");
    await before.frames.next("result", ({ results }) => results.length === 1);
    first.stop();

    const after = await second.nextStream();
    expect(after.hello.sessionId).toBe(before.hello.sessionId);
    expect(after.hello.generation).toBe(2n);
    expect(namesOf(after.hello.heldLeaseTokens)).toEqual(["a", "b"]);
    expect(nameOf((await after.settle()).leaseToken)).toBe("a");
    expect(tasks.aborts.size).toBe(0);
    await tasks.finish("b");
    expect(nameOf((await after.settle()).leaseToken)).toBe("b");
    expect(tasks.started).toEqual(["a", "b"]);
  });

  it("stops handlers and drops results of leases that the welcome revokes", async () => {
    const first = await startFakeCoordinator();
    const second = await startFakeCoordinator({ welcome: false });
    const worker = testWorker({ address: [first.address, second.address] });
    const tasks = gate();
    worker.handle("task", tasks.handler);
    await worker.start();
    const before = await first.nextStream();
    before.lease(...["a", "b", "c"].map((name) => jsonLease(name, "task", name)));
    await tasks.running("c");
    await tasks.finish("a");
    await before.frames.next("result", ({ results }) => results.length === 1);
    first.stop();
    const after = await second.nextStream();
    after.send({ welcome: { revokedLeaseTokens: [tokenOf("a"), tokenOf("b")] } });
    await tasks.finish("c");
    expect(nameOf((await after.settle()).leaseToken)).toBe("c");
    expect(tasks.aborts.get("b")).toMatchObject({ abortCause: "lease_lost" });
    await tasks.finish("b");
    await worker.stop();
    expect(after.frames.all.flatMap(({ results }) => results)).toHaveLength(1);
  });

  it("sends a result that got RETRY again on the next stream only", async () => {
    const coordinator = await startFakeCoordinator();
    const worker = testWorker({ address: coordinator.address });
    worker.handle("task", (payload) => payload);
    await worker.start();
    const before = await coordinator.nextStream();
    before.lease(jsonLease("a", "task", "a"));
    await before.settle(ResultStatus.RETRY);
    const after = await coordinator.nextStream();
    expect(namesOf(after.hello.heldLeaseTokens)).toEqual(["a"]);
    expect(nameOf((await after.settle()).leaseToken)).toBe("a");
    await before.ended;
    expect(before.frames.all.flatMap(({ results }) => results)).toHaveLength(1);
    await worker.stop();
    expect(worker.unacked).toBe(0);
  });

  it.each([ResultStatus.DUPLICATE, ResultStatus.STALE, ResultStatus.INVALID])(
    "forgets a result that was answered with %s",
    async (status) => {
      const coordinator = await startFakeCoordinator();
      const worker = testWorker({ address: coordinator.address });
      worker.handle("task", (payload) => payload);
      await worker.start();
      const stream = await coordinator.nextStream();
      stream.lease(jsonLease("a", "task", "a"));
      await stream.settle(status);
      await worker.stop();
      expect(worker.unacked).toBe(0);
    },
  );

  it("dials until a coordinator is there", async () => {
    const gone = await startFakeCoordinator();
    gone.stop();
    const there = await startFakeCoordinator();
    const worker = testWorker({ address: [gone.address, there.address] });
    worker.handle("task", () => null);
    await worker.start();
    expect((await there.nextStream()).hello.generation).toBe(1n);
  });

  it("starts no lease twice, whether it runs or has ended", async () => {
    const coordinator = await startFakeCoordinator();
    const worker = testWorker({ address: coordinator.address });
    const tasks = gate();
    worker.handle("task", tasks.handler);
    await worker.start();
    const stream = await coordinator.nextStream();
    stream.lease(jsonLease("a", "task", "a"), jsonLease("a", "task", "a"));
    await tasks.finish("a");
    await stream.frames.next("result", ({ results }) => results.length === 1);
    stream.lease(jsonLease("a", "task", "a"), jsonLease("b", "task", "b"));
    await tasks.running("b");
    expect(tasks.started).toEqual(["a", "b"]);
    await tasks.finish("b");
  });
});

describe("a worker that is asked to move", () => {
  it("opens the next stream elsewhere before it half-closes the old one", async () => {
    const first = await startFakeCoordinator({ farewell: false });
    const second = await startFakeCoordinator({ welcome: false });
    const worker = testWorker({ address: [first.address, second.address] });
    const tasks = gate();
    worker.handle("task", tasks.handler);
    await worker.start();
    const before = await first.nextStream();
    before.lease(jsonLease("a", "task", "a"), jsonLease("b", "task", "b"));
    await tasks.running("b");
    let ended = false;
    void before.ended.then(() => (ended = true));
    before.send({ goAway: { reason: GoAwayReason.SHUTDOWN } });
    const after = await second.nextStream();
    expect(after.hello.generation).toBe(2n);
    expect(namesOf(after.hello.heldLeaseTokens)).toEqual(["a", "b"]);
    // The hello is out: what the old stream still leases is not taken, while its acks count.
    await tasks.finish("a");
    const { results } = await before.frames.next("result", (frame) => frame.results.length > 0);
    before.send({
      leases: [jsonLease("late", "task", "late")],
      acks: [{ leaseToken: results[0]!.leaseToken, status: ResultStatus.ACCEPTED }],
    });
    expect(ended).toBe(false);
    after.send({ welcome: { resumed: true } });
    await before.ended;
    await tasks.finish("b");
    expect(nameOf((await after.settle()).leaseToken)).toBe("b");
    expect(tasks.started).toEqual(["a", "b"]);
    before.end();
  });

  it("stays where it is while nobody else answers", async () => {
    const first = await startFakeCoordinator();
    const gone = await startFakeCoordinator();
    gone.stop();
    const worker = testWorker({ address: [first.address, gone.address] });
    worker.handle("task", (payload) => payload);
    await worker.start();
    const stream = await first.nextStream();
    stream.send({ goAway: { reason: GoAwayReason.REBALANCE } });
    stream.lease(jsonLease("a", "task", "a"));
    expect(nameOf((await stream.settle()).leaseToken)).toBe("a");
    const next = await first.nextStream();
    expect(next.hello.generation).toBe(2n);
  });

  it("leaves a deaf stream when a heartbeat is unanswered for 3 s", async () => {
    const clock = createManualClock();
    const deaf = await startFakeCoordinator({ heartbeats: false, farewell: false });
    const second = await startFakeCoordinator();
    const worker = testWorker({ address: [deaf.address, second.address], clock });
    worker.handle("task", () => null);
    await reach(clock, worker.start());
    const before = await deaf.nextStream();
    await clock.advance(5_600);
    await before.frames.next("heartbeat", ({ heartbeat }) => heartbeat !== undefined);
    const after = second.nextStream();
    await clock.advance(2_000);
    expect(second.streams.all).toHaveLength(0);
    await clock.advance(1_000);
    expect((await reach(clock, after)).hello.generation).toBe(2n);
    await reach(clock, before.ended);
  });
});

/** Three coordinators; the first renews nothing, and each tells when it was asked of its health. */
async function notRenewed(serving: { second: boolean; third: boolean }) {
  const clock = createManualClock();
  const asked = createInbox<string>((name) => name);
  const says = (name: string, serves: boolean) => () => {
    asked.push(name);
    return serves;
  };
  const heartbeats = () => ({ renewed: false });
  const first = await startFakeCoordinator({ heartbeats, serving: says("first", false) });
  const second = await startFakeCoordinator({ serving: says("second", serving.second) });
  const third = await startFakeCoordinator({ serving: says("third", serving.third) });
  const address = [first.address, second.address, third.address];
  const worker = testWorker({ address, clock });
  const tasks = gate();
  worker.handle("task", tasks.handler);
  await reach(clock, worker.start());
  const stream = await first.nextStream();
  stream.lease(jsonLease("a", "task", "a"));
  await reach(clock, tasks.running("a"));
  return { clock, asked, first, second, third, stream, tasks };
}

describe("a worker whose coordinator cannot renew it", () => {
  it("moves to one that says it can, and its handler runs on", async () => {
    const { clock, asked, second, third, tasks } = await notRenewed({ second: false, third: true });
    await clock.advance(4_500);
    const after = await reach(clock, third.nextStream());
    expect(asked.all).toEqual(["second", "third"]);
    expect(after.hello.generation).toBe(2n);
    expect(namesOf(after.hello.heldLeaseTokens)).toEqual(["a"]);
    expect(second.streams.all).toEqual([]);
    expect(tasks.aborts.size).toBe(0);
    await tasks.finish("a");
    expect(nameOf((await reach(clock, after.settle())).leaseToken)).toBe("a");
  });

  it("stays if nobody can, and takes tasks there", async () => {
    const { clock, asked, first, second, third, stream, tasks } = await notRenewed({
      second: false,
      third: false,
    });
    third.stop();
    for (const beat of ["one", "two"]) {
      await clock.advance(4_500);
      // Last in the circle, so that the others have been asked by then.
      await reach(
        clock,
        asked.next(beat, (name) => name === "first"),
      );
    }
    await tasks.finish("a");
    stream.lease(jsonLease("b", "task", "b"));
    await reach(clock, tasks.running("b"));
    await tasks.finish("b");
    expect(first.streams.all).toHaveLength(1);
    expect([...second.streams.all, ...third.streams.all]).toEqual([]);
  });
});
