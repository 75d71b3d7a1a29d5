import { anyUnpack, timestampMs, ValueSchema } from "@bufbuild/protobuf/wkt";
import { create, createRegistry, toBinary } from "@bufbuild/protobuf";
import { Metadata, status as Status, type ServiceError } from "@grpc/grpc-js";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { QueueService } from "../../gen/drover/v1/admin_pb.js";
import { SubmitStatus, TaskService, TaskStatus } from "../../gen/drover/v1/task_pb.js";
import { file_google_rpc_error_details } from "../../gen/google/rpc/error_details_pb.js";
import { DroverError } from "../../src/errors.js";
import { openDoors, type Doors } from "./doors.js";
import { errorId, RawClient, statusDetails } from "./grpc-client.js";

let doors: Doors;
let client: RawClient;
beforeAll(async () => {
  doors = await openDoors(async (headers) => ({
    namespace: headers.get("x-test-namespace") ?? "default",
  }));
  client = new RawClient(doors.address);
});
afterAll(async () => {
  client.close();
  await doors.stop();
});
beforeEach(() => {
  doors.coordinator.tasks.clear();
  doors.coordinator.refusal = undefined;
  doors.coordinator.gate = undefined;
});

const { submitTask, submitTasks, getTask, waitTask, submitStream, listTasks } = TaskService.method;
const failure = (call: Promise<unknown>): Promise<ServiceError> =>
  call.then(
    () => expect.fail("the call succeeded"),
    (error: ServiceError) => error,
  );
const text = (value: string) => create(ValueSchema, { kind: { case: "stringValue", value } });

