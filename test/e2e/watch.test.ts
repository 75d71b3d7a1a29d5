import { describe, expect, it, onTestFinished } from "vitest";
import { createClient, type TaskEvent } from "../../src/client/index.js";
import { loadConfig } from "../../src/config.js";
import { createServer } from "../../src/server.js";
import { createWorker, TaskFailedError } from "../../src/worker/index.js";
import { memoryFlags } from "../support/memory-flags.js";
import { quietLogger } from "../support/worker-kit.js";

async function setUp() {
  const server = createServer(loadConfig({ env: {}, flags: memoryFlags }));
  await server.start();
  onTestFinished(() => server.stop("the end of a test"));
  const address = `127.0.0.1:${server.grpcPort}`;
  const worker = createWorker({ address, logger: quietLogger });
  onTestFinished(() => worker.stop({ graceMs: 0 }));
  const client = createClient({ address });
  onTestFinished(() => client.close({ graceMs: 0 }));
  return { server, worker, client, url: `http://127.0.0.1:${server.httpPort}/api/v1/tasks` };
}

async function all(events: AsyncIterable<TaskEvent>): Promise<TaskEvent[]> {
  const found: TaskEvent[] = [];
  for await (const event of events) found.push(event);
  return found;
}

const words = (events: readonly TaskEvent[]): string[] =>
  events.flatMap((event) => {
    if (event.type === "status") return [`${event.status} ${event.attempt}`];
    if (event.type === "logs") return event.entries.map(({ message }) => message);
    return [`progress ${event.fraction}`];
  });

interface Sse {
  readonly event: string;
  readonly id: string;
  readonly data: Record<string, unknown>;
}

/** The events of a stream, which has to end. */
async function sse(url: string, headers: Record<string, string> = {}): Promise<Sse[]> {
  const reply = await fetch(url, { headers });
  expect(reply.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
  return (await reply.text())
    .split("\n\n")
    .filter((block) => block.startsWith("event: "))
    .map((block) => {
      const fields = block.split("\n").map((line) => line.split(/: (.*)/s).slice(0, 2));
      const {
        event = "",
        id = "",
        data = "{}",
      } = Object.fromEntries(fields) as Partial<Record<string, string>>;
      return { event, id, data: JSON.parse(data) as Record<string, unknown> };
    });
}

describe("a watched task", () => {
  it("tells its statuses, progress and logs to the SDK and over REST alike", async () => {
    const { worker, client, url } = await setUp();
    let goOn = (): void => undefined;
    const going = new Promise<void>((resolve) => (goOn = resolve));
    worker.handle("count", async (_, context) => {
      context.log("info", `attempt ${context.attempt} began`, { nth: context.attempt });
      context.progress(0.5, "half");
      if (context.attempt === 1) throw new TaskFailedError("once more", { retryAfterMs: 1 });
      await going;
      context.log("warn", "nearly done");
      return "done";
    });
    await worker.start();
    const { id } = await client.submit("count", null);
    const watching = all(client.watch(id));
    const started = client.watch(id);
    for await (const event of started) {
      if (event.type === "logs" && event.entries[0]?.attempt === 2) break;
    }
    goOn();
    const events = await watching;
    const said = words(events).filter((word) => !/^(pending 1|progress)/.test(word));
    expect(said).toEqual([
      "pending 0",
      "running 1",
      "attempt 1 began",
      "retrying 1",
      "running 2",
      "attempt 2 began",
      "nearly done",
      "completed 2",
    ]);
    expect(events.at(-1)).toMatchObject({ final: true, task: { result: "done" } });

    const entries = [];
    for await (const entry of client.logs(id, { pageSize: 1 })) entries.push(entry);
    expect(entries.map(({ attempt, sequence, level }) => [attempt, sequence, level])).toEqual([
      [1, 1, "info"],
      [2, 1, "info"],
      [2, 2, "warn"],
    ]);
    expect(entries[0]!.fields).toEqual({ nth: 1 });
    const rest = (await (await fetch(`${url}/${id}/logs?attempt=2`)).json()) as {
      entries: Record<string, unknown>[];
    };
    expect(rest.entries[0]).toMatchObject({ message: "attempt 2 began", fields: { nth: 2 } });

    const streamed = await sse(`${url}/${id}/watch`);
    expect(streamed.at(-1)).toMatchObject({ event: "end" });
    const statuses = streamed.filter(({ event }) => event === "status");
    expect(statuses.at(-1)!.data).toMatchObject({ status: { status: "completed", final: true } });
    const middle = statuses.at(-2)!;
    const resumed = await sse(`${url}/${id}/watch`, { "last-event-id": middle.id });
    expect(resumed).toEqual(streamed.slice(streamed.indexOf(middle) + 1));
    const last = statuses.at(-1)!.id;
    const over = await fetch(`${url}/${id}/watch`, { headers: { "last-event-id": last } });
    expect([over.status, await over.text()]).toEqual([204, ""]);
  });

  it("refuses what cannot be watched, over REST with its status", async () => {
    const { client, url } = await setUp();
    const unknown = "0193b3a0-0000-7000-8000-000000000000";
    expect((await fetch(`${url}/${unknown}/watch`)).status).toBe(404);
    expect((await fetch(`${url}/nonsense/watch`)).status).toBe(400);
    expect((await fetch(`${url}:watch`)).status).toBe(400);
    await expect(all(client.watch(unknown))).rejects.toMatchObject({ id: "task_not_found" });
    await expect(all(client.watch([]))).rejects.toMatchObject({ id: "invalid_field" });
    const { id } = await client.submit("none", null);
    const strange = client.watch(id, { cursor: "nonsense" });
    await expect(all(strange)).rejects.toMatchObject({ id: "invalid_cursor" });
  });

  it("drops what an attempt logs beyond its bound, and says how much", async () => {
    const { worker, client } = await setUp();
    worker.handle("chatty", (_, context) => {
      for (let n = 1; n <= 1_500; n += 1) context.log("debug", `line ${n}`);
      context.log("info", "x".repeat(10_000));
    });
    await worker.start();
    const { id } = await client.submit("chatty", null);
    await client.wait(id);
    const entries = [];
    for await (const entry of client.logs(id, { pageSize: 500 })) entries.push(entry);
    const kept = entries.filter(({ dropped }) => dropped === 0);
    const dropped = entries.reduce((sum, entry) => sum + entry.dropped, 0);
    expect([kept.length, dropped]).toEqual([1_000, 501]);
    expect(kept.map(({ sequence }) => sequence)).toEqual(kept.map((_, n) => n + 1));
  });

  it("hands the last checkpoint to the next attempt", async () => {
    const { worker, client } = await setUp();
    const seen: unknown[] = [];
    worker.handle("steps", async (_, context) => {
      seen.push(context.lastCheckpoint);
      const { step } = (context.lastCheckpoint ?? { step: 0 }) as { step: number };
      await context.checkpoint({ step: step + 1 });
      if (step < 2) throw new TaskFailedError("not yet", { retryAfterMs: 1 });
      await expect(context.checkpoint("x".repeat(300_000))).rejects.toThrow(/at most/);
      await expect(context.checkpoint(1n)).rejects.toThrow(/JSON/);
      return step;
    });
    await worker.start();
    const { id } = await client.submit("steps", null);
    expect(await client.wait(id)).toMatchObject({ status: "completed", result: 2 });
    expect(seen).toEqual([undefined, { step: 1 }, { step: 2 }]);
  });
});
