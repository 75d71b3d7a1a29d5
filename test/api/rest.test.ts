import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { DroverError } from "../../src/errors.js";
import { openDoors, type Doors } from "./doors.js";

let doors: Doors;
beforeAll(async () => {
  doors = await openDoors();
});
afterAll(() => doors.stop());
beforeEach(() => {
  doors.coordinator.tasks.clear();
  doors.coordinator.refusal = undefined;
});

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const sample = {
  type: "send_email",
  priority: 2,
  payload: {
    recipient: "user@example.com",
    subject: "Hello World",
    body: "This is a test email",
  },
  max_retries: 3,
};

interface Answer {
  readonly status: number;
  readonly json: Record<string, unknown>;
  readonly text: string;
  readonly headers: Headers;
}

async function call(verb: string, path: string, body?: unknown): Promise<Answer> {
  const given = typeof body === "string" || body === undefined ? body : JSON.stringify(body);
  const init = given === undefined ? {} : { body: given };
  const reply = await fetch(doors.url + path, { method: verb, ...init });
  const text = await reply.text();
  const json = JSON.parse(text) as Record<string, unknown>;
  return { status: reply.status, json, text, headers: reply.headers };
}

const errorOf = ({ json }: Answer) => json.error as Record<string, string>;

async function submitted(change: Record<string, unknown> = {}): Promise<string> {
  const { json } = await call("POST", "/api/v1/tasks", { ...sample, ...change });
  return json.task_id as string;
}

describe("the samples of the contract, word for word", () => {
  it("a submitted task answers its id and `submitted`", async () => {
    const { status, json } = await call("POST", "/api/v1/tasks", sample);
    expect(status).toBe(200);
    expect(json).toEqual({ task_id: expect.stringMatching(uuid), status: "submitted" });
  });

  it("a finished task is shown with its payload, result and times", async () => {
    const id = await submitted();
    doors.coordinator.change(id, {
      status: "completed",
      startedAt: Date.UTC(2026, 0, 2, 3, 4, 5, 6),
      completedAt: Date.UTC(2026, 0, 2, 3, 4, 6),
      workerId: "worker-1",
      result: { contentType: "application/json", data: Buffer.from('{"sent": true}') },
    });
    const { status, json } = await call("GET", `/api/v1/tasks/${id}`);
    expect(status).toBe(200);
    expect(json).toMatchObject({
      id,
      type: "send_email",
      priority: 2,
      status: "completed",
      payload: sample.payload,
      max_retries: 3,
      retry_count: 0,
      created_at: "2026-11-22T08:30:00.000Z",
      started_at: "2026-01-02T03:04:05.006Z",
      completed_at: "2026-01-02T03:04:06.000Z",
      worker_id: "worker-1",
      result: { sent: true },
      error: null,
      version: 1,
    });
    expect(json).not.toHaveProperty("payload_blob");
    expect(json).not.toHaveProperty("result_blob");
  });

  it("a waiting task has a null result and null times", async () => {
    const { json } = await call("GET", `/api/v1/tasks/${await submitted()}`);
    expect(json).toMatchObject({ status: "pending", result: null, started_at: null, attempt: 0 });
    expect(json).toMatchObject({ tags: [], required_labels: {}, pending_reason: null });
    expect(json).toMatchObject({ timeout: "900s", retention: "604800s" });
    expect(json.retry_policy).toMatchObject({ initial_backoff: "1s", multiplier: 2, jitter: 0.2 });
  });

  it("a list takes filters, and empty parameters count as unset", async () => {
    const id = await submitted();
    doors.coordinator.change(id, { status: "failed" });
    await submitted();
    const path = "/api/v1/tasks?status=failed&type=&queue=&page_size=&page_token=";
    const { status, json } = await call("GET", path);
    expect(status).toBe(200);
    expect(json).toMatchObject({ tasks: [{ id, status: "failed" }], next_page_token: "" });
  });

  it("stats are plain numbers", async () => {
    await submitted();
    doors.coordinator.change(await submitted(), { status: "running" });
    const { json } = await call("GET", "/api/v1/stats");
    expect(json).toMatchObject({ pending: 1, processing: 1, completed: 0, failed: 0, workers: 0 });
  });

  it("POST /task answers a message and the id", async () => {
    const { status, json } = await call("POST", "/task", sample);
    expect(status).toBe(200);
    expect(json).toEqual({ message: "Task enqueued", id: expect.stringMatching(uuid) });
    expect(Object.keys(json)).toEqual(["message", "id"]);
  });

  it("DELETE cancels; again is 200; a task that ended otherwise is 409 with its status", async () => {
    const id = await submitted();
    const first = await call("DELETE", `/api/v1/tasks/${id}`);
    expect([first.status, first.json.status]).toEqual([200, "cancelled"]);
    expect((await call("DELETE", `/api/v1/tasks/${id}`)).status).toBe(200);
    doors.coordinator.change(id, { status: "completed" });
    const late = await call("DELETE", `/api/v1/tasks/${id}`);
    expect(late.status).toBe(409);
    expect(errorOf(late)).toMatchObject({ code: "task_already_final", status: "completed" });
    expect(errorOf(late).message).toContain("completed");
  });

  it("health answers while the process lives, ready says why not", async () => {
    expect(await call("GET", "/health")).toMatchObject({ status: 200 });
    expect(await call("GET", "/ready")).toMatchObject({ status: 200 });
    expect((await call("GET", "/ready")).json).toEqual({ status: "ready" });
    doors.coordinator.trouble = "the broker does not answer";
    const degraded = await call("GET", "/ready");
    expect(degraded).toMatchObject({
      status: 200,
      json: { degraded: "the broker does not answer" },
    });
    doors.coordinator.trouble = undefined;
    doors.coordinator.reason = "history does not answer";
    const reply = await call("GET", "/ready");
    expect(reply).toMatchObject({ status: 503, json: { reason: "history does not answer" } });
    expect(await call("GET", "/health")).toMatchObject({ status: 200 });
    doors.coordinator.reason = undefined;
  });
});

