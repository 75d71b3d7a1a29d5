import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadConfig } from "../../src/config.js";
import { createServer, type Server } from "../../src/server.js";
import { createWorker, type Worker } from "../../src/worker/index.js";
import {
  bodySchema,
  documentText,
  faultsOf,
  operations,
  streams,
  resolved,
  sample,
  type Json,
  type Operation,
} from "./openapi-document.js";
import { memoryFlags } from "../support/memory-flags.js";

/** The document against the real coordinator, with stores in memory. */
let server: Server;
let url: string;
beforeAll(async () => {
  server = createServer(loadConfig({ env: {}, flags: memoryFlags }));
  await server.start();
  url = `http://127.0.0.1:${server.httpPort}`;
  ownSamples["batch_id"] = await newBatch();
});
afterAll(() => server.stop("the end of a test"));

interface Answer {
  readonly status: number;
  readonly json: Json;
}

async function call(verb: string, path: string, body?: unknown): Promise<Answer> {
  const given = typeof body === "string" || body === undefined ? body : JSON.stringify(body);
  const init = given === undefined ? {} : { body: given };
  const reply = await fetch(url + path, { method: verb, ...init });
  return { status: reply.status, json: JSON.parse(await reply.text()) as Json };
}

/** A retry needs a task that has ended, and a wait for one answers at once. */
const endsFirst = new Set(["retryTask", "waitTask"]);

const scheduleName = "nightly-report";

/** Those that act on a schedule need one, and one that makes it none of its name. */
async function schedulePath({ path, operationId }: Operation): Promise<string> {
  await call("DELETE", `/api/v1/schedules/${scheduleName}`);
  if (operationId !== "createSchedule") {
    const made = { name: scheduleName, every: "1h", task: { type: "send_email" } };
    expect((await call("POST", "/api/v1/schedules", made)).status).toBe(200);
  }
  return path.replace("{name}", scheduleName);
}

/** Those that act on a batch need an open one; one that waits, one that is over. */
async function batchPath({ path, operationId }: Operation): Promise<string> {
  const id = await newBatch();
  if (operationId === "waitBatch") await call("POST", `/api/v1/batches/${id}:close`, {});
  return path.replace("{batch_id}", id);
}

async function newBatch(): Promise<string> {
  const { status, json } = await call("POST", "/api/v1/batches", {});
  expect(status).toBe(200);
  return json["id"] as string;
}

/** Those that act on a task need one. */
async function pathOf(operation: Operation): Promise<string> {
  const { path, operationId } = operation;
  if (path.startsWith("/api/v1/batches")) return batchPath(operation);
  if (path.startsWith("/api/v1/schedules")) return schedulePath(operation);
  const given = await call("POST", "/api/v1/tasks", { type: "send_email", queue: "mail" });
  const id = given.json["task_id"] as string;
  if (endsFirst.has(operationId)) await call("DELETE", `/api/v1/tasks/${id}`);
  return path.replace("{task_id}", id).replace("{name}", "mail");
}

/** Values that only the server gives out, or that hold at one moment only. */
const unmakeable = new Set(["page_token", "etag", "start", "end", "at"]);

/** Where the sample of its kind is below its least. */
const ownSamples: Json = {
  catch_up_window: "60s",
  unique: { scope: "for_time", window: "60s", on_conflict: "debounce" },
};
/** Texts that not any text will do for; the examples have them. */
const inExamples = new Set(["cron", "time_zone", "filter"]);
/** What a property stands instead of, and cannot be given beside. */
const apart: Readonly<Record<string, readonly string[]>> = {
  payload_blob: ["payload"],
  every: ["cron", "time_zone"],
  anchor: ["cron", "time_zone"],
  name: ["schedule"],
};
/** What a property cannot be given without. */
const beside: Readonly<Record<string, Json>> = {
  anchor: { every: "1h" },
  unique: { unique_key: "k" },
};

/** An example that the property may be put into. */
function roomFor(name: string, base: Json): Json {
  const without = Object.entries(base).filter(([key]) => !apart[name]?.includes(key));
  return { ...Object.fromEntries(without), ...beside[name] };
}

/** A name in the path is no business of the body. */
function bodyOf(operation: Operation): unknown {
  const schema = bodySchema(operation);
  const body = schema && sample(schema);
  if (operation.verb !== "PUT") return body;
  return { ...(body as Json), name: undefined };
}

