import { create } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { Metadata } from "@grpc/grpc-js";
import { describe, expect, it, onTestFinished } from "vitest";
import {
  type Client,
  type ClientOptions,
  createClient,
  DroverClientError,
  priorities,
} from "../../src/client/index.js";
import { Code } from "../../src/errors.js";
import { FakeStatus, startFakeCoordinator } from "../support/fake-coordinator.js";
import { TaskStatus } from "../../gen/drover/v1/task_pb.js";
import { ErrorInfoSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "../../gen/google/rpc/status_pb.js";
import { toBinary } from "@bufbuild/protobuf";

type Tasks = {
  send_email: { payload: { to: string }; result: { messageId: string } };
  add: { payload: { a: number; b: number }; result: number };
};

function clientOf(address: string | string[], options: ClientOptions = {}): Client<Tasks> {
  const client = createClient<Tasks>({ address, ...options });
  onTestFinished(() => client.close({ graceMs: 0 }));
  return client;
}

const id = (n: number): string => `0190a6f0-0000-7000-8000-${String(n).padStart(12, "0")}`;
const jsonBlob = (value: unknown) => ({
  contentType: "application/json",
  data: Buffer.from(JSON.stringify(value)),
});

function refusalDetails(code: number, id: string, message: string, retryMs?: number): Metadata {
  const info = create(ErrorInfoSchema, {
    reason: id.toUpperCase(),
    domain: "drover",
    metadata: { id, hint: "mend it", field: "task.type" },
  });
  const details = [anyPack(ErrorInfoSchema, info)];
  if (retryMs !== undefined) {
    const retryDelay = { seconds: 0n, nanos: retryMs * 1e6 };
    details.push(anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay })));
  }
  const metadata = new Metadata();
  const status = create(StatusSchema, { code, message, details });
  metadata.set("grpc-status-details-bin", Buffer.from(toBinary(StatusSchema, status)));
  return metadata;
}

