import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, expect, it, onTestFinished } from "vitest";
import { createMemoryBroker, createMemoryStore } from "../../src/broker/memory-broker.js";
import { systemClock, systemRandom } from "../../src/clock.js";
import { loadConfig } from "../../src/config.js";
import { createClient } from "../../src/client/index.js";
import { createServer, type ServerParts } from "../../src/server.js";
import { createEvents } from "../../src/telemetry/events.js";
import { exposition } from "../../src/telemetry/exposition.js";
import { CounterTable, Histogram, type Metric } from "../../src/telemetry/metric.js";
import { createMetrics } from "../../src/telemetry/metrics.js";
import { createWorker, TaskFailedError } from "../../src/worker/index.js";
import { readExposition, valueOf } from "../support/exposition.js";
import { createManualClock } from "../support/manual-clock.js";
import { findPromtool } from "../support/promtool.js";
import { eagerRandom, quietLogger } from "../support/worker-kit.js";

const required = {
  tasks_submitted_total: "counter",
  tasks_processed_total: "counter",
  task_duration_seconds: "histogram",
  queue_size: "gauge",
  workers_active: "gauge",
  task_retries_total: "counter",
};

async function startServer(parts: ServerParts = {}) {
  const flags = {
    http_port: 0,
    grpc_port: 0,
    broker: "memory",
    history: "memory",
    log_level: "silent",
  };
  const server = createServer(loadConfig({ env: {}, flags }), parts);
  await server.start();
  onTestFinished(() => server.stop("the end of a test"));
  const address = `127.0.0.1:${server.grpcPort}`;
  const client = createClient({ address });
  onTestFinished(() => client.close({ graceMs: 0 }));
  const scrape = () => fetch(`http://127.0.0.1:${server.httpPort}/metrics`);
  const read = async () => readExposition(await (await scrape()).text());
  return { server, address, client, scrape, read };
}

