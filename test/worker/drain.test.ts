import { describe, expect, it } from "vitest";
import { startFakeCoordinator } from "../support/fake-coordinator.js";
import { createManualClock } from "../support/manual-clock.js";
import { gate, jsonLease, nameOf, reach, testWorker } from "../support/worker-kit.js";

describe("a worker that stops", () => {
  it("says so, takes nothing more, and lets the running end", async () => {
    const coordinator = await startFakeCoordinator();
    const worker = testWorker({ address: coordinator.address });
    const tasks = gate();
    worker.handle("task", tasks.handler);
    await worker.start();
    const stream = await coordinator.nextStream();
    stream.lease(jsonLease("a", "task", "a"));
    await tasks.running("a");
    const stopped = worker.stop();
    const { offer } = await stream.frames.next("goodbye", ({ leaving }) => leaving);
    expect(offer!.slots).toBe(0);
    // It crossed the goodbye: handed back at once, never started.
    stream.lease(jsonLease("late", "task", "late"));
    const released = await stream.settle();
    expect([nameOf(released.leaseToken), released.outcome.case]).toEqual(["late", "release"]);
    await tasks.finish("a");
    const result = await stream.settle();
    expect([nameOf(result.leaseToken), result.outcome.case]).toEqual(["a", "success"]);
    await stopped;
    await stream.ended;
    expect(tasks.started).toEqual(["a"]);
    await expect(worker.start()).rejects.toThrow("make a new one");
  });

  it("asks handlers to stop after the grace, and hands their tasks back uncharged", async () => {
    const coordinator = await startFakeCoordinator();
    const worker = testWorker({ address: coordinator.address });
    const deaf = gate();
    worker.handle("polite", async (_payload, { signal }) => {
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      throw signal.reason;
    });
    worker.handle("deaf", deaf.handler);
    await worker.start();
    const stream = await coordinator.nextStream();
    stream.lease(jsonLease("p", "polite", "p"), jsonLease("d", "deaf", "d"));
    await deaf.running("d");
    await worker.stop({ graceMs: 1 });
    const results = stream.frames.all.flatMap((frame) => frame.results);
    expect(results.map(({ leaseToken, outcome }) => [nameOf(leaseToken), outcome.case])).toEqual([
      ["p", "release"],
      ["d", "release"],
    ]);
    expect(deaf.aborts.get("d")).toMatchObject({ abortCause: "shutdown" });
    // Nobody waits for what a deaf handler brings later.
    await deaf.finish("d");
    expect(worker.unacked).toBe(0);
  });

  it("waits for its acks, over a reconnect if need be", async () => {
    const first = await startFakeCoordinator({ farewell: false });
    const second = await startFakeCoordinator();
    const worker = testWorker({ address: [first.address, second.address] });
    worker.handle("task", (payload) => payload);
    await worker.start();
    const before = await first.nextStream();
    before.lease(jsonLease("a", "task", "a"));
    await before.frames.next("result", ({ results }) => results.length === 1);
    const stopped = worker.stop();
    await before.frames.next("goodbye", ({ leaving }) => leaving);
    first.stop();
    const after = await second.nextStream();
    expect(after.hello.offer!.slots).toBe(0);
    const { leaving, results } = await after.frames.next("goodbye", (frame) => frame.leaving);
    expect([leaving, results.length]).toEqual([true, 1]);
    await stopped;
    await after.ended;
  });

  it("goes without acks after a while, when nobody gives them", async () => {
    const clock = createManualClock();
    const coordinator = await startFakeCoordinator({ farewell: false });
    const worker = testWorker({ address: coordinator.address, clock });
    worker.handle("task", (payload) => payload);
    await reach(clock, worker.start());
    const stream = await coordinator.nextStream();
    stream.lease(jsonLease("a", "task", "a"));
    await stream.frames.next("result", ({ results }) => results.length === 1);
    await reach(clock, worker.stop(), 1_000);
    expect(worker.unacked).toBe(1);
  });

  it("has nothing to wait for where it never connected", async () => {
    const worker = testWorker({ address: "127.0.0.1:1" });
    worker.handle("task", () => null);
    const started = worker.start();
    await worker.stop();
    await started;
  });

  it("runs until SIGTERM, and a second signal ends the grace", async () => {
    const coordinator = await startFakeCoordinator();
    const worker = testWorker({ address: coordinator.address });
    const tasks = gate();
    worker.handle("task", tasks.handler);
    const listeners = process.listenerCount("SIGTERM");
    const run = worker.run({ graceMs: 60_000 });
    const stream = await coordinator.nextStream();
    stream.lease(jsonLease("a", "task", "a"));
    await tasks.running("a");
    process.emit("SIGTERM");
    await stream.frames.next("goodbye", ({ leaving }) => leaving);
    expect(tasks.aborts.size).toBe(0);
    process.emit("SIGINT");
    await run;
    expect(tasks.aborts.get("a")).toMatchObject({ abortCause: "shutdown" });
    expect(process.listenerCount("SIGTERM")).toBe(listeners);
    await tasks.finish("a");
  });
});
