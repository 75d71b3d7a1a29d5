import { once } from "node:events";
import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import type * as grpc from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  GetTaskRequestSchema,
  SubmitTaskRequestSchema,
  WaitTaskRequestSchema,
} from "../../gen/drover/v1/task_pb.js";
import { readSubmitRequest } from "../../src/api/hot/submit-frames.js";
import { takeUnaryStreams } from "../../src/api/unary-streams.js";
import { systemClock } from "../../src/clock.js";
import { DroverError } from "../../src/errors.js";
import { limits } from "../../src/limits.js";
import { type Asked, framed, hear, Way } from "./two-ways.js";

let past: Way;
let byGrpcJs: Way;
beforeEach(async () => {
  past = await Way.open(true);
  byGrpcJs = await Way.open(false);
});
afterEach(async () => {
  await past.close();
  await byGrpcJs.close();
});

const submit = (task: object): Buffer =>
  Buffer.from(toBinary(SubmitTaskRequestSchema, create(SubmitTaskRequestSchema, { task })));
const plainTask = submit({ type: "x", tags: ["a"] });
const whole = framed(plainTask);
const getTask = "/drover.v1.TaskService/GetTask";
const waitTask = "/drover.v1.TaskService/WaitTask";
const get = (taskId: string): Buffer =>
  framed(toBinary(GetTaskRequestSchema, create(GetTaskRequestSchema, { taskId })));
const wait = (taskId: string): Buffer =>
  framed(toBinary(WaitTaskRequestSchema, create(WaitTaskRequestSchema, { taskId })));
const unknown = "0190aaaa-0000-7000-8000-000000000001";
const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const bytesOf = (buffer: Buffer): Buffer[] => [...buffer].map((byte) => Buffer.of(byte));

async function askBoth(asked: Asked) {
  const [heard, wanted] = await Promise.all([past.ask(asked), byGrpcJs.ask(asked)]);
  expect(heard).toEqual(wanted);
  return heard;
}

const statusOf = ({ headers, trailers }: Awaited<ReturnType<typeof askBoth>>): number =>
  Number(headers["grpc-status"] ?? trailers["grpc-status"]);

