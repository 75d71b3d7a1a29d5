import { describe, expect, it } from "vitest";
import { startFakeCoordinator } from "../support/fake-coordinator.js";
import { createManualClock } from "../support/manual-clock.js";
import { gate, jsonLease, nameOf, namesOf, reach, testWorker } from "../support/worker-kit.js";

describe("the heartbeat of a worker", () => {
  it("lists running leases and unacked results, and says how busy the process is", async () => {
    const coordinator = await startFakeCoordinator({ heartbeatMs: 30 });
    const worker = testWorker({ address: coordinator.address });
    const tasks = gate();
    worker.handle("task", tasks.handler);
    await worker.start();
    const stream = await coordinator.nextStream();
    stream.lease(jsonLease("a", "task", "a"), jsonLease("b", "task", "b"));
    await tasks.running("b");
    await tasks.finish("a");
    await stream.frames.next("result", ({ results }) => results.length === 1);
    const { heartbeat } = await stream.frames.next(
      "heartbeat with both",
      (frame) => frame.heartbeat?.heldLeaseTokens.length === 2,
    );
    expect(namesOf(heartbeat!.heldLeaseTokens)).toEqual(["a", "b"]);
    expect(heartbeat!.cpu).toBeGreaterThan(0);
    expect(heartbeat!.eventLoopDelay).toBeDefined();
    const next = await stream.frames.next(
      "a later heartbeat",
      (frame) => (frame.heartbeat?.number ?? 0n) > heartbeat!.number,
    );
    expect(next.heartbeat!.number).toBeGreaterThan(heartbeat!.number);
    await tasks.finish("b");
  });

  it("stops a handler whose token is unknown, and never drops a result for it", async () => {
    const coordinator = await startFakeCoordinator({
      heartbeatMs: 30,
      heartbeats: ({ heldLeaseTokens: held }) => ({
        unknownLeaseTokens: held.length === 2 ? held : [],
      }),
    });
    const worker = testWorker({ address: coordinator.address, concurrency: 2 });
    const tasks = gate();
    worker.handle("task", tasks.handler);
    await worker.start();
    const stream = await coordinator.nextStream();
    stream.lease(jsonLease("done", "task", "done"), jsonLease("runs", "task", "runs"));
    await tasks.finish("done");
    // The result and the new offer may come in one frame or in two.
    const results: string[] = [];
    let slots: number | undefined;
    while (results.length === 0 || slots === undefined) {
      const frame = await stream.frames.next(
        "result or offer",
        (it) => it.offer !== undefined || it.results.length > 0,
      );
      results.push(...frame.results.map(({ leaseToken }) => nameOf(leaseToken)));
      slots ??= frame.offer?.slots;
    }
    // The handler that may still run takes a slot nobody can lease.
    expect([results, slots]).toEqual([["done"], 1]);
    expect(tasks.aborts.get("runs")).toMatchObject({ abortCause: "lease_lost" });
    expect(worker.unacked).toBe(1);
    // A late success may still be accepted.
    await tasks.finish("runs");
    expect(nameOf((await stream.settle()).leaseToken)).toBe("runs");
    const offers = stream.frames.all.flatMap((frame) => (frame.offer ? [frame.offer.slots] : []));
    expect(offers).toEqual([1, 2]);
  });

  it("stops handlers 13.5 s after the last renewed beat was sent, and hands back", async () => {
    const { clock, stream, aborted, beat, answer } = await runUnderBeats();
    // Chance is 0: beats come every 4.5 s.
    await clock.advance(4_500);
    await answer(await beat(), true);
    const renewedAt = clock.monotonic();
    let lastBeat = 0n;
    for (let beats = 0; beats < 2; beats += 1) {
      await clock.advance(2_000);
      await clock.advance(2_500);
      lastBeat = await beat();
      await answer(lastBeat, false);
    }
    await clock.advance(renewedAt + 13_499 - clock.monotonic());
    expect(aborted).toEqual([]);
    await clock.advance(1);
    expect(aborted).toEqual([renewedAt + 13_500]);
    const result = await reach(clock, stream.settle());
    expect(result.outcome.case).toBe("release");
    // What it cannot hear of it must not be leased, until it is renewed.
    const offers = () =>
      stream.frames.all.flatMap((frame) => (frame.offer ? [frame.offer.slots] : []));
    expect(offers().at(-1)).toBe(0);
    stream.send({ heartbeatAck: { number: lastBeat, renewed: true } });
    await reach(
      clock,
      stream.frames.next("an offer", (frame) => (frame.offer?.slots ?? 0) > 0),
    );
  });

  it("counts a beat that is answered with no, and later with yes, from when it was sent", async () => {
    const { clock, aborted, beat, answer } = await runUnderBeats();
    await clock.advance(4_500);
    const number = await beat();
    const sentAt = clock.monotonic();
    await answer(number, false);
    await clock.advance(1_000);
    await answer(number, true);
    for (let beats = 0; beats < 2; beats += 1) {
      await clock.advance(beats === 0 ? 3_500 : 4_500);
      await answer(await beat(), false);
    }
    await clock.advance(sentAt + 13_499 - clock.monotonic());
    expect(aborted).toEqual([]);
    await clock.advance(1);
    expect(aborted).toEqual([sentAt + 13_500]);
  });
});

/** One handler runs until it is told to stop; beats are answered by hand. */
async function runUnderBeats() {
  const clock = createManualClock();
  const coordinator = await startFakeCoordinator({ heartbeats: false });
  const worker = testWorker({ address: coordinator.address, clock });
  const aborted: number[] = [];
  worker.handle("task", async (_payload, { signal }) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    aborted.push(clock.monotonic());
    throw signal.reason;
  });
  await reach(clock, worker.start());
  const stream = await coordinator.nextStream();
  stream.lease(jsonLease("a", "task", "a"));
  while (worker.running === 0) await clock.advance(0);

  const beat = async () => {
    const frame = stream.frames.next("heartbeat", ({ heartbeat }) => heartbeat !== undefined);
    return (await frame).heartbeat!.number;
  };
  let strangers = 0;
  /** Resolves once the worker has read it: it hands back a lease that came behind. */
  const answer = async (number: bigint, renewed: boolean): Promise<void> => {
    const name = `stranger-${(strangers += 1)}`;
    stream.send({ heartbeatAck: { number, renewed } });
    stream.lease(jsonLease(name, "nobody_handles_this", name));
    const handedBack = await reach(clock, stream.settle());
    expect(nameOf(handedBack.leaseToken)).toBe(name);
  };
  return { clock, stream, aborted, beat, answer };
}
