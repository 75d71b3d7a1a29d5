import { Code, ConnectError, createClient } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { create } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SubmitStatus, TaskService } from "../../gen/drover/v1/task_pb.js";
import { Health } from "../../gen/grpc/health/v1/health_pb.js";
import { BadRequestSchema, ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import { openDoors, type Doors } from "./doors.js";

let doors: Doors;
beforeAll(async () => {
  doors = await openDoors();
});
afterAll(() => doors.stop());

const transports = {
  "Connect JSON": () =>
    createConnectTransport({ baseUrl: doors.url, httpVersion: "1.1", useBinaryFormat: false }),
  "Connect binary": () => createConnectTransport({ baseUrl: doors.url, httpVersion: "1.1" }),
  "gRPC-Web": () => createGrpcWebTransport({ baseUrl: doors.url, httpVersion: "1.1" }),
  gRPC: () => createGrpcTransport({ baseUrl: `http://${doors.address}` }),
};

const payload = create(ValueSchema, {
  kind: {
    case: "structValue",
    value: { fields: { a: { kind: { case: "listValue", value: { values: [] } } } } },
  },
});

describe.each(Object.keys(transports) as (keyof typeof transports)[])("%s", (name) => {
  const client = () => createClient(TaskService, transports[name]());

  it("submits and reads", async () => {
    const { taskId, status } = await client().submitTask({ task: { type: "x", payload } });
    expect(status).toBe(SubmitStatus.SUBMITTED);
    const { task } = await client().getTask({ taskId });
    expect(task).toMatchObject({ id: taskId, type: "x" });
    expect(task!.payload).toEqual(payload);
  });

  it("reports the field that is wrong, with details", async () => {
    const failed = await client()
      .submitTask({ task: { type: "x", maxRetries: -1 } })
      .catch((error: unknown) => ConnectError.from(error));
    if (!(failed instanceof ConnectError)) return expect.fail("it succeeded");
    expect(failed.code).toBe(Code.InvalidArgument);
    expect(failed.metadata.get("drover-error-id")).toBe("invalid_field");
    expect(failed.findDetails(ErrorInfoSchema)).toMatchObject([{ reason: "INVALID_FIELD" }]);
    expect(failed.findDetails(BadRequestSchema)).toMatchObject([
      { fieldViolations: [{ field: "task.max_retries" }] },
    ]);
    await expect(client().getTask({ taskId: "nope" })).rejects.toMatchObject({
      code: Code.InvalidArgument,
    });
  });

  it("a stream that is aborted ends", async () => {
    const abort = new AbortController();
    const stream = createClient(Health, transports[name]()).watch({}, { signal: abort.signal });
    const iterator = stream[Symbol.asyncIterator]();
    expect((await iterator.next()).done).toBe(false);
    abort.abort();
    await expect(iterator.next()).rejects.toMatchObject({ code: Code.Canceled });
  });
});

describe("Connect JSON by hand", () => {
  const post = async (body: string, headers: Record<string, string> = {}) => {
    const reply = await fetch(`${doors.url}/drover.v1.TaskService/SubmitTask`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body,
    });
    return { status: reply.status, json: (await reply.json()) as Record<string, unknown> };
  };

  it.each([
    ["an integer that would be rounded", '{"task":{"type":"x","payload":{"n":9007199254740993}}}'],
    ["a key that would be dropped", '{"task":{"type":"x","payload":{"__proto__":1}}}'],
    ["broken JSON", "{"],
    ["a field that is not known", '{"task":{"tpye":"x"}}'],
    ["a value of the wrong type", '{"task":{"type":5}}'],
  ])("%s is refused", async (_, body) => {
    const { status, json } = await post(body);
    expect([status, json.code]).toEqual([400, "invalid_argument"]);
  });

  it("a body over 4 MiB is refused, and so is a compressed one", async () => {
    const big = await post(`{"task":{"type":"${"x".repeat(4 << 20)}"}}`);
    expect(big).toMatchObject({ status: 413, json: { code: "resource_exhausted" } });
    const packed = await post("{}", { "content-encoding": "gzip" });
    expect(packed.status).toBeGreaterThanOrEqual(400);
  });
});