describe("unary calls", () => {
  it("a task goes in and comes out with its payload", async () => {
    const task = { type: "x", payload: text("hello"), priority: 0, tags: ["a"] };
    const { taskId, status } = await client.unary(submitTask, { task });
    expect(status).toBe(SubmitStatus.SUBMITTED);
    const { task: read } = await client.unary(getTask, { taskId });
    expect(read).toMatchObject({ id: taskId, type: "x", priority: 0, tags: ["a"] });
    expect(read!.payload).toEqual(text("hello"));
    expect(read!.status).toBe(TaskStatus.PENDING);
    expect(timestampMs(read!.createdAt!)).toBe(Date.UTC(2026, 10, 22, 8, 30));
    const [kept] = [...doors.coordinator.tasks.values()];
    expect(Buffer.from(kept!.payload!.data)).toEqual(
      Buffer.from(toBinary(ValueSchema, text("hello"))),
    );
  });

  it("the same idempotency key answers EXISTING", async () => {
    const task = { type: "x", idempotencyKey: "k" };
    const first = await client.unary(submitTask, { task });
    const second = await client.unary(submitTask, { task });
    expect(second).toMatchObject({ taskId: first.taskId, status: SubmitStatus.EXISTING });
  });

  it("a batch has one outcome each, in order", async () => {
    const { outcomes } = await client.unary(submitTasks, {
      tasks: [{ type: "a" }, { type: "!" }, { id: "x", type: "b" }, { type: "c" }],
    });
    expect(outcomes.map((it) => it.error?.code ?? it.status)).toEqual([
      SubmitStatus.SUBMITTED,
      "invalid_field",
      "output_only_field",
      SubmitStatus.SUBMITTED,
    ]);
    expect(outcomes[1]!.error).toMatchObject({ field: "task.type" });
    const none = await failure(client.unary(submitTasks, { tasks: [] }));
    expect(none.code).toBe(Status.INVALID_ARGUMENT);
    const tasks = Array.from({ length: 1001 }, () => ({ type: "a" }));
    expect(errorId(await failure(client.unary(submitTasks, { tasks })))).toBe("too_many_items");
  });

  it("an error carries its id, field, hint and retry time in the usual details", async () => {
    const error = await failure(client.unary(submitTask, { task: { type: "x", priority: 9 } }));
    expect(error.code).toBe(Status.INVALID_ARGUMENT);
    expect(errorId(error)).toBe("invalid_field");
    const registry = createRegistry(file_google_rpc_error_details);
    const details = statusDetails(error).details.map((it) => anyUnpack(it, registry));
    expect(details).toMatchObject([
      { reason: "INVALID_FIELD", domain: "drover", metadata: { field: "task.priority" } },
      { fieldViolations: [{ field: "task.priority" }] },
    ]);
    doors.coordinator.refusal = new DroverError("overloaded", "too much", { retryAfterMs: 1500 });
    const busy = await failure(client.unary(submitTask, { task: { type: "x" } }));
    expect(busy.code).toBe(Status.RESOURCE_EXHAUSTED);
    expect(statusDetails(busy).details.map((it) => anyUnpack(it, registry))).toMatchObject([
      { reason: "OVERLOADED" },
      { retryDelay: { seconds: 1n, nanos: 500_000_000 } },
    ]);
  });

  it("the rules in the proto are kept for every call", async () => {
    const badId = await failure(client.unary(getTask, { taskId: "nope" }));
    expect([badId.code, errorId(badId)]).toEqual([Status.INVALID_ARGUMENT, "invalid_id"]);
    const badPage = await failure(client.unary(listTasks, { pageSize: 501 }));
    expect(errorId(badPage)).toBe("invalid_field");
    expect(badPage.details).toContain("page_size");
    const getQueue = QueueService.method.getQueue;
    const badName = await failure(client.unary(getQueue, { name: "" }));
    expect(badName.code).toBe(Status.INVALID_ARGUMENT);
    const taskId = "00000000-0000-7000-8000-000000000000";
    const late = { taskId, timeout: { seconds: 61n } };
    expect((await failure(client.unary(waitTask, late))).code).toBe(Status.INVALID_ARGUMENT);
    expect((await failure(client.unary(getTask, { taskId }))).code).toBe(Status.NOT_FOUND);
  });

  it("the namespace comes from the caller's identity alone", async () => {
    const { taskId } = await client.unary(submitTask, { task: { type: "x" } });
    const metadata = new Metadata();
    metadata.set("x-test-namespace", "other");
    const error = await failure(client.unary(getTask, { taskId }, {}, metadata));
    expect(error.code).toBe(Status.NOT_FOUND);
  });

  it("a deadline that passes answers DEADLINE_EXCEEDED and aborts the wait", async () => {
    const { taskId } = await client.unary(submitTask, { task: { type: "x" } });
    doors.coordinator.gate = new Promise(() => undefined);
    const deadline = new Date(new Date().getTime() + 50);
    const error = await failure(client.unary(waitTask, { taskId }, { deadline }));
    expect(error.code).toBe(Status.DEADLINE_EXCEEDED);
  });

  it("a page that would not fit a message comes shorter, with a token for the rest", async () => {
    const data = Buffer.alloc(200 * 1024);
    for (let made = 0; made < 30; made++) {
      const payloadBlob = { contentType: "image/png", data };
      await client.unary(submitTask, { task: { type: "x", payloadBlob } });
    }
    const seen = new Set<string>();
    let pageToken = "";
    do {
      const page = await client.unary(listTasks, { pageSize: 30, pageToken });
      for (const task of page.tasks) seen.add(task.id);
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    expect(seen.size).toBe(30);
  });
});

describe("SubmitStream", () => {
  it("answers are matched by number, and items of one tick are one call", async () => {
    const stream = client.bidi(submitStream);
    const before = doors.coordinator.submitted.length;
    stream.send({
      items: [
        { number: 7, task: { type: "a" } },
        { number: 3, task: { type: "!" } },
        { number: 9, task: { type: "b", id: "mine" } },
      ],
    });
    const answers = new Map<number, string>();
    while (answers.size < 3) {
      const { outcomes } = await stream.next();
      for (const { number, outcome } of outcomes) {
        answers.set(number, outcome!.error?.code ?? "");
      }
    }
    expect(Object.fromEntries(answers)).toEqual({
      3: "invalid_field",
      7: "",
      9: "output_only_field",
    });
    expect(doors.coordinator.submitted.slice(before)).toEqual([2]);
    stream.end();
    expect((await stream.status()).code).toBe(Status.OK);
  });

  it("a half-closed stream still gets every answer", async () => {
    let open = () => undefined as void;
    doors.coordinator.gate = new Promise((resolve) => (open = resolve));
    const stream = client.bidi(submitStream);
    stream.send({ items: [{ number: 1, task: { type: "a" } }] });
    stream.end();
    await new Promise((resolve) => setImmediate(resolve));
    open();
    expect((await stream.next()).outcomes).toHaveLength(1);
    expect((await stream.status()).code).toBe(Status.OK);
  });

  it("a frame with too many items ends the stream with its code", async () => {
    const stream = client.bidi(submitStream);
    const items = Array.from({ length: 1001 }, (_, number) => ({ number, task: { type: "a" } }));
    stream.send({ items });
    const { code, details } = await stream.status();
    expect(code).toBe(Status.INVALID_ARGUMENT);
    expect(details).toContain("1000");
  });

  it("reading stops while too many answers are owed, and goes on after", async () => {
    let open = () => undefined as void;
    doors.coordinator.gate = new Promise((resolve) => (open = resolve));
    const before = doors.coordinator.submitted.length;
    const stream = client.bidi(submitStream);
    const frames = 22;
    for (let frame = 0; frame < frames; frame++) {
      const items = Array.from({ length: 1000 }, (_, at) => ({
        number: frame * 1000 + at,
        task: { type: "a" },
      }));
      stream.send({ items });
    }
    const taken = () => doors.coordinator.submitted.slice(before).reduce((a, b) => a + b, 0);
    await expect.poll(taken, { timeout: 20_000 }).toBe(20_000);
    doors.coordinator.gate = undefined;
    open();
    let answered = 0;
    while (answered < frames * 1000) answered += (await stream.next()).outcomes.length;
    expect(answered).toBe(frames * 1000);
    stream.call.cancel();
  });
});
