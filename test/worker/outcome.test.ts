import { describe, expect, it } from "vitest";
import type { TaskResult } from "../../gen/drover/v1/task_pb.js";
import type { HandlerContext, Worker, WorkerOptions } from "../../src/worker/index.js";
import { startFakeCoordinator } from "../support/fake-coordinator.js";
import { gate, jsonLease, nameOf, testWorker, tokenOf } from "../support/worker-kit.js";

const textOf = ({ outcome }: TaskResult): string =>
  outcome.case === "success" ? Buffer.from(outcome.value.resultBlob!.data).toString() : "";

async function connected(setUp: (worker: Worker) => void, options: WorkerOptions = {}) {
  const coordinator = await startFakeCoordinator();
  const worker = testWorker({ address: coordinator.address, ...options });
  setUp(worker);
  await worker.start();
  return { worker, stream: await coordinator.nextStream() };
}

describe("what a handler gets", () => {
  it("is the payload, and a context that says all about the attempt", async () => {
    const seen: [unknown, HandlerContext][] = [];
    const { stream } = await connected(
      (worker) => worker.handle("task", (payload, context) => void seen.push([payload, context])),
      { labels: { zone: "a" } },
    );
    const task = { retryCount: 2, attempt: 5, tags: ["x"], traceContext: { traceparent: "00-1" } };
    const timeout = { $typeName: "google.protobuf.Duration", seconds: 2n, nanos: 0 } as const;
    stream.lease(jsonLease("a", "task", { deep: [1, null] }, { timeout, task }));
    const { outcome } = await stream.settle();
    expect(outcome.case).toBe("success");
    expect(outcome.value).not.toHaveProperty("resultBlob");
    const [payload, context] = seen[0]!;
    expect(payload).toEqual({ deep: [1, null] });
    expect(context).toMatchObject({
      taskId: "id-a",
      type: "task",
      queue: "default",
      attempt: 5,
      retryCount: 2,
      fencingToken: 7,
      tags: ["x"],
      traceContext: { traceparent: "00-1" },
      labels: { zone: "a" },
    });
    const { remainingMs, progress, log } = context;
    expect(remainingMs()).toBeGreaterThan(0);
    expect(remainingMs()).toBeLessThanOrEqual(2_000);
    expect(() => (progress(0.5, "half"), log("info", "line"))).not.toThrow();
    expect(context.signal.aborted).toBe(false);
  });

  it("is plain JavaScript from a Value, Content from other types, or undefined", async () => {
    const seen: unknown[] = [];
    const { stream } = await connected((worker) =>
      worker.handle("task", (payload) => void seen.push(payload)),
    );
    const payload = { kind: { case: "stringValue", value: "hello" } } as const;
    const payloadBlob = { contentType: "image/png", data: Buffer.from([1, 2]) };
    stream.lease(
      jsonLease("a", "task", undefined, { task: { payload } }),
      jsonLease("b", "task", undefined, { task: { payloadBlob } }),
      jsonLease("c", "task"),
    );
    for (let n = 0; n < 3; n += 1) await stream.settle();
    expect(seen).toEqual(["hello", payloadBlob, undefined]);
  });

  it("is nothing if the payload does not decode: the task fails for good, others run", async () => {
    const { stream } = await connected((worker) => worker.handle("task", (payload) => payload));
    const payloadBlob = { contentType: "application/json", data: Buffer.from("{") };
    let nested: object = { kind: { case: "boolValue", value: true } };
    for (let depth = 0; depth < 70; depth += 1) {
      nested = { kind: { case: "listValue", value: { values: [nested] } } };
    }
    stream.lease(
      jsonLease("json", "task", undefined, { task: { payloadBlob } }),
      jsonLease("deep", "task", undefined, { task: { payload: nested } }),
      jsonLease("good", "task", 1),
    );
    const failure = { error: { code: "payload_undecodable" }, nonRetryable: true };
    const results = [await stream.settle(), await stream.settle(), await stream.settle()];
    const outcomes = new Map(results.map((it) => [nameOf(it.leaseToken), it.outcome]));
    expect(outcomes.get("json")).toMatchObject({ case: "failure", value: failure });
    expect(outcomes.get("deep")).toMatchObject({ case: "failure", value: failure });
    expect(outcomes.get("good")).toMatchObject({ case: "success" });
  });

  it("passes through middleware, the first one outermost", async () => {
    const { stream } = await connected((worker) =>
      worker
        .use(async (_payload, { type }, next) => `${type}(${String(await next())})`)
        .use(async (_payload, _context, next) => `[${String(await next())}]`)
        .handle("task", (payload) => payload),
    );
    stream.lease(jsonLease("a", "task", "x"));
    expect(textOf(await stream.settle())).toBe('"task([x])"');
  });

  it("comes from the handler of its queue", async () => {
    const { stream } = await connected(
      (worker) =>
        worker
          .handle("task", () => "from one or two")
          .handle("task", () => "from three", { queue: "three" }),
      { queues: ["one", "two"] },
    );
    expect(stream.hello.offer!.subscriptions).toMatchObject([
      { queue: "one", types: ["task"] },
      { queue: "two", types: ["task"] },
      { queue: "three", types: ["task"] },
    ]);
    stream.lease(jsonLease("a", "task", "x", { task: { queue: "three" } }));
    expect(textOf(await stream.settle())).toBe('"from three"');
    stream.lease(jsonLease("b", "task", "x", { task: { queue: "two" } }));
    expect(textOf(await stream.settle())).toBe('"from one or two"');
    stream.lease(jsonLease("c", "strange", "x"));
    expect((await stream.settle()).outcome).toMatchObject({
      case: "release",
      value: { delay: { seconds: 1n } },
    });
  });
});