describe("input", () => {
  it("canonical proto JSON is taken as well", async () => {
    const { status } = await call("POST", "/api/v1/tasks", {
      type: "send_email",
      maxRetries: "3",
      runAt: "2026-11-23T08:30:00.5+01:00",
      requiredLabels: { region: "eu" },
      retryPolicy: { initialBackoff: "0.25s", nonRetryableCodes: ["bad"] },
      payloadBlob: { contentType: "application/json", data: "eyJhIjoxfQ" },
    });
    expect(status).toBe(200);
    const [task] = [...doors.coordinator.tasks.values()];
    expect(task).toMatchObject({
      maxRetries: 3,
      runAt: Date.UTC(2026, 10, 23, 7, 30, 0, 500),
      requiredLabels: { region: "eu" },
      retry: { initialBackoffMs: 250, maxBackoffMs: 600_000, nonRetryableCodes: ["bad"] },
    });
    const { json } = await call("GET", `/api/v1/tasks/${task!.id}`);
    expect(json).toMatchObject({ payload: { a: 1 }, run_at: "2026-11-23T07:30:00.500Z" });
  });

  it.each([
    ["priorty", { priorty: 1 }, "task.priorty", "Did you mean priority?"],
    ["a value of the wrong type", { priority: "high" }, "task.priority", ""],
    ["a priority that is none", { priority: 7 }, "task.priority", ""],
    ["an output-only field", { status: "completed" }, "task.status", "Leave this field out"],
    ["two times", { run_at: "2027-01-01T00:00:00Z", delay: "1s" }, "task.delay", ""],
    ["a time that is none", { run_at: "tomorrow" }, "task.run_at", ""],
    ["a duration that is none", { timeout: 5 }, "task.timeout", ""],
    ["an integer beyond 2^53", { payload: { n: 12 } }, "payload.n", "as a string"],
    [
      "a label that is no name",
      { required_labels: { "a b": "c" } },
      'task.required_labels["a b"]',
      "",
    ],
    ["a type that is no name", { type: "../x" }, "task.type", ""],
  ])("%s is 400 and named", async (_, change, field, hint) => {
    const body = JSON.stringify({ ...sample, ...change }).replace(":12", ":9007199254740993");
    const reply = await call("POST", "/api/v1/tasks", body);
    expect(reply.status).toBe(400);
    expect(errorOf(reply).field).toBe(field);
    expect(errorOf(reply).hint).toContain(hint);
    expect(errorOf(reply).message).toContain(field);
  });

  it.each([
    ["GET", "/api/v1/tasks?stauts=failed", 400, "status"],
    ["GET", "/api/v1/tasks?status=fialed", 400, "failed"],
    ["GET", "/api/v1/tasks?page_size=501", 400, "page_size"],
    ["GET", "/api/v1/tasks?page_size=x", 400, "page_size"],
    ["GET", "/api/v1/tasks/nope", 400, "invalid_id"],
    ["GET", "/api/v1/tasks/00000000-0000-7000-8000-000000000000", 404, "task_not_found"],
    ["GET", "/api/v1/tasks/%ff", 400, "path"],
    ["PUT", "/api/v1/tasks", 405, "POST or GET"],
    ["GET", "/api/v1/nothing", 404, "route_not_found"],
    ["GET", "/api/v1/tasks/", 404, "route_not_found"],
    ["GET", "//evil/api/v1/tasks", 400, "path"],
    ["POST", "/api/v1/tasks?task.type=x", 400, "body"],
  ])("%s %s is %i", async (verb, path, status, said) => {
    const reply = await call(verb, path, verb === "POST" ? sample : undefined);
    expect(reply.status).toBe(status);
    expect(reply.text).toContain(said);
  });

  it("broken JSON is 400, a body over 4 MiB is 413, and the door lives on", async () => {
    expect((await call("POST", "/api/v1/tasks", "{")).status).toBe(400);
    expect((await call("POST", "/api/v1/tasks", "[]")).status).toBe(400);
    const big = await call("POST", "/api/v1/tasks", `{"type":"${"x".repeat(4 << 20)}"}`);
    expect([big.status, errorOf(big).code]).toEqual([413, "message_too_large"]);
    const payload = await call("POST", "/api/v1/tasks", {
      ...sample,
      payload: "x".repeat(300_000),
    });
    expect([payload.status, errorOf(payload).code]).toEqual([400, "payload_too_large"]);
    expect((await call("GET", "/health")).status).toBe(200);
  });

  it("overload is 429 with Retry-After", async () => {
    doors.coordinator.refusal = new DroverError("overloaded", "too much", { retryAfterMs: 1500 });
    const reply = await call("POST", "/api/v1/tasks", sample);
    expect(reply.status).toBe(429);
    expect(reply.headers.get("retry-after")).toBe("2");
  });

  it("a defect tells its cause to the log only", async () => {
    const id = await submitted();
    doors.coordinator.defect = new Error("secret canary");
    const reply = await call("GET", `/api/v1/tasks/${id}`);
    doors.coordinator.defect = undefined;
    expect(reply.status).toBe(500);
    expect(reply.text).not.toContain("canary");
    expect(String(doors.internal.pop())).toContain("canary");
  });
});

