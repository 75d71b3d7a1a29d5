import { execFileSync } from "node:child_process";
import { Writable } from "node:stream";
import { pino } from "pino";
import { describe, expect, it, onTestFinished } from "vitest";
import { createClient } from "../../src/client/index.js";
import { loadConfig } from "../../src/config.js";
import { createServer } from "../../src/server.js";
import { wantedExport } from "../../src/telemetry/export.js";
import { createWorker } from "../../src/worker/index.js";
import { eagerRandom } from "../support/worker-kit.js";

const canary = "canary-8c21e0";

/** A coordinator that logs everything, to a string. */
async function startServer() {
  const lines: string[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString("utf8"));
      done();
    },
  });
  const flags = { http_port: 0, grpc_port: 0, broker: "memory", history: "memory" };
  const logger = pino({ level: "trace" }, sink);
  const server = createServer(loadConfig({ env: {}, flags }), { logger });
  await server.start();
  onTestFinished(() => server.stop("the end of a test"));
  const http = `http://127.0.0.1:${server.httpPort}`;
  return { address: `127.0.0.1:${server.grpcPort}`, http, lines };
}

const submit = async (http: string, task: unknown, headers: Record<string, string> = {}) => {
  const reply = await fetch(`${http}/api/v1/tasks`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: typeof task === "string" ? task : JSON.stringify(task),
  });
  return { ok: reply.ok, text: await reply.text() };
};

describe("payloads and results", () => {
  it("stand in no log, figure or error, whatever becomes of the task", async () => {
    const { address, http, lines } = await startServer();
    const said: string[] = [];
    const note = (fields: object, message: string) =>
      void said.push(`${message} ${JSON.stringify(fields)}`);
    const logger = { debug: note, info: note, warn: note, error: note };
    const worker = createWorker({ address, logger, random: eagerRandom });
    worker.handle("echo", (payload) => payload);
    worker.handle("quote", (payload) => {
      throw new Error(`cannot take ${JSON.stringify(payload)}`);
    });
    worker.handle("huge", (payload) => [payload, "x".repeat(300_000)]);
    worker.handle("odd", () => ({ [canary]: 1n }));
    await worker.start();
    onTestFinished(() => worker.stop({ graceMs: 0 }));
    const client = createClient({ address });
    onTestFinished(() => client.close({ graceMs: 0 }));
    for (const type of ["echo", "quote", "huge", "odd"]) {
      const task = await client.submit(type, { canary }, { maxRetries: 0 });
      const ended = await client.wait(task);
      expect(ended.status).toBe(type === "echo" ? "completed" : "failed");
    }
    const known = { type: "later", payload: canary, delay: "60s", idempotency_key: "k" };
    expect((await submit(http, known)).ok).toBe(true);
    const refused = [
      { ...known, payload: [canary] },
      { type: "echo", payload: canary, queue: "a b" },
      { type: "echo", payload: canary.repeat(30_000) },
      { type: "echo", payload: { [canary]: canary }, payload_blob: { data: "!" } },
      `{"type":"echo","payload":{"a":"${canary}"`,
      `{"type":"echo","payload":${canary}}`,
    ];
    const errors: string[] = [];
    for (const task of refused) {
      const { ok, text } = await submit(http, task);
      expect(ok).toBe(false);
      errors.push(text);
    }
    const scrape = await (await fetch(`${http}/metrics`)).text();
    expect(lines.length).toBeGreaterThan(10);
    expect([...lines, ...said, ...errors, scrape].filter((text) => text.includes(canary))).toEqual(
      [],
    );
  });
});

describe("trace ids in logs", () => {
  const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
  const traceparent = `00-${traceId}-00f067aa0ba902b7-01`;

  it.each([
    ["the task's own context", { trace_context: { traceparent } }, {}],
    ["the headers of the call", {}, { traceparent, tracestate: "a=b" }],
  ])("come from %s", async (_, fields, headers) => {
    const { http, lines } = await startServer();
    const { text } = await submit(http, { type: "echo", ...fields }, headers);
    const { task_id: taskId } = JSON.parse(text) as { task_id: string };
    const line = lines.find((candidate) => candidate.includes("task.submitted"))!;
    expect(JSON.parse(line)).toMatchObject({ taskId, trace_id: traceId });
    const stored = await (await fetch(`${http}/api/v1/tasks/${taskId}`)).json();
    expect((stored as { trace_context: object }).trace_context).toMatchObject({ traceparent });
  });

  it("are left out for what names no trace", async () => {
    const { http, lines } = await startServer();
    await submit(http, { type: "echo" }, { traceparent: `${traceparent.slice(0, 50)}!` });
    const line = lines.find((candidate) => candidate.includes("task.submitted"))!;
    expect(JSON.parse(line)).not.toHaveProperty("trace_id");
  });
});

describe("without OpenTelemetry's variables", () => {
  it("nothing of it is loaded by coordinator, worker or client", () => {
    const script = `
      import { createRequire } from "node:module";
      import { createServer } from "./dist/server.js";
      import { loadConfig } from "./dist/config.js";
      import { createClient } from "drover/client";
      import { createWorker } from "drover/worker";
      const { cache } = createRequire(import.meta.url);
      const loaded = () => Object.keys(cache).some((file) => file.includes("@opentelemetry"));
      const flags = { http_port: 0, grpc_port: 0, broker: "memory", history: "memory",
        log_level: "silent" };
      const server = createServer(loadConfig({ env: {}, flags }));
      await server.start();
      const address = "127.0.0.1:" + server.grpcPort;
      const client = createClient({ address });
      const worker = createWorker({ address });
      worker.handle("echo", (payload) => payload);
      await worker.start();
      await client.wait(await client.submit("echo", 1));
      const before = loaded();
      await worker.stop();
      await client.close();
      await server.stop("done");
      await import("@opentelemetry/api");
      process.stdout.write(JSON.stringify({ before, after: loaded() }));
    `;
    const args = ["--input-type=module", "--eval", script];
    const env = { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "" };
    const said = execFileSync(process.execPath, args, { env, encoding: "utf8" });
    // The second look shows that the first one could have seen it.
    expect(JSON.parse(said)).toEqual({ before: false, after: true });
  }, 60_000);

  it.each([
    [{}, false, false],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4318" }, true, true],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://c:4318/v1/traces" }, true, false],
    [{ OTEL_TRACES_EXPORTER: "console" }, true, false],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4318", OTEL_METRICS_EXPORTER: "none" }, true, false],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4318", OTEL_SDK_DISABLED: "true" }, false, false],
  ])("%j exports traces: %s, metrics: %s", (env, traces, metrics) => {
    expect(wantedExport(env)).toEqual({ traces, metrics });
  });
});