function queryOf({ parameters }: Operation): string {
  const query = new URLSearchParams();
  for (const it of parameters) {
    if (it.in === "path" || unmakeable.has(it.name)) continue;
    if (it.name === "schedule") continue;
    query.set(it.name, it.name === "timeout" ? "10ms" : String(sample(it.schema)));
  }
  return query.size === 0 ? "" : `?${query.toString()}`;
}

const named = operations.map((it) => [`${it.verb} ${it.path}`, it] as const);
const withBody = named.filter(([, it]) => it.requestBody);

function expectDocumented(operation: Operation, { status, json }: Answer): void {
  expect(Object.keys(operation.responses)).toContain(String(status));
  expect(faultsOf(operation, status, json)).toEqual([]);
}

/** Refused by the one error shape, as the document says it. */
function expectRefused(operation: Operation, answer: Answer, status = 400): Json {
  expect([answer.status, answer.json]).toEqual([status, { error: expect.any(Object) }]);
  expectDocumented(operation, answer);
  const { code } = answer.json["error"] as Json;
  const { description } = operation.responses[status] as unknown as { description: string };
  expect(description).toContain(`\`${String(code)}\``);
  return answer.json["error"] as Json;
}

describe("the document", () => {
  it("is served as it was generated", async () => {
    const { status, json } = await call("GET", "/openapi.json");
    expect([status, json]).toEqual([200, JSON.parse(documentText)]);
    expect((await call("POST", "/openapi.json", {})).status).toBe(405);
  });

  it("passes the linter", async () => {
    const args = ["lint", "--extends", "recommended-strict", "gen/openapi.json"];
    const env = {
      ...process.env,
      REDOCLY_TELEMETRY: "off",
      REDOCLY_SUPPRESS_UPDATE_NOTICE: "true",
    };
    const { stdout, stderr } = await promisify(execFile)("node_modules/.bin/redocly", args, {
      env,
    });
    expect(stdout + stderr).toContain("is valid");
  }, 30_000);

  it("has every stream of the door", () => {
    expect(streams.map((it) => `${it.verb} ${it.path}`).toSorted()).toEqual([
      "GET /api/v1/tasks/{task_id}/watch",
      "GET /api/v1/tasks:watch",
    ]);
  });

  it("has every route of the door", () => {
    expect(operations.map((it) => `${it.verb} ${it.path}`).toSorted()).toEqual([
      "DELETE /api/v1/schedules/{name}",
      "DELETE /api/v1/tasks/{task_id}",
      "GET /api/v1/batches",
      "GET /api/v1/batches/{batch_id}",
      "GET /api/v1/batches/{batch_id}:wait",
      "GET /api/v1/queues",
      "GET /api/v1/queues/{name}",
      "GET /api/v1/schedules",
      "GET /api/v1/schedules/{name}",
      "GET /api/v1/schedules/{name}:preview",
      "GET /api/v1/stats",
      "GET /api/v1/tasks",
      "GET /api/v1/tasks/{task_id}",
      "GET /api/v1/tasks/{task_id}/attempts",
      "GET /api/v1/tasks/{task_id}/logs",
      "GET /api/v1/tasks/{task_id}:wait",
      "GET /api/v1/workers",
      "GET /health",
      "GET /openapi.json",
      "GET /ready",
      "PATCH /api/v1/queues/{name}",
      "POST /api/v1/batches",
      "POST /api/v1/batches/{batch_id}:cancel",
      "POST /api/v1/batches/{batch_id}:close",
      "POST /api/v1/schedules",
      "POST /api/v1/schedules/{name}:backfill",
      "POST /api/v1/schedules/{name}:pause",
      "POST /api/v1/schedules/{name}:resume",
      "POST /api/v1/schedules/{name}:trigger",
      "POST /api/v1/schedules:preview",
      "POST /api/v1/tasks",
      "POST /api/v1/tasks/{task_id}:cancel",
      "POST /api/v1/tasks/{task_id}:retry",
      "POST /api/v1/tasks:cancel",
      "POST /api/v1/tasks:purge",
      "POST /api/v1/tasks:retry",
      "POST /api/v1/tasks:submit",
      "POST /task",
      "PUT /api/v1/schedules/{name}",
    ]);
  });
});