describe("a client", () => {
  it("sends the submits of one tick in one frame and matches answers in any order", async () => {
    const coordinator = await startFakeCoordinator();
    const client = clientOf(coordinator.address);
    const submits = [
      client.submit("send_email", { to: "a@example.com" }, { priority: priorities.high }),
      client.submit("add", { a: 1, b: 2 }, { idempotencyKey: "k" }),
    ];
    const stream = await coordinator.submits.next("submit stream");
    const { items } = await stream.frames.next("frame");
    expect(items.map(({ task }) => task?.type)).toEqual(["send_email", "add"]);
    expect(items[0]!.task?.priority).toBe(2);
    expect(Buffer.from(items[1]!.task!.payloadBlob!.data).toString()).toBe('{"a":1,"b":2}');
    expect(items[0]!.requestId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
    expect(items[0]!.requestId).not.toBe(items[1]!.requestId);
    stream.answer([
      { number: items[1]!.number, outcome: { taskId: id(2), status: 2 } },
      { number: items[0]!.number, outcome: { taskId: id(1), status: 1 } },
    ]);
    expect(await Promise.all(submits)).toEqual([
      { id: id(1), status: "submitted", type: "send_email" },
      { id: id(2), status: "existing", type: "add" },
    ]);
  });

  it("repeats what a lost stream left unanswered, with the same request id", async () => {
    const first = await startFakeCoordinator();
    const second = await startFakeCoordinator();
    const client = clientOf([first.address, second.address], {
      random: { next: () => 0, bytes: (length) => Buffer.alloc(length, 7) },
    });
    const submit = client.submit("add", { a: 1, b: 1 });
    const lost = await first.submits.next("submit stream");
    const before = (await lost.frames.next("frame")).items[0]!;
    first.stop();
    const stream = await second.submits.next("submit stream");
    const again = (await stream.frames.next("frame")).items[0]!;
    expect(again.requestId).toBe(before.requestId);
    stream.answer([{ number: again.number, outcome: { taskId: id(1), status: 2 } }]);
    expect((await submit).id).toBe(id(1));
  });

  it("repeats single tasks whose outcome is unknown and throws what was refused", async () => {
    const coordinator = await startFakeCoordinator();
    const client = clientOf(coordinator.address);
    const many = client.submitMany([
      { type: "add", payload: { a: 1, b: 1 } },
      { type: "add", payload: { a: 2, b: 2 } },
    ]);
    const stream = await coordinator.submits.next("submit stream");
    const [one, two] = (await stream.frames.next("frame")).items;
    const busy = { code: "overloaded", retryAfter: { seconds: 0n, nanos: 1e6 } };
    stream.answer([
      { number: one!.number, outcome: { error: busy } },
      {
        number: two!.number,
        outcome: { error: { code: "invalid_field", message: "too odd", field: "task.type" } },
      },
    ]);
    const second = (await stream.frames.next("second frame")).items[0]!;
    expect(second.requestId).toBe(one!.requestId);
    const unknown = { code: "history_unavailable", message: "no answer of the store" };
    stream.answer([{ number: second.number, outcome: { error: unknown } }]);
    const third = (await stream.frames.next("third frame")).items[0]!;
    expect(third.requestId).toBe(one!.requestId);
    stream.answer([{ number: third.number, outcome: { taskId: id(1), status: 1 } }]);
    const [accepted, refused] = await many;
    expect(accepted).toEqual({ ok: true, id: id(1), status: "submitted", type: "add" });
    expect(refused).toMatchObject({
      ok: false,
      error: { code: Code.invalidArgument, id: "invalid_field", field: "task.type" },
    });
  });

  it("falls back to SubmitTasks where there is no SubmitStream", async () => {
    const seen: unknown[] = [];
    const coordinator = await startFakeCoordinator({
      submitStream: false,
      unary: {
        submitTasks: (request: { tasks: unknown[]; requestIds: string[] }) => {
          seen.push(request.requestIds.length);
          return { outcomes: request.tasks.map((_, n) => ({ taskId: id(n), status: 1 })) };
        },
      },
    });
    const client = clientOf(coordinator.address);
    const receipts = await Promise.all([
      client.submit("add", { a: 1, b: 1 }),
      client.submit("add", { a: 2, b: 2 }),
    ]);
    expect(receipts.map((receipt) => receipt.id)).toEqual([id(0), id(1)]);
    expect(seen).toEqual([2]);
  });

  it("reads a task as plain JavaScript", async () => {
    const coordinator = await startFakeCoordinator({
      unary: {
        getTask: () => ({
          task: {
            id: id(1),
            type: "add",
            status: TaskStatus.COMPLETED,
            payload: {
              kind: {
                case: "structValue",
                value: { fields: { a: { kind: { case: "numberValue", value: 1 } } } },
              },
            },
            resultBlob: jsonBlob(3),
            priority: 2,
            createdAt: { seconds: 1_700_000_000n, nanos: 5e6 },
          },
        }),
      },
    });
    const task = await clientOf(coordinator.address).get<"add">(id(1));
    expect(task).toMatchObject({
      id: id(1),
      queue: "default",
      status: "completed",
      payload: { a: 1 },
      result: 3,
      priority: 2,
      createdAt: new Date(1_700_000_000_005),
      startedAt: undefined,
    });
  });

  it("throws what a coordinator refused, with its word, field and hint", async () => {
    const coordinator = await startFakeCoordinator({
      unary: {
        getTask: () => {
          const details = refusalDetails(5, "task_not_found", "no task");
          throw new FakeStatus(Code.notFound, "no task 7", details);
        },
      },
    });
    const error = await clientOf(coordinator.address)
      .get(id(1))
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(DroverClientError);
    expect(error).toMatchObject({
      code: Code.notFound,
      id: "task_not_found",
      message: "no task 7",
      field: "task.type",
      hint: "mend it",
    });
  });

  it("waits over as many polls as it takes, and past a coordinator that is away", async () => {
    let polls = 0;
    const coordinator = await startFakeCoordinator({
      unary: {
        waitTask: () => {
          polls += 1;
          if (polls === 2) throw new FakeStatus(Code.unavailable, "shutting down");
          const status = polls < 4 ? TaskStatus.RUNNING : TaskStatus.COMPLETED;
          return {
            task: { id: id(1), type: "add", status, resultBlob: jsonBlob(5) },
            finished: polls >= 4,
          };
        },
      },
    });
    const task = await clientOf(coordinator.address).wait<"add">(id(1));
    expect(task.result).toBe(5);
    expect(polls).toBe(4);
  });

  it("lists page by page", async () => {
    const tokens: string[] = [];
    const coordinator = await startFakeCoordinator({
      unary: {
        listTasks: ({ pageToken, status }: { pageToken: string; status: number }) => {
          tokens.push(`${status}:${pageToken}`);
          const page = pageToken === "" ? 0 : Number(pageToken);
          return {
            tasks: [{ id: id(page * 2) }, { id: id(page * 2 + 1) }],
            nextPageToken: page < 2 ? String(page + 1) : "",
          };
        },
      },
    });
    const seen: string[] = [];
    for await (const task of clientOf(coordinator.address).list({ status: "failed" })) {
      seen.push(task.id);
    }
    expect(seen).toEqual([0, 1, 2, 3, 4, 5].map(id));
    expect(tokens).toEqual(["7:", "7:1", "7:2"]);
  });

  it("waits as long as an overloaded coordinator asks for before it calls again", async () => {
    let calls = 0;
    const coordinator = await startFakeCoordinator({
      unary: {
        getStats: () => {
          calls += 1;
          if (calls > 1) return { stats: { pending: 4n } };
          const details = refusalDetails(8, "overloaded", "busy", 20);
          throw new FakeStatus(Code.resourceExhausted, "busy", details);
        },
      },
    });
    const stats = await clientOf(coordinator.address).stats();
    expect(stats.pending).toBe(4);
    expect(calls).toBe(2);
  });
});