describe("a unary call served on its HTTP/2 stream", () => {
  it.each<[string, Asked, number]>([
    ["a task", { chunks: [whole] }, 0],
    ["a task, byte by byte", { chunks: bytesOf(whole) }, 0],
    [
      "a task with the encoding said",
      { headers: { "grpc-encoding": "identity" }, chunks: [whole] },
      0,
    ],
    ["a task in time", { headers: { "grpc-timeout": "10S" }, chunks: [whole] }, 0],
    ["a task marked as compressed by no encoding", { chunks: [framed(plainTask, 1)] }, 0],
    [
      "a content type with a suffix",
      { headers: { "content-type": "application/grpc+proto" }, chunks: [whole] },
      0,
    ],
    ["an empty message", { chunks: [framed(Buffer.alloc(0))] }, 3],
    ["no message", {}, 12],
    ["a body without a byte", { chunks: [] }, 12],
    ["half a prefix", { chunks: [whole.subarray(0, 3)] }, 12],
    ["half a message", { chunks: [whole.subarray(0, -1)] }, 12],
    ["two messages in one frame", { chunks: [Buffer.concat([whole, whole])] }, 12],
    ["two messages in two frames", { chunks: [whole, whole] }, 12],
    [
      "a message announced too large",
      { chunks: [framed(plainTask, 0, limits.messageBytes + 1)] },
      8,
    ],
    ["garbage", { chunks: [framed(Buffer.alloc(64, 0xff))] }, 3],
    ["an unknown field", { chunks: [framed(Buffer.of(10, 6, 18, 1, 120, 162, 56, 0))] }, 3],
    ["an invalid field", { chunks: [framed(submit({ type: "!" }))] }, 3],
    [
      "a field that takes the general decoder",
      { chunks: [framed(submit({ type: "x", batchId: unknown }))] },
      0,
    ],
    ["a method of messages", { path: getTask, chunks: [get(unknown)] }, 5],
    ["a method of messages with garbage", { path: getTask, chunks: [framed(Buffer.of(255))] }, 3],
    ["a rule of the contract", { path: getTask, chunks: [get("x")] }, 3],
  ])("%s is answered as by grpc-js", async (_, asked, status) => {
    expect(statusOf(await askBoth(asked))).toBe(status);
    expect([past.taken, past.general, byGrpcJs.general]).toEqual([1, 0, 1]);
  });

  it.each<[string, Asked, number]>([
    [
      "a compressed task",
      { headers: { "grpc-encoding": "gzip" }, chunks: [framed(gzipSync(plainTask), 1)] },
      0,
    ],
    ["an encoding that is not used", { headers: { "grpc-encoding": "gzip" }, chunks: [whole] }, 0],
    [
      "an encoding nobody knows",
      { headers: { "grpc-encoding": "zip" }, chunks: [framed(plainTask, 1)] },
      12,
    ],
    ["a timeout that is none", { headers: { "grpc-timeout": "soon" }, chunks: [whole] }, 13],
    ["a method nobody has", { path: "/drover.v1.TaskService/Nothing", chunks: [whole] }, 12],
    [
      "a content type that is not gRPC",
      { headers: { "content-type": "text/plain" }, chunks: [whole] },
      Number.NaN,
    ],
  ])("%s is left to grpc-js", async (_, asked, status) => {
    expect(statusOf(await askBoth(asked))).toBe(status);
    expect(past.general).toBe(1);
  });

  it("a refusal carries its id, its details and when to try again", async () => {
    for (const { coordinator } of [past, byGrpcJs]) {
      coordinator.refusal = new DroverError("outbox_full", "fast: full, ä\n", {
        retryAfterMs: 1_500,
      });
    }
    const { headers } = await askBoth({ chunks: [whole] });
    expect(headers).toMatchObject({ "drover-error-id": "outbox_full", "retry-after": "2" });
    expect(headers["grpc-message"]).toBe("fast:%20full,%20%C3%A4%0A");
    expect(headers["grpc-status-details-bin"]).toMatch(/\w{100}/);
  });

  it("a defect is INTERNAL, and told to the log alone", async () => {
    for (const { coordinator } of [past, byGrpcJs]) coordinator.defect = new Error("secret");
    const heard = await askBoth({ path: getTask, chunks: [get(unknown)] });
    expect(statusOf(heard)).toBe(13);
    expect(JSON.stringify(heard)).not.toContain("secret");
    expect(past.internal).toEqual([past.coordinator.defect]);
  });

  it("an answer over 4 MiB is refused, not sent", async () => {
    for (const { coordinator } of [past, byGrpcJs]) {
      await coordinator.submit("default", [readSubmitRequest(plainTask)]);
      const [[id, task]] = coordinator.tasks as unknown as [[string, object]];
      const payload = { contentType: "a/b", data: Buffer.alloc(limits.messageBytes) };
      coordinator.tasks.set(id, { ...task, payload } as never);
    }
    const [id] = past.coordinator.tasks.keys();
    expect(statusOf(await askBoth({ path: getTask, chunks: [get(id!)] }))).toBe(8);
  });

  it.each<[string, Record<string, string | string[]>]>([
    ["one", { traceparent }],
    ["one with a state", { traceparent, tracestate: "a=1,b=2" }],
    ["two states", { traceparent, tracestate: ["a=1", "b=2"] }],
    ["a state that no metadata may hold", { traceparent, tracestate: "a=\u00e4" }],
    ["one that is none", { traceparent: "x" }],
    ["none but other metadata", { "x-key-bin": "AAAA,BBBB", "user-agent": "y" }],
  ])("a task takes the trace context of its call: %s", async (_, headers) => {
    await askBoth({ headers, chunks: [whole] });
    const [kept] = [...past.coordinator.tasks.values()];
    const [wanted] = [...byGrpcJs.coordinator.tasks.values()];
    expect(kept!.traceContext).toEqual(wanted!.traceContext);
    expect(kept!.traceContext.traceparent).toBe(
      headers.traceparent === traceparent ? traceparent : undefined,
    );
  });
});