describe("every route does what the document says", () => {
  it.each(named)("%s", async (_, operation) => {
    const path = (await pathOf(operation)) + queryOf({ ...operation, parameters: [] });
    const plain = await call(operation.verb, path, bodyOf(operation));
    expect([plain.status, faultsOf(operation, 200, plain.json)]).toEqual([200, []]);
    const full = (await pathOf(operation)) + withoutId(queryOf(operation));
    const asked = await call(operation.verb, full, bodyOf(operation));
    expect([asked.status, faultsOf(operation, 200, asked.json)]).toEqual([200, []]);
  });
  // A request id carries the time it was made at, which no sample has.
  const withoutId = (query: string): string => query.replace(/[?&]request_id=[^&]*/, "");

  it.each(withBody)("%s takes every property it names", async (_, operation) => {
    const schema = bodySchema(operation)!;
    const base = Array.isArray(schema["examples"]) ? (bodyOf(operation) as Json) : {};
    for (const [name, property] of Object.entries((schema["properties"] ?? {}) as Json)) {
      if (unmakeable.has(name) || name.startsWith("request_id")) continue;
      if (inExamples.has(name)) continue;
      if (operation.verb === "PUT" && name === "name") continue;
      if (operation.operationId === "backfillSchedule" && name === "overlap_policy") continue;
      const given = ownSamples[name] ?? sample(property as Json);
      const body = { ...roomFor(name, base), [name]: given };
      const answer = await call(operation.verb, await pathOf(operation), body);
      expect([name, answer.status, answer.json]).toEqual([name, 200, expect.anything()]);
      expect(faultsOf(operation, 200, answer.json)).toEqual([]);
    }
  });
});

describe("what a worker leaves behind is as documented", () => {
  const quiet = () => undefined;
  const logger = { debug: quiet, info: quiet, warn: quiet, error: quiet };
  let worker: Worker;
  beforeAll(async () => {
    const address = `127.0.0.1:${server.grpcPort}`;
    worker = createWorker({ address, queues: ["run"], labels: { region: "eu" }, logger });
    worker.handle("work", (payload) => {
      if ((payload as Json)["fails"]) throw new Error("as asked");
      return { sent: true };
    });
    await worker.start();
  });
  afterAll(() => worker.stop());

  const read = async (operationId: string, id = "") => {
    const operation = operations.find((it) => it.operationId === operationId)!;
    const { status, json } = await call("GET", operation.path.replace("{task_id}", id));
    expect([status, faultsOf(operation, status, json)]).toEqual([200, []]);
    return json;
  };

  it.each([
    ["completed", false],
    ["failed", true],
  ])("a %s task, its attempts, its worker, the counts", async (status, fails) => {
    const body = { type: "work", queue: "run", payload: { fails }, max_retries: 0 };
    const { json } = await call("POST", "/api/v1/tasks", body);
    const id = json["task_id"] as string;
    expect(await read("waitTask", id)).toMatchObject({ finished: true, task: { status } });
    const error = fails ? { message: "as asked" } : null;
    expect(await read("getTask", id)).toMatchObject({ status, error });
    expect(await read("listAttempts", id)).toMatchObject({
      attempts: [{ outcome: status, error }],
    });
    expect(await read("listTasks")).toMatchObject({ tasks: expect.any(Array) });
    expect(await read("getStats")).toMatchObject({ [status]: expect.any(Number), workers: 1 });
    expect(await read("listWorkers")).toMatchObject({ workers: [{ labels: { region: "eu" } }] });
  });
});

/** Of each kind of JSON one. */
const kinds: readonly unknown[] = ["?\u{1F600}", -1.5, true, ["?"], { "?": "?" }];

/** Every value of a wrong kind, for every property, however deep. */
function* spoilt(schema: Json, base: unknown): Generator<{ at: string; body: unknown }> {
  const { properties, items } = resolved(schema) as { properties?: Json; items?: Json };
  if (items) {
    for (const { at, body } of spoilt(
      items,
      (base as unknown[] | undefined)?.[0] ?? sample(items),
    )) {
      yield { at: `[0]${at}`, body: [body] };
    }
    for (const kind of wrongKinds(items)) yield { at: "[0]", body: [kind] };
  }
  for (const [name, it] of Object.entries(properties ?? {})) {
    const whole = resolved(it as Json);
    const object = base as Json;
    for (const kind of wrongKinds(whole))
      yield { at: `.${name}`, body: { ...object, [name]: kind } };
    for (const { at, body } of spoilt(whole, object[name] ?? sample(whole))) {
      yield { at: `.${name}${at}`, body: { ...object, [name]: body } };
    }
  }
}

