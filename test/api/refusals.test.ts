import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { createRegistry, type DescMessage, type DescMethod } from "@bufbuild/protobuf";
import type { ServiceError } from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { AdminService, QueueService } from "../../gen/drover/v1/admin_pb.js";
import { TaskService } from "../../gen/drover/v1/task_pb.js";
import { file_google_rpc_error_details } from "../../gen/google/rpc/error_details_pb.js";
import { loadConfig } from "../../src/config.js";
import { catalog, DroverError, type ErrorId } from "../../src/errors.js";
import { httpStatus } from "../../src/api/rest/errors.js";
import { createServer, type Server } from "../../src/server.js";
import { openDoors, type Doors } from "./doors.js";
import { RawClient, statusDetails } from "./grpc-client.js";
import { memoryFlags } from "../support/memory-flags.js";

/** What a refusal says, through whichever door it came. */
interface Refusal {
  readonly code: number;
  readonly id: string;
  readonly message: string;
  readonly field: string | undefined;
  readonly hint: string | undefined;
  readonly status: string | undefined;
}

const registry = createRegistry(file_google_rpc_error_details);

async function overGrpc(
  client: RawClient,
  method: DescMethod & { input: DescMessage; output: DescMessage },
  request: object | Buffer,
): Promise<Refusal & { retryAfter: boolean; violation: string | undefined }> {
  const error = await client.unary(method, request as never).then(
    () => expect.fail("the call succeeded"),
    (thrown: ServiceError) => thrown,
  );
  const details = statusDetails(error).details.map((it) => anyUnpack(it, registry)!);
  const infos = details.flatMap((it) =>
    it.$typeName === "google.rpc.ErrorInfo"
      ? [(it as unknown as { metadata: Record<string, string> }).metadata]
      : [],
  );
  const violations = details.flatMap((it) =>
    it.$typeName === "google.rpc.BadRequest"
      ? (it as unknown as { fieldViolations: { field: string }[] }).fieldViolations
      : [],
  );
  const { id, field, hint, status } = infos[0]!;
  return {
    code: error.code,
    id: id!,
    message: error.details,
    field,
    hint,
    status,
    retryAfter: details.some((it) => it.$typeName === "google.rpc.RetryInfo"),
    violation: violations[0]?.field,
  };
}

async function overRest(url: string, verb: string, path: string, body?: unknown) {
  const init = body === undefined ? {} : { body: JSON.stringify(body) };
  const reply = await fetch(url + path, { method: verb, ...init });
  const { error } = (await reply.json()) as { error: Record<string, string | undefined> };
  return { ...error, http: reply.status, retryAfter: reply.headers.has("retry-after") };
}

/** Both say the same, and the numbers fit the catalog. */
function expectSame(
  id: ErrorId,
  grpc: Awaited<ReturnType<typeof overGrpc>>,
  rest: Awaited<ReturnType<typeof overRest>>,
): void {
  const { message, field, hint, status, retryAfter } = grpc;
  expect([grpc.id, grpc.code]).toEqual([id, catalog[id].code]);
  expect(grpc.violation).toBe(field);
  expect(hint).toMatch(/\S/);
  const http = httpStatus(new DroverError(id, ""));
  expect(rest).toEqual({ code: id, message, field, hint, status, retryAfter, http });
}

describe("whatever a coordinator refuses with", () => {
  let doors: Doors;
  let client: RawClient;
  beforeAll(async () => {
    doors = await openDoors();
    client = new RawClient(doors.address);
  });
  afterAll(async () => {
    client.close();
    await doors.stop();
  });
  afterEach(() => {
    doors.coordinator.refusal = undefined;
  });

  const ids = (Object.keys(catalog) as ErrorId[]).filter((id) => id !== "internal");
  it.each(ids)("%s has the same words in gRPC and REST", async (id) => {
    const details = { field: "task.payload", retryAfterMs: 1_200, status: "running" };
    doors.coordinator.refusal = new DroverError(id, `refused as ${id} \u{1F600}`, details);
    const task = { type: "x" };
    const grpc = await overGrpc(client, TaskService.method.submitTask, { task });
    expectSame(id, grpc, await overRest(doors.url, "POST", "/api/v1/tasks", task));
    expect(grpc).toMatchObject({ field: "task.payload", status: "running", retryAfter: true });
  });
});

