import { describe, expect, it, onTestFinished } from "vitest";
import { createClient } from "../../src/client/index.js";
import { loadConfig } from "../../src/config.js";
import { createMemoryBroker } from "../../src/broker/memory-broker.js";
import { systemClock, systemRandom } from "../../src/clock.js";
import { createMemoryHistory } from "../../src/history/memory-history.js";
import { createServer, type ServerParts } from "../../src/server.js";
import type { Service } from "../../src/service.js";
import { createWorker, TaskFailedError, type WorkerOptions } from "../../src/worker/index.js";
import { memoryFlags } from "../support/memory-flags.js";
import { eagerRandom, gate, quietLogger } from "../support/worker-kit.js";

async function startServer(): Promise<string> {
  return (await createTestServer()).address;
}

/** Several in one process share their stores; only the first one stops them. */
async function createTestServer(parts: ServerParts = {}) {
  const server = createServer(loadConfig({ env: {}, flags: memoryFlags }), parts);
  await server.start();
  onTestFinished(() => server.stop("the end of a test"));
  return { server, address: `127.0.0.1:${server.grpcPort}` };
}

/** The same store, but whoever stops it only leaves it. */
const lent = <T extends Service>(store: T): T =>
  new Proxy(store, {
    get(target, name) {
      if (name === "start" || name === "stop") return () => Promise.resolve();
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });

type Tasks = {
  add: { payload: { a: number; b: number }; result: { sum: number } };
  flaky: { payload: { fails: number }; result: { attempt: number } };
  doomed: { payload: null; result: null };
  slow: { payload: null; result: string };
};

function startWorker(address: string, options: WorkerOptions = {}) {
  const worker = createWorker<Tasks>({ address, logger: quietLogger, ...options });
  onTestFinished(() => worker.stop({ graceMs: 0 }));
  return worker;
}

function connect(address: string) {
  const client = createClient<Tasks>({ address });
  onTestFinished(() => client.close({ graceMs: 0 }));
  return client;
}

describe("the SDKs on a real coordinator", () => {
  it("run tasks from submit to result", async () => {
    const address = await startServer();
    const client = connect(address);
    const worker = startWorker(address);
    worker.handle("add", ({ a, b }) => ({ sum: a + b }));
    worker.handle("flaky", ({ fails }, { attempt }) => {
      if (attempt <= fails) throw new Error("not yet");
      return { attempt };
    });
    worker.handle("doomed", () => {
      throw new TaskFailedError("never", { code: "no_hope", retryable: false });
    });
    await worker.start();

    const receipts = await Promise.all(
      Array.from({ length: 200 }, (_, n) => client.submit("add", { a: n, b: 1 })),
    );
    const ended = await Promise.all(receipts.map((receipt) => client.wait(receipt)));
    expect(ended.map(({ result }) => result?.sum)).toEqual(ended.map((_, n) => n + 1));

    const retryPolicy = { initialBackoffMs: 1, jitter: 0 };
    const flaky = await client.wait(await client.submit("flaky", { fails: 2 }, { retryPolicy }));
    expect(flaky).toMatchObject({ status: "completed", result: { attempt: 3 }, retryCount: 2 });
    const attempts = await client.attempts(flaky.id);
    expect(attempts.map(({ outcome }) => outcome)).toEqual(["failed", "failed", "completed"]);

    const doomed = await client.wait(await client.submit("doomed", null));
    expect(doomed).toMatchObject({ status: "failed", error: { code: "no_hope" }, retryCount: 0 });
    expect((await client.stats()).completed).toBe(201);
    const listed = [];
    for await (const task of client.list({ type: "add", pageSize: 90 })) listed.push(task.id);
    expect(listed).toHaveLength(200);
    const again = await client.submit("add", { a: 1, b: 1 }, { idempotencyKey: "once" });
    const same = await client.submit("add", { a: 1, b: 1 }, { idempotencyKey: "once" });
    expect(same).toEqual({ ...again, status: "existing" });
    const key = { uniqueKey: "u", unique: { onConflict: "replace" }, delayMs: 60_000 } as const;
    const held = await client.submit("add", { a: 1, b: 1 }, key);
    const heir = await client.submit("add", { a: 2, b: 1 }, key);
    expect([held.status, heir.status]).toEqual(["submitted", "replaced"]);
    expect((await client.get(held)).status).toBe("cancelled");
    const quiet = { onConflict: "debounce", windowMs: 1_000 } as const;
    const last = await client.submit("add", { a: 3, b: 1 }, { uniqueKey: "u", unique: quiet });
    expect(last.status).toBe("debounced");
    expect(await client.wait(last)).toMatchObject({ status: "completed", result: { sum: 4 } });
  });

  it("cancel a running task, and hand back what runs when the worker leaves", async () => {
    const address = await startServer();
    const client = connect(address);
    const worker = startWorker(address, { workerId: "first" });
    const started: string[] = [];
    const slow = (cause: (why: unknown) => void) => (_: null, context: { signal: AbortSignal }) =>
      new Promise<string>((_resolve, reject) => {
        started.push("slow");
        context.signal.addEventListener("abort", () => {
          cause(context.signal.reason);
          reject(context.signal.reason as Error);
        });
      });
    const causes: unknown[] = [];
    worker.handle(
      "slow",
      slow((why) => causes.push(why)),
    );
    await worker.start();
    const running = async (id: string) => {
      while ((await client.get(id)).status !== "running") await client.stats();
    };

    const cancelled = await client.submit("slow", null);
    await running(cancelled.id);
    await client.cancel(cancelled);
    expect((await client.wait(cancelled)).status).toBe("cancelled");
    expect(causes).toMatchObject([{ abortCause: "cancelled" }]);

    const moved = await client.submit("slow", null);
    await running(moved.id);
    const second = startWorker(address, { workerId: "second" });
    second.handle("slow", () => "done elsewhere");
    await second.start();
    await worker.stop({ graceMs: 10 });
    const task = await client.wait(moved);
    expect(task).toMatchObject({
      status: "completed",
      result: "done elsewhere",
      retryCount: 0,
      leaseLosses: 0,
      workerId: "second",
    });
    const listed = [];
    for await (const { workerId } of client.workers.list()) listed.push(workerId);
    expect(listed).toEqual(["second"]);
  });

  it("move to another coordinator when theirs stops, and no attempt is spent", async () => {
    const clock = systemClock;
    const broker = createMemoryBroker({ clock, random: systemRandom, partitions: 1 });
    const history = createMemoryHistory({ clock });
    await Promise.all([broker.start(), history.start()]);
    const parts = { broker: lent(broker), history: lent(history) };
    const first = await createTestServer(parts);
    const second = await createTestServer(parts);
    const address = [first.address, second.address];
    const client = createClient<Tasks>({ address, random: eagerRandom });
    onTestFinished(() => client.close({ graceMs: 0 }));
    const worker = startWorker(address[0]!, { address, random: eagerRandom });
    const tasks = gate();
    worker.handle("slow", (_payload, context) =>
      tasks.handler("slow", context).then(() => "still here"),
    );
    await worker.start();
    const receipt = await client.submit("slow", null);
    await tasks.running("slow");
    const waiting = client.wait(receipt);
    await first.server.stop("a deployment");
    const submitted = await Promise.all(
      Array.from({ length: 20 }, () => client.submit("doomed", null, { delayMs: 60_000 })),
    );
    expect(new Set(submitted.map(({ id }) => id)).size).toBe(20);
    await tasks.finish("slow");
    expect(await waiting).toMatchObject({
      status: "completed",
      result: "still here",
      attempt: 1,
      leaseLosses: 0,
    });
    expect(tasks.started).toEqual(["slow"]);
    expect(tasks.aborts.size).toBe(0);
  });
});