/** A number in a string is canonical proto JSON; what has no type takes anything. */
function wrongKinds({ type, pattern, format, enum: words }: Json): unknown[] {
  if (type === undefined && words === undefined) return [];
  const isFree = type === "string" && !pattern && !format && !words;
  return kinds.filter((kind) => {
    if (Array.isArray(kind)) return type !== "array";
    if (typeof kind === "object") return type !== "object";
    if (typeof kind === "string") return !isFree;
    return typeof kind !== type;
  });
}

describe("what is wrong is refused with the one error shape, never with 500", () => {
  it.each(withBody)("%s: values of a wrong kind", async (_, operation) => {
    const schema = bodySchema(operation)!;
    const path = await pathOf(operation);
    let tried = 0;
    for (const { at, body } of spoilt(schema, sample(schema))) {
      tried += 1;
      const answer = await call(operation.verb, path, body);
      const inBatch = operation.operationId === "submitTasks" && answer.status === 200;
      if (inBatch) expect(answer.json).toMatchObject({ outcomes: [{ error: { code: /./ } }] });
      else expect([at, body, answer.status]).toEqual([at, body, 400]);
      if (!inBatch) expectRefused(operation, answer);
    }
    const hasFields = Object.keys((schema["properties"] ?? {}) as Json).length > 0;
    expect(tried).toBeGreaterThanOrEqual(hasFields ? 3 : 0);
  });

  it.each(withBody)("%s: bodies that are none", async (_, operation) => {
    const path = await pathOf(operation);
    const base = sample(bodySchema(operation)!) as Json;
    const send = (body: unknown) => call(operation.verb, path, body);
    expect(expectRefused(operation, await send({ ...base, nonsense: 1 }))).toMatchObject({
      field: expect.stringContaining("nonsense"),
    });
    for (const body of ["{", "[]", '"x"', "1", "\u0000", '{"a":1e999}', `${"[".repeat(9000)}`]) {
      expectRefused(operation, await send(body));
    }
    const big = await send(`{"a":"${"x".repeat(4 << 20)}"}`);
    expect(expectRefused(operation, big, 413)).toMatchObject({ code: "message_too_large" });
    if (operation.requestBody!.required) expectRefused(operation, await send(undefined));
  });

  it.each(named.filter(([, it]) => it.responses["500"]))("%s: parameters", async (_, operation) => {
    const body = bodyOf(operation);
    const send = (path: string) => call(operation.verb, path, body);
    const path = await pathOf(operation);
    expectRefused(operation, await send(`${path}?nonsense=1`));
    for (const { name, schema, in: place } of operation.parameters) {
      if (place === "query") {
        if (!["string", "boolean"].includes(resolved(schema)["type"] as string)) {
          expectRefused(operation, await send(`${path}?${name}=%F0%9F%98%80`));
        }
        const { maxLength } = schema;
        if (typeof maxLength !== "number") continue;
        expectRefused(operation, await send(`${path}?${name}=${"x".repeat(maxLength + 1)}`));
        continue;
      }
      const template = (value: string) => operation.path.replace(/\{\w+\}/, value);
      expectRefused(operation, await send(template("%F0%9F%98%80")));
      expectRefused(operation, await send(template("%ff")));
      if (!operation.responses["404"]) continue;
      const unknown = name.endsWith("_id") ? "00000000-0000-7000-8000-000000000000" : "nobody";
      expectRefused(operation, await send(template(unknown)), 404);
    }
  });

  it("a task that has ended says as what, for programs", async () => {
    const cancel = operations.find((it) => it.operationId === "retryTask")!;
    const path = (await pathOf(cancel)).replace(":retry", "");
    const answer = await call("POST", `${path}:retry`);
    expect(answer).toMatchObject({ status: 200, json: { status: "pending" } });
    const again = await call("POST", `${path}:retry`);
    expect(expectRefused(cancel, again, 409)).toMatchObject({
      code: "task_not_retryable",
      status: "pending",
    });
  });
});