describe("what a handler gives", () => {
  it("may have 256 KiB; more, and what is no JSON, fails the task for good", async () => {
    const { stream } = await connected((worker) =>
      worker
        .handle("big", (bytes) => "x".repeat(Number(bytes) - 2))
        .handle("odd", () => 10n)
        .handle("raw", () => ({ contentType: "text/csv", data: Buffer.from("a,b") })),
    );
    stream.lease(jsonLease("fits", "big", 262_144));
    expect((await stream.settle()).outcome.case).toBe("success");
    stream.lease(jsonLease("over", "big", 262_145));
    expect((await stream.settle()).outcome).toMatchObject({
      case: "failure",
      value: { error: { code: "result_too_large" }, nonRetryable: true },
    });
    stream.lease(jsonLease("odd", "odd"));
    expect((await stream.settle()).outcome).toMatchObject({
      case: "failure",
      value: { error: { code: "result_unencodable" }, nonRetryable: true },
    });
    stream.lease(jsonLease("raw", "raw"));
    const raw = await stream.settle();
    expect(raw.outcome).toMatchObject({ value: { resultBlob: { contentType: "text/csv" } } });
    expect(textOf(raw)).toBe("a,b");
  });

  it("is progress, of which only the latest is sent", async () => {
    const tasks = gate();
    const { stream } = await connected((worker) =>
      worker.handle("task", async (payload, context) => {
        for (let n = 1; n <= 100; n += 1) context.progress(n / 50, `step ${n}`);
        return tasks.handler(payload, context);
      }),
    );
    stream.lease(jsonLease("a", "task", "a"));
    const { progress } = await stream.frames.next("progress", (frame) => frame.progress.length > 0);
    expect(progress).toMatchObject([{ fraction: 1, message: "step 100" }]);
    await tasks.finish("a");
    await stream.settle();
  });
});

describe("a handler that is asked to stop", () => {
  const untilAbort = (_payload: unknown, { signal }: HandlerContext) =>
    new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason as Error));
    });

  it("ends cancelled after a cancel, unless it succeeds all the same", async () => {
    const tasks = gate();
    const { stream, worker } = await connected((it) =>
      it.handle("stops", untilAbort).handle("goes_on", tasks.handler),
    );
    stream.lease(jsonLease("a", "stops", "a"), jsonLease("b", "goes_on", "b"));
    await tasks.running("b");
    const cancel = (name: string) => ({
      command: { case: "cancel", value: { leaseToken: tokenOf(name) } } as const,
    });
    stream.send({ commands: [cancel("a"), cancel("b"), cancel("unknown")] });
    expect((await stream.settle()).outcome.case).toBe("cancelled");
    expect(tasks.aborts.get("b")).toMatchObject({ abortCause: "cancelled" });
    await tasks.finish("b", "won");
    expect(textOf(await stream.settle())).toBe('"won"');
    expect(worker.running).toBe(0);
  });

  it("fails with code timeout when its time is up", async () => {
    const { stream } = await connected((worker) => worker.handle("task", untilAbort));
    const timeout = { $typeName: "google.protobuf.Duration", seconds: 0n, nanos: 5e6 } as const;
    stream.lease(jsonLease("a", "task", "a", { timeout }));
    expect((await stream.settle()).outcome).toMatchObject({
      case: "failure",
      value: { error: { code: "timeout" }, nonRetryable: false },
    });
  });

  it("leaves no result behind when its lease is revoked", async () => {
    const tasks = gate();
    const { stream, worker } = await connected((it) => it.handle("task", tasks.handler));
    stream.lease(jsonLease("a", "task", "a"));
    await tasks.running("a");
    const revoke = { leaseToken: tokenOf("a"), reason: "timed out" };
    stream.send({ commands: [{ command: { case: "revoke", value: revoke } }] });
    stream.lease(jsonLease("b", "task", "b"));
    await tasks.running("b");
    expect(tasks.aborts.get("a")).toMatchObject({ abortCause: "lease_lost" });
    await tasks.finish("a");
    await tasks.finish("b");
    expect(nameOf((await stream.settle()).leaseToken)).toBe("b");
    await worker.stop();
    expect(stream.frames.all.flatMap(({ results }) => results)).toHaveLength(1);
  });
});