describe("the real coordinator", () => {
  let server: Server;
  let client: RawClient;
  let url: string;
  const waiting = { id: "" };
  beforeAll(async () => {
    server = createServer(loadConfig({ env: {}, flags: memoryFlags }));
    await server.start();
    client = new RawClient(`127.0.0.1:${server.grpcPort}`);
    url = `http://127.0.0.1:${server.httpPort}`;
    const { submitTask } = TaskService.method;
    const task = { type: "x", queue: "waiting", idempotencyKey: "k" };
    waiting.id = (await client.unary(submitTask, { task })).taskId;
  });
  afterAll(async () => {
    client.close();
    await server.stop("the end of a test");
  });

  const tasks = TaskService.method;
  const queues = QueueService.method;
  const nobody = "00000000-0000-7000-8000-000000000000";
  const large = "x".repeat(300_000);
  const post = (body: unknown) => ["POST", "/api/v1/tasks", body] as const;
  const get = (path: string) => ["GET", path] as const;
  const submit = (task: object) => [tasks.submitTask, { task }] as const;

  it.each<
    readonly [
      ErrorId,
      () => readonly [DescMethod & { input: DescMessage; output: DescMessage }, object],
      () => readonly [string, string, unknown?],
    ]
  >([
    ["invalid_field", () => submit({ type: "!" }), () => post({ type: "!" })],
    ["output_only_field", () => submit({ type: "x", run: 1 }), () => post({ type: "x", run: 1 })],
    [
      "payload_too_large",
      () =>
        submit({
          type: "x",
          payloadBlob: { contentType: "text/plain", data: Buffer.from(large) },
        }),
      () => {
        const data = Buffer.from(large).toString("base64");
        return post({ type: "x", payload_blob: { content_type: "text/plain", data } });
      },
    ],
    [
      "idempotency_conflict",
      () => submit({ type: "y", queue: "waiting", idempotencyKey: "k" }),
      () => post({ type: "y", queue: "waiting", idempotency_key: "k" }),
    ],
    [
      "too_many_items",
      () => [tasks.submitTasks, { tasks: Array.from({ length: 1001 }, () => ({ type: "x" })) }],
      () => {
        const list = Array.from({ length: 1001 }, () => ({ type: "x" }));
        return ["POST", "/api/v1/tasks:submit", { tasks: list }];
      },
    ],
    ["invalid_id", () => [tasks.getTask, { taskId: "x" }], () => get("/api/v1/tasks/x")],
    [
      "task_not_found",
      () => [tasks.getTask, { taskId: nobody }],
      () => get(`/api/v1/tasks/${nobody}`),
    ],
    [
      "task_not_retryable",
      () => [tasks.retryTask, { taskId: waiting.id }],
      () => ["POST", `/api/v1/tasks/${waiting.id}:retry`],
    ],
    [
      "invalid_page_token",
      () => [AdminService.method.listWorkers, { pageToken: "!" }],
      () => get("/api/v1/workers?page_token=!"),
    ],
    ["queue_not_found", () => [queues.getQueue, { name: "no" }], () => get("/api/v1/queues/no")],
    [
      "queue_not_drained",
      () => [queues.updateQueue, { queue: { name: "waiting", durability: 2 } }],
      () => ["PATCH", "/api/v1/queues/waiting", { durability: "relaxed" }],
    ],
    [
      "stale_queue",
      () => [queues.updateQueue, { queue: { name: "waiting", paused: true, etag: "77" } }],
      () => ["PATCH", "/api/v1/queues/waiting", { paused: true, etag: "77" }],
    ],
  ])("%s is the same through both doors", async (id, grpc, rest) => {
    expectSame(id, await overGrpc(client, ...grpc()), await overRest(url, ...rest()));
  });

  it("bytes that are no message, and a message too large, are told by their codes", async () => {
    const garbage = await overGrpc(client, tasks.submitTask, Buffer.of(0x0a, 0xff));
    expect(garbage).toMatchObject({ id: "malformed_message", code: 3 });
    const error = await client.unary(tasks.submitTask, Buffer.alloc(5 << 20)).then(
      () => expect.fail("the call succeeded"),
      (thrown: ServiceError) => thrown,
    );
    expect(error.code).toBe(8);
  });
});