describe("the end of a unary call before its answer", () => {
  const never = new Promise<void>(() => undefined);

  it("a deadline that passes is told to the caller", async () => {
    for (const { coordinator } of [past, byGrpcJs]) coordinator.gate = never;
    const headers = { "grpc-timeout": "30m" };
    expect(statusOf(await askBoth({ headers, chunks: [whole] }))).toBe(4);
    expect(statusOf(await askBoth({ headers, chunks: [framed(Buffer.alloc(0), 0, 9)] }))).toBe(12);
  });

  it("a caller that waits for the end of a request is told of its deadline", async () => {
    const request = { ":method": "POST", ":path": getTask, "content-type": "application/grpc" };
    const heard = await Promise.all(
      [past, byGrpcJs].map(({ session }) =>
        hear(session.request({ ...request, "grpc-timeout": "30m" }, { endStream: false })),
      ),
    );
    expect(heard[0]).toEqual(heard[1]);
    expect(heard[0]!.headers["grpc-status"]).toBe("4");
  });

  it.each(["its caller cancels", "its connection breaks", "its deadline passes"])(
    "a wait ends when %s",
    async (how) => {
      const { coordinator } = past;
      await coordinator.submit("default", [readSubmitRequest(plainTask)]);
      const [id] = coordinator.tasks.keys();
      coordinator.gate = never;
      const aborted = new Promise<unknown>((resolve) => {
        const asWritten = coordinator.wait.bind(coordinator);
        coordinator.wait = (namespace, task, timeoutMs, signal) => {
          signal.addEventListener("abort", () => resolve(signal.reason), { once: true });
          if (how === "its caller cancels") stream.close(8);
          if (how === "its connection breaks") past.session.destroy();
          return asWritten(namespace, task, timeoutMs, signal);
        };
      });
      const headers = how === "its deadline passes" ? { "grpc-timeout": "30m" } : {};
      const stream = past.begin({ path: waitTask, headers, chunks: [wait(id!)] });
      stream.on("error", () => undefined);
      expect(String(await aborted)).toMatch(/the caller is gone|deadline|timed out/);
      expect(past.internal).toEqual([]);
    },
  );

  it("an answer nobody waits for is dropped, and the connection goes on", async () => {
    const { coordinator } = past;
    let open = (): void => undefined;
    coordinator.gate = new Promise((resolve) => (open = resolve));
    const asWritten = coordinator.submit.bind(coordinator);
    const reached = new Promise<void>((resolve) => {
      coordinator.submit = (...args) => {
        resolve();
        return asWritten(...args);
      };
    });
    const stream = past.begin({ chunks: [whole] });
    await reached;
    stream.close(8);
    await once(stream, "close");
    open();
    expect(statusOf(await past.ask({ chunks: [whole] }))).toBe(0);
    expect(coordinator.tasks.size).toBe(2);
    expect(past.internal).toEqual([]);
  });
});

it("a connection with a call under way is not idle", async () => {
  const way = await Way.open(true, { "grpc.max_connection_idle_ms": 150 });
  try {
    let open = (): void => undefined;
    way.coordinator.gate = new Promise((resolve) => (open = resolve));
    const answer = way.ask({ chunks: [whole] });
    let goneAway = false;
    way.session.on("goaway", () => (goneAway = true));
    const idle = await way.connect();
    await once(idle, "close");
    expect(goneAway).toBe(false);
    open();
    expect(statusOf(await answer)).toBe(0);
    await once(way.session, "close");
  } finally {
    await way.close();
  }
});

it("a grpc-js built otherwise serves all calls itself", () => {
  expect(takeUnaryStreams({} as unknown as grpc.Server, [], systemClock)).toBe(0);
});
