import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import {
  type OtlpReceiver,
  type ReceivedSpan,
  startOtlpReceiver,
} from "../support/otlp-receiver.js";

// Each test waits for several processes.
vi.setConfig({ testTimeout: 60_000 });

const children = new Set<ChildProcess>();
afterEach(() => {
  for (const child of children) child.kill("SIGKILL");
});

interface Running {
  readonly child: ChildProcess;
  /** Everything it said. */
  readonly lines: string[];
  /** The first line that holds this, said already or to come. */
  says(text: string): Promise<string>;
  stop(): Promise<number | null>;
}

/** A process of its own, from the build. */
function launch(args: readonly string[], env: Record<string, string>): Running {
  const clean = { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "" };
  const child = spawn(process.execPath, args, {
    env: { ...clean, ...env },
  });
  children.add(child);
  const exited = once(child, "exit") as Promise<[number | null]>;
  void exited.then(() => children.delete(child));
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  for (const stream of [child.stdout!, child.stderr!]) {
    createInterface({ input: stream }).on("line", (line) => {
      lines.push(line);
      for (const look of waiting) look();
    });
  }
  return {
    child,
    lines,
    says: (text) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const line = lines.find((candidate) => candidate.includes(text));
          if (line !== undefined) resolve(line);
        };
        waiting.add(look);
        void exited.then(() =>
          reject(new Error(`it ended without "${text}":\n${lines.join("\n")}`)),
        );
        look();
      }),
    async stop() {
      child.kill("SIGTERM");
      return (await exited)[0];
    },
  };
}

async function serve(
  env: Record<string, string>,
): Promise<Running & { grpc: string; http: string }> {
  const memory = { DROVER_BROKER: "memory", DROVER_HISTORY: "memory", PORT: "0", GRPC_PORT: "0" };
  const server = launch(["dist/main.js", "serve", "--log-level", "trace"], { ...memory, ...env });
  const line = await server.says('"server.started"');
  const { grpcPort, httpPort } = JSON.parse(line) as { grpcPort: number; httpPort: number };
  return { ...server, grpc: `127.0.0.1:${grpcPort}`, http: `http://127.0.0.1:${httpPort}` };
}

const exporting = ({ url }: { readonly url: string }): Record<string, string> => ({
  OTEL_EXPORTER_OTLP_ENDPOINT: url,
  OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
});

interface Seen {
  readonly receiver: OtlpReceiver;
  readonly server: Running;
  readonly worker: Running;
  readonly taskId: string;
  readonly scrape: string;
}

/** Producer, coordinator and worker, each in a process of its own; all have ended. */
async function runTraced(payload: string): Promise<Seen> {
  const receiver = await startOtlpReceiver();
  onTestFinished(() => receiver.stop());
  const env = exporting(receiver);
  const server = await serve(env);
  const worker = launch(["dist/main.js", "worker", "--handlers", "dist/test/traced/handlers"], {
    ...env,
    DROVER_ADDR: server.grpc,
  });
  const producer = launch(["dist/test/traced/producer.js"], {
    ...env,
    OTEL_SERVICE_NAME: "shop",
    OTEL_METRICS_EXPORTER: "none",
    OTEL_LOGS_EXPORTER: "none",
    DROVER_ADDR: server.grpc,
    TRACED_PAYLOAD: payload,
  });
  const said = JSON.parse(await producer.says("taskId")) as { taskId: string; status: string };
  expect(said.status).toBe("completed");
  const scrape = await (await fetch(`${server.http}/metrics`)).text();
  expect(await worker.stop()).toBe(0);
  expect(await server.stop()).toBe(0);
  return { receiver, server, worker, taskId: said.taskId, scrape };
}

