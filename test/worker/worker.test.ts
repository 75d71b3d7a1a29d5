import { describe, expect, it } from "vitest";
import { createWorker, ReleaseError, TaskFailedError } from "../../src/worker/index.js";
import { startFakeCoordinator } from "../support/fake-coordinator.js";
import { jsonLease, quietLogger } from "../support/worker-kit.js";

const text = (data: Uint8Array | undefined): string => Buffer.from(data ?? []).toString("utf8");

describe("a worker", () => {
  it("says hello, runs the handler of a lease, and sends its result as JSON", async () => {
    const coordinator = await startFakeCoordinator();
    const worker = createWorker({
      address: coordinator.address,
      workerId: "w-1",
      concurrency: 3,
      labels: { zone: "a" },
      logger: quietLogger,
    });
    worker.handle<"add">("add", (payload: { a: number; b: number }) => ({
      sum: payload.a + payload.b,
    }));
    await worker.start();
    const stream = await coordinator.nextStream();
    expect(stream.hello).toMatchObject({ workerId: "w-1", generation: 1n, labels: { zone: "a" } });
    expect(stream.hello.offer).toMatchObject({
      slots: 3,
      subscriptions: [{ queue: "default", types: ["add"] }],
    });
    stream.lease(jsonLease("t1", "add", { a: 1, b: 2 }));
    const result = await stream.settle();
    expect(result.outcome.case).toBe("success");
    if (result.outcome.case !== "success") return;
    expect(result.outcome.value.resultBlob?.contentType).toBe("application/json");
    expect(JSON.parse(text(result.outcome.value.resultBlob?.data))).toEqual({ sum: 3 });
    await worker.stop();
    await stream.ended;
    expect(worker.unacked).toBe(0);
  });

  it("turns what a handler throws into a failure or a hand-back", async () => {
    const coordinator = await startFakeCoordinator();
    const worker = createWorker({ address: coordinator.address, logger: quietLogger });
    worker.handle("task", (payload) => {
      if (payload === "plain") throw new Error("it broke");
      if (payload === "code") throw Object.assign(new Error("refused"), { code: "ECONNREFUSED" });
      if (payload === "release") throw new ReleaseError({ delayMs: 1_500 });
      throw new TaskFailedError("no such user", {
        code: "no_user",
        retryable: false,
        retryAfterMs: 250,
      });
    });
    await worker.start();
    const stream = await coordinator.nextStream();
    const outcomeOf = async (payload: string) => {
      stream.lease(jsonLease(payload, "task", payload));
      return (await stream.settle()).outcome;
    };
    const plain = await outcomeOf("plain");
    expect(plain).toMatchObject({
      case: "failure",
      value: { error: { code: "handler_error", message: "it broke" }, nonRetryable: false },
    });
    expect(plain.case === "failure" && plain.value.error?.stack).toContain("worker.test");
    expect(await outcomeOf("code")).toMatchObject({ value: { error: { code: "ECONNREFUSED" } } });
    expect(await outcomeOf("own")).toMatchObject({
      case: "failure",
      value: {
        error: { code: "no_user", message: "no such user" },
        nonRetryable: true,
        retryAfter: { seconds: 0n, nanos: 250_000_000 },
      },
    });
    expect(await outcomeOf("release")).toMatchObject({
      case: "release",
      value: { delay: { seconds: 1n, nanos: 500_000_000 } },
    });
    await worker.stop();
  });
});