describe("GET /metrics", () => {
  it("has all promised figures from the first scrape", async () => {
    const { scrape } = await startServer();
    const reply = await scrape();
    expect(reply.status).toBe(200);
    expect(reply.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    const families = readExposition(await reply.text());
    const kinds = Object.keys(required).map((name) => [name, families.get(name)?.kind]);
    expect(Object.fromEntries(kinds)).toEqual(required);
    expect(valueOf(families, "workers_active")).toBe(0);
    expect(valueOf(families, "queue_size", { queue: "default", priority: "medium" })).toBe(0);
    expect(valueOf(families, "drover_store_up", { store: "broker" })).toBe(1);
    const others = [...families.keys()].filter((name) => !(name in required));
    expect(others.every((name) => name.startsWith("drover_"))).toBe(true);
  });

  it("is what docs/telemetry.md tells, name by name", async () => {
    const families = [...(await (await startServer()).read()).values()];
    const row = /^\| `(\w+)` \| (counter|gauge|histogram) \|/gm;
    const told = readFileSync("docs/telemetry.md", "utf8").matchAll(row);
    expect([...told].map(([, name, kind]) => `${name} ${kind}`).toSorted()).toEqual(
      families.map(({ name, kind }) => `${name} ${kind}`).toSorted(),
    );
  });

  it("counts tasks on their way, and is what promtool takes", async () => {
    const { server, address, client, scrape, read } = await startServer();
    for (let n = 0; n < 3; n += 1) await client.submit("send", { n }, { priority: 2 });
    const doomed = await client.submit("doomed", null);
    const flaky = await client.submit("flaky", null, { retryPolicy: { initialBackoffMs: 1 } });
    const unwanted = await client.submit("send", null, { delayMs: 60_000 });
    await client.cancel(unwanted);

    const waiting = await read();
    expect(valueOf(waiting, "tasks_submitted_total", { type: "send", priority: "high" })).toBe(3);
    expect(valueOf(waiting, "tasks_submitted_total", { type: "send", priority: "medium" })).toBe(1);
    expect(valueOf(waiting, "queue_size", { queue: "default", priority: "high" })).toBe(3);
    expect(valueOf(waiting, "queue_size", { queue: "default", priority: "medium" })).toBe(2);
    const ended = (type: string, status: string) => ({ type, status });
    expect(valueOf(waiting, "tasks_processed_total", ended("send", "cancelled"))).toBe(1);

    const worker = createWorker({ address, logger: quietLogger, random: eagerRandom });
    worker.handle("send", () => "sent");
    worker.handle("doomed", () => {
      throw new TaskFailedError("no", { code: "no", retryable: false });
    });
    worker.handle("flaky", (_, { attempt }) => {
      if (attempt === 1) throw new Error("once");
    });
    await worker.start();
    onTestFinished(() => worker.stop({ graceMs: 0 }));
    await Promise.all([doomed, flaky].map((task) => client.wait(task)));
    for await (const task of client.list({ type: "send" })) await client.wait(task.id);

    const text = await (await scrape()).text();
    const after = readExposition(text);
    expect(valueOf(after, "workers_active")).toBe(1);
    expect(valueOf(after, "tasks_processed_total", ended("send", "completed"))).toBe(3);
    expect(valueOf(after, "tasks_processed_total", ended("doomed", "failed"))).toBe(1);
    expect(valueOf(after, "tasks_processed_total", ended("flaky", "completed"))).toBe(1);
    expect(valueOf(after, "task_retries_total", { type: "flaky" })).toBe(1);
    expect(valueOf(after, "task_retries_total", { type: "send" })).toBeUndefined();
    expect(valueOf(after, "task_duration_seconds_count", { type: "flaky" })).toBe(2);
    expect(valueOf(after, "drover_queue_latency_seconds_count", { queue: "default" })).toBe(6);
    expect(valueOf(after, "drover_dispatch_latency_seconds_count")).toBe(6);

    const promtool = findPromtool();
    if (promtool) {
      const checked = spawnSync(promtool, ["check", "metrics"], { input: text, encoding: "utf8" });
      expect(`${checked.stdout}${checked.stderr}`).toBe("");
      expect(checked.status).toBe(0);
    }
    await worker.stop({ graceMs: 0 });
    await server.stop("seen enough");
  });

  it("shows the same queue size on every coordinator, and sessions where they are", async () => {
    const store = createMemoryStore({ clock: systemClock, random: systemRandom, partitions: 1 });
    const broker = () => createMemoryBroker({ clock: systemClock, random: systemRandom, store });
    const first = await startServer({ broker: broker() });
    const second = await startServer({ broker: broker() });
    await first.client.submit("send", null, { priority: 3 });
    const critical = { queue: "default", priority: "critical" };
    expect(valueOf(await first.read(), "queue_size", critical)).toBe(1);
    expect(valueOf(await second.read(), "queue_size", critical)).toBe(1);

    const worker = createWorker({ address: second.address, logger: quietLogger });
    worker.handle("other", () => null);
    await worker.start();
    expect(valueOf(await first.read(), "workers_active")).toBe(0);
    expect(valueOf(await second.read(), "workers_active")).toBe(1);
    await worker.stop({ graceMs: 0 });
    await expect.poll(async () => valueOf(await second.read(), "workers_active")).toBe(0);
  });

  it("asks the broker once a second at most, and leaves out what it does not know", async () => {
    const clock = createManualClock();
    let asked = 0;
    const broker = {
      available: true,
      counts: async () => {
        asked += 1;
        return [{ queue: "q", priority: 0, status: "pending", tasks: asked }];
      },
    };
    const history = { available: true, queues: async () => [] };
    const metrics = createMetrics({
      events: createEvents(),
      clock,
      broker,
      history,
      recorder: { bytes: 7 },
    });
    onTestFinished(() => metrics.stop());
    const size = async () =>
      valueOf(readExposition(await metrics.text()), "queue_size", { queue: "q", priority: "low" });
    expect(await Promise.all([size(), size(), size()])).toEqual([1, 1, 1]);
    await clock.advance(999);
    expect(await size()).toBe(1);
    await clock.advance(2);
    expect(await size()).toBe(2);
    broker.available = false;
    await clock.advance(1_001);
    expect(await size()).toBeUndefined();
    expect(await metrics.text()).toContain("# TYPE queue_size gauge\n");
  });

  it("answers though a store does not", async () => {
    const clock = createManualClock();
    const never = () => new Promise<never>(() => undefined);
    const metrics = createMetrics({
      events: createEvents(),
      clock,
      broker: { available: true, counts: never },
      history: { available: true, queues: never },
      recorder: { bytes: 0 },
    });
    onTestFinished(() => metrics.stop());
    const text = metrics.text();
    await clock.advance(1_500);
    expect(readExposition(await text).get("queue_size")?.points).toEqual([]);
  });
});

describe("time series are bounded", () => {
  it("counts types beyond a thousand under other", async () => {
    const events = createEvents();
    const metrics = createMetrics({
      events,
      clock: createManualClock(),
      broker: { available: true, counts: async () => [] },
      history: { available: true, queues: async () => [] },
      recorder: { bytes: 0 },
    });
    onTestFinished(() => metrics.stop());
    for (let n = 0; n < 3_000; n += 1) {
      events.emit("task.submitted", {
        namespace: "default",
        queue: "default",
        type: `t${n}`,
        priority: 1,
        taskId: "",
        traceContext: {},
        tookMs: 0,
      });
    }
    const families = readExposition(await metrics.text());
    const points = families.get("tasks_submitted_total")!.points;
    expect(points.length).toBe(1_001 * 4);
    const others = { type: "other", priority: "medium" };
    expect(valueOf(families, "tasks_submitted_total", others)).toBe(2_000);
  });
});

describe("the text format", () => {
  it("escapes what labels and help may hold", () => {
    const odd = 'a"b\\c\nd';
    const metric: Metric = {
      name: "x",
      help: odd,
      kind: "gauge",
      *samples() {
        yield { labels: { odd }, value: 1 };
      },
    };
    const text = exposition([metric]);
    expect(text).toBe('# HELP x a"b\\\\c\\nd\n# TYPE x gauge\nx{odd="a\\"b\\\\c\\nd"} 1\n');
    expect(valueOf(readExposition(text), "x", { odd })).toBe(1);
  });

  it("writes buckets that add up", () => {
    const histogram = new Histogram({ name: "x", help: "x", bounds: [0.1, 1], label: "type" });
    for (const value of [0.1, 0.2, 5]) histogram.observe(value, "t");
    const families = readExposition(exposition([histogram]));
    const bucket = (le: string) => valueOf(families, "x_bucket", { type: "t", le });
    expect([bucket("0.1"), bucket("1"), bucket("+Inf")]).toEqual([1, 2, 3]);
    expect(valueOf(families, "x_sum", { type: "t" })).toBeCloseTo(5.3);
  });

  it("is read strictly by the test's own reader", () => {
    const table = new CounterTable({ name: "x_total", help: "x", row: "type" });
    table.add("t");
    const good = exposition([table]);
    expect(valueOf(readExposition(good), "x_total", { type: "t" })).toBe(1);
    const twice = good + good;
    expect(() => readExposition(good.trimEnd())).toThrow("does not end");
    expect(() => readExposition(twice)).toThrow("twice");
    expect(() => readExposition(good.replace("_total", ""))).toThrow("TYPE without");
    expect(() => readExposition(good.replace('"t"', "t"))).toThrow("odd labels");
    expect(() => readExposition(good.replace(" 1\n", " one\n"))).toThrow("no number");
  });
});