describe("three processes", () => {
  it("show a task as one trace, retries linked, and tell nobody its payload", async () => {
    const canary = "canary-4f1d9b";
    const { receiver, server, worker, taskId, scrape } = await runTraced(canary);
    const { spans } = receiver;
    const named = (service: string, name: string, attempt?: number): ReceivedSpan => {
      const found = spans.filter(
        (span) =>
          span.service === service &&
          span.name === name &&
          (attempt === undefined || span.attributes["drover.task.attempt"] === attempt),
      );
      expect(found.map((span) => span.name)).toEqual([name]);
      return found[0]!;
    };
    const checkout = named("shop", "checkout");
    const submit = named("drover-coordinator", "submit report");
    const waits = [1, 2].map((n) => named("drover-coordinator", "wait report", n));
    const settles = [1, 2].map((n) => named("drover-coordinator", "settle report", n));
    const runs = [1, 2].map((n) => named("drover-worker", "process report", n));
    const queries = spans.filter(({ name }) => name === "query");

    expect(new Set(spans.map(({ traceId }) => traceId))).toEqual(new Set([checkout.traceId]));
    expect(spans.length).toBe(10);
    expect(checkout.parentId).toBe("");
    expect(submit.parentId).toBe(checkout.spanId);
    expect(waits.map(({ parentId }) => parentId)).toEqual([submit.spanId, submit.spanId]);
    expect(runs.map(({ parentId }) => parentId)).toEqual(waits.map(({ spanId }) => spanId));
    expect(settles.map(({ parentId }) => parentId)).toEqual(waits.map(({ spanId }) => spanId));
    expect(new Set(queries.map(({ parentId }) => parentId))).toEqual(
      new Set(runs.map(({ spanId }) => spanId)),
    );

    const first = [{ traceId: checkout.traceId, spanId: settles[0]!.spanId }];
    expect([waits[0]!.links, runs[0]!.links]).toEqual([[], []]);
    expect([waits[1]!.links, runs[1]!.links]).toEqual([first, first]);
    expect(settles.map(({ failed }) => failed)).toEqual([true, false]);
    expect(runs.map(({ failed }) => failed)).toEqual([true, false]);
    expect(runs[0]!.attributes["error.type"]).toBe("handler_error");
    expect(settles[1]!.attributes["drover.task.status"]).toBe("completed");
    for (const span of [submit, ...waits, ...runs, ...settles]) {
      expect(span.attributes["messaging.message.id"]).toBe(taskId);
      expect(span.end >= span.start).toBe(true);
    }

    const counted = receiver.metrics.filter(({ name }) => name === "tasks_processed_total").at(-1);
    expect(counted?.points).toContainEqual({
      attributes: { type: "report", status: "completed" },
      value: 1,
    });
    const durations = receiver.metrics.filter(({ name }) => name === "task_duration_seconds");
    expect(durations.at(-1)?.points.map(({ value }) => value)).toEqual([2]);

    const lines = server.lines.filter((line) => line.includes(taskId));
    expect(lines.length).toBeGreaterThan(4);
    expect(lines.filter((line) => !line.includes(`"trace_id":"${checkout.traceId}"`))).toEqual([]);
    const handled = worker.lines.filter((line) => line.includes("reporting"));
    expect(handled.length).toBe(2);
    expect(handled.every((line) => line.includes(checkout.traceId))).toBe(true);

    expect(scrape).toContain('tasks_processed_total{type="report",status="completed"} 1\n');
    const everything = [...server.lines, ...worker.lines, ...receiver.texts, scrape].join("\n");
    expect(everything).not.toContain(canary);
  });

  it("begin the trace at the coordinator, under the task's id, when the producer has none", async () => {
    const receiver = await startOtlpReceiver();
    onTestFinished(() => receiver.stop());
    const server = await serve(exporting(receiver));
    const reply = await fetch(`${server.http}/api/v1/tasks`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ type: "report", payload: {} }),
    });
    const { task_id: taskId } = (await reply.json()) as { task_id: string };
    await fetch(`${server.http}/api/v1/tasks/${taskId}`, { method: "DELETE" });
    expect(await server.stop()).toBe(0);
    const [submit, settle] = receiver.spans;
    expect(receiver.spans.map(({ name }) => name)).toEqual(["submit report", "settle report"]);
    expect(submit).toMatchObject({ parentId: "", traceId: taskId.replaceAll("-", "") });
    expect(settle).toMatchObject({ parentId: submit!.spanId, traceId: submit!.traceId });
  });
});

describe("a collector that is away", () => {
  it("that never answers holds up neither tasks nor the end", async () => {
    const silent = createServer();
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void silent.close());
    const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
    const server = await serve({ ...exporting({ url }), OTEL_BSP_SCHEDULE_DELAY: "10" });
    const submitted = await fetch(`${server.http}/api/v1/tasks`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ type: "report", payload: {} }),
    });
    expect(submitted.ok).toBe(true);
    await server.says("telemetry was not exported");
    const stopped = performance.now();
    expect(await server.stop()).toBe(0);
    expect(performance.now() - stopped).toBeLessThan(8_000);
  });
});
