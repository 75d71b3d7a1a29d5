import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ResultStatus, TaskService, WorkerService } from "../../gen/drover/v1/task_pb.js";
import { explain } from "../../src/cli/exit.js";
import { loadConfig } from "../../src/config.js";
import { createServer, type Server } from "../../src/server.js";
import { RawClient } from "./grpc-client.js";
import { memoryFlags } from "../support/memory-flags.js";

/** The doors on the real coordinator, with stores in memory. */
let server: Server;
let client: RawClient;
let url: string;
beforeAll(async () => {
  server = createServer(loadConfig({ env: {}, flags: memoryFlags }));
  await server.start();
  client = new RawClient(`127.0.0.1:${server.grpcPort}`);
  url = `http://127.0.0.1:${server.httpPort}`;
});
afterAll(async () => {
  client.close();
  await server.stop("the end of a test");
});

async function call(verb: string, path: string, body?: unknown) {
  const init = body === undefined ? {} : { body: JSON.stringify(body) };
  const reply = await fetch(url + path, { method: verb, ...init });
  return { status: reply.status, json: (await reply.json()) as Record<string, unknown> };
}

describe("the main way, by hand", () => {
  it("a task posted over REST is leased over the stream, settled and shown with its result", async () => {
    const payload = { recipient: "user@example.com", subject: "Hello World" };
    const body = { type: "send_email", priority: 2, payload, max_retries: 3 };
    const { json } = await call("POST", "/api/v1/tasks", body);
    expect(json).toEqual({ task_id: expect.any(String), status: "submitted" });
    const id = json.task_id as string;

    const stream = client.bidi(WorkerService.method.work);
    stream.send({
      hello: {
        workerId: "by-hand",
        sessionId: "0190aaaa-0000-7000-8000-00000000000a",
        generation: 1n,
        offer: { slots: 1, subscriptions: [{ types: ["send_email"] }] },
      },
    });
    let frame = await stream.next();
    expect(frame.welcome).toMatchObject({ coordinatorId: server.coordinatorId });
    while (frame.leases.length === 0) frame = await stream.next();
    const [lease] = frame.leases;
    expect(lease!.task).toMatchObject({ id, type: "send_email", attempt: 1, priority: 2 });
    expect(lease!.task!.payload?.kind.case).toBe("structValue");

    const data = Buffer.from('{"sent":true}');
    stream.send({
      results: [
        {
          leaseToken: lease!.leaseToken,
          outcome: {
            case: "success",
            value: { resultBlob: { contentType: "application/json", data } },
          },
        },
      ],
    });
    while (frame.acks.length === 0) frame = await stream.next();
    expect(frame.acks[0]).toMatchObject({ status: ResultStatus.ACCEPTED });
    const shown = await call("GET", `/api/v1/tasks/${id}`);
    expect(shown.json).toMatchObject({
      status: "completed",
      payload,
      result: { sent: true },
      attempt: 1,
      retry_count: 0,
      worker_id: "by-hand",
    });
    expect((await call("DELETE", `/api/v1/tasks/${id}`)).status).toBe(409);
    const attempts = await call("GET", `/api/v1/tasks/${id}/attempts`);
    expect(attempts.json).toMatchObject({ attempts: [{ attempt: 1, outcome: "completed" }] });
    stream.send({ leaving: true });
    stream.end();
    await stream.status();
  });

  it("a task takes the place of one that waits with its unique key, and says so", async () => {
    const holder = { type: "nobody", unique_key: "u", unique: { on_conflict: "replace" } };
    const first = await call("POST", "/api/v1/tasks", holder);
    const second = await call("POST", "/api/v1/tasks", { ...holder, payload: { v: 2 } });
    expect([first.json.status, second.json.status]).toEqual(["submitted", "replaced"]);
    const gone = await call("GET", `/api/v1/tasks/${first.json.task_id as string}`);
    expect(gone.json).toMatchObject({
      status: "cancelled",
      cancellation: { reason: expect.stringContaining(second.json.task_id as string) as string },
    });
    const unique = { on_conflict: "debounce", scope: "until_started" };
    const open = await call("POST", "/api/v1/tasks", { ...holder, unique });
    expect(open).toMatchObject({ status: 400, json: { error: { field: "task.unique.window" } } });
    const quiet = { ...holder, unique: { ...unique, window: "600s" } };
    const third = await call("POST", "/api/v1/tasks", quiet);
    expect(third.json.status).toBe("debounced");
    const shown = await call("GET", `/api/v1/tasks/${third.json.task_id as string}`);
    expect(shown.json).toMatchObject({ status: "scheduled" });
    const { created_at: from, run_at: to } = shown.json as Record<string, string>;
    expect(Date.parse(to!) - Date.parse(from!)).toBe(600_000);
    await call("DELETE", `/api/v1/tasks/${third.json.task_id as string}`);
  });

  it("the same key gives the same task, another task under it is 409", async () => {
    const task = { type: "nobody", payload: { a: 1, b: 2 }, idempotency_key: "k" };
    const first = await call("POST", "/api/v1/tasks", task);
    const again = { ...task, payload: { b: 2, a: 1 } };
    expect(await call("POST", "/api/v1/tasks", again)).toMatchObject({
      status: 200,
      json: { task_id: first.json.task_id, status: "existing" },
    });
    const other = await call("POST", "/api/v1/tasks", { ...task, payload: { a: 2 } });
    expect(other).toMatchObject({
      status: 409,
      json: { error: { code: "idempotency_conflict", field: "task.idempotency_key" } },
    });
    const id = first.json.task_id as string;
    expect((await call("DELETE", `/api/v1/tasks/${id}`)).json).toMatchObject({
      status: "cancelled",
    });
    expect((await call("DELETE", `/api/v1/tasks/${id}`)).status).toBe(200);
    expect((await call("POST", `/api/v1/tasks/${id}:retry`)).json).toMatchObject({
      status: "pending",
      run: 2,
      pending_reason: "no_worker",
    });
  });

  it("counts, queues and workers are there to read", async () => {
    expect((await call("GET", "/api/v1/stats")).json).toMatchObject({ completed: 1 });
    const queue = await call("PATCH", "/api/v1/queues/mail", { paused: true });
    expect(queue).toMatchObject({ status: 200, json: { name: "mail", paused: true } });
    const queues = await call("GET", "/api/v1/queues");
    const names = (queues.json.queues as { name: string }[]).map((it) => it.name);
    expect(names).toEqual(expect.arrayContaining(["default", "mail"]));
    expect((await call("GET", "/api/v1/workers")).json).toMatchObject({ next_page_token: "" });
    expect(await call("GET", "/ready")).toMatchObject({ status: 200 });
  });

  it("a submit over the stream can be waited for", async () => {
    const stream = client.bidi(TaskService.method.submitStream);
    stream.send({ items: [{ number: 1, task: { type: "nobody", delay: { seconds: 60n } } }] });
    const { outcomes } = await stream.next();
    const taskId = outcomes[0]!.outcome!.taskId;
    const wait = TaskService.method.waitTask;
    const waited = await client.unary(wait, { taskId, timeout: { nanos: 1_000_000 } });
    expect(waited).toMatchObject({ finished: false, task: { id: taskId } });
    stream.end();
    await stream.status();
  });
});

it("says what to mend where Postgres is not there at the start", async () => {
  const env = { DATABASE_URL: "postgres://127.0.0.1:1/nothing" };
  const flags = { ...memoryFlags, history: "postgres" as const };
  const lost = createServer(loadConfig({ env, flags }));
  const error = await lost.start().catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ id: "history_unavailable" });
  expect(explain(error, {})).toContain("Start Postgres, or mend database_url.");
  await lost.stop("the end of a test");
});