const nested = (levels: number): unknown => (levels === 0 ? 1 : { a: nested(levels - 1) });

describe("payloads", () => {
  it.each([
    ["null", null],
    ["a number", 1.5],
    ["text", "häß\u0000 \u{1F600}"],
    ["a list", [1, [2, []], {}]],
    ["keys that JavaScript minds", JSON.parse('{"__proto__":{"x":1},"constructor":2,"":3}')],
    ["20 levels", nested(20)],
    ["64 levels", nested(64)],
  ])("%s comes back as it went in", async (_, payload) => {
    const id = await submitted({ payload });
    const { text } = await call("GET", `/api/v1/tasks/${id}`);
    expect(text).toContain(`"payload":${JSON.stringify(payload)}`);
    expect(({} as Record<string, unknown>).x).toBeUndefined();
  });

  it("65 levels, and 5,000, are refused", async () => {
    const tooDeep = await call("POST", "/api/v1/tasks", { ...sample, payload: nested(65) });
    expect([tooDeep.status, errorOf(tooDeep).field]).toEqual([400, "task.payload"]);
    const body = `{"type":"x","payload":${"[".repeat(5000)}${"]".repeat(5000)}}`;
    expect((await call("POST", "/api/v1/tasks", body)).status).toBe(400);
  });

  it("a number that is not finite is refused", async () => {
    const reply = await call("POST", "/api/v1/tasks", '{"type":"x","payload":[1e999]}');
    expect([reply.status, errorOf(reply).field]).toEqual([400, "task.payload"]);
  });

  it("bytes of a typed client are shown as they are, JSON among them as JSON", async () => {
    const raw = '{ "big": 9007199254740993 }';
    const json = { contentType: "application/json", data: Buffer.from(raw) };
    const id = await submitted();
    doors.coordinator.change(id, {
      payload: json,
      result: { contentType: "image/png", data: Buffer.of(1, 2) },
    });
    const { text } = await call("GET", `/api/v1/tasks/${id}`);
    expect(text).toContain(`"payload":${raw}`);
    expect(text).toContain(
      '"result":null,"result_blob":{"content_type":"image/png","data":"AQI="}',
    );
  });

  it("a payload that does not decode is shown as bytes and never fails the page", async () => {
    const id = await submitted();
    doors.coordinator.change(id, {
      payload: { contentType: "", data: Buffer.of(255, 255) },
      result: { contentType: "application/json", data: Buffer.from("{") },
    });
    await submitted();
    const { status, json } = await call("GET", "/api/v1/tasks");
    expect(status).toBe(200);
    expect((json.tasks as unknown[])[1]).toMatchObject({
      payload: null,
      payload_blob: { content_type: "application/octet-stream", data: "//8=" },
      result: null,
      result_blob: { content_type: "application/json", data: "ew==" },
    });
  });
});

describe("queues", () => {
  it("PATCH changes what is set, and the etag guards it", async () => {
    const path = "/api/v1/queues/mail";
    const first = await call("PATCH", path, { paused: true, retention: "1d" });
    expect(first.status).toBe(200);
    expect(first.json).toMatchObject({
      name: "mail",
      paused: true,
      retention: "86400s",
      etag: "1",
    });
    expect(first.json).toMatchObject({ durability: "durable", max_retries: 3 });
    const stale = await call("PATCH", path, { paused: false, etag: "0" });
    expect([stale.status, errorOf(stale).code]).toEqual([409, "stale_queue"]);
    const cleared = await call("PATCH", `${path}?update_mask=paused,retention`, {});
    expect(cleared.json).toMatchObject({ paused: false, retention: "604800s", etag: "2" });
    expect((await call("PATCH", path, { name: "other", paused: true })).status).toBe(400);
    expect((await call("PATCH", path, {})).status).toBe(400);
  });
});
