/** One process of stream.ts: `role.ts <role> <build> <address>`. */
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import * as path from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { SubmitTaskRequestSchema } from "../../gen/drover/v1/task_pb.js";
import type * as Grpc from "../../src/api/grpc.js";
import type * as Auth from "../../src/auth/open.js";
import type * as ClientSdk from "../../src/client/index.js";
import { systemClock } from "../../src/clock.js";
import type * as WorkerSdk from "../../src/worker/index.js";
import { percentile } from "../summary.js";
import { loadBuild, StubCoordinator } from "./stub.js";

export const roles = ["coordinator", "producer", "worker"] as const;

export type Order =
  | { readonly do: "start" | "usage" | "end" | "work" | "forget" }
  | { readonly do: "until"; readonly tasks: number }
  | {
      readonly do: "submit";
      readonly figure: string;
      readonly tasks: number;
      readonly rate: number;
    };

/** So far: microseconds of CPU, system calls, frames that came in. */
export interface Usage {
  readonly us: number;
  readonly reads: number;
  readonly writes: number;
  readonly frames: number;
}

export interface Report {
  readonly address?: string;
  readonly usage?: Usage;
  readonly tookMs?: number;
}

const [role = "", build = "", address = ""] = process.argv.slice(2);
const load = (file: string): Promise<unknown> => import(path.resolve(build, file));
const inFlight = 256;
const batch = 500;
const batches = 4;
const concurrency = 100;

let frames = (): number => 0;

function usage(): Usage {
  const io = readFileSync("/proc/self/io", "utf8");
  const count = (name: string): number => Number(new RegExp(`${name}: (\\d+)`).exec(io)![1]);
  const { user, system } = process.cpuUsage();
  return { us: user + system, reads: count("syscr"), writes: count("syscw"), frames: frames() };
}

type Answer = (order: Order) => Promise<Report>;

async function coordinator(): Promise<Answer> {
  const stub = new StubCoordinator(await loadBuild(build));
  frames = () => stub.submitCalls + stub.workFrames;
  const { createGrpcDoor } = (await load("api/grpc.js")) as typeof Grpc;
  const { openAccess } = (await load("auth/open.js")) as typeof Auth;
  const door = createGrpcDoor({
    coordinator: stub.coordinator,
    authenticate: openAccess,
    clock: systemClock,
    host: "127.0.0.1",
    port: 0,
    onInternal: (cause) => console.error(cause),
  });
  await door.start();
  let done = 0;
  return async (order) => {
    if (order.do === "until") await stub.until((done += order.tasks));
    if (order.do === "forget") stub.forget();
    return { address: `127.0.0.1:${door.port}` };
  };
}

async function producer(): Promise<Answer> {
  const { createClient } = (await load("client/index.js")) as typeof ClientSdk;
  const client = createClient({ address });
  let sent = 0;
  const payload = () => ({ p: String((sent += 1)).padEnd(92, "x") });
  const one = () => client.submit("noop", payload());
  const many = (count: number) =>
    client.submitMany(Array.from({ length: count }, () => ({ type: "noop", payload: payload() })));
  return async (order) => {
    if (order.do === "start") await one();
    if (order.do !== "submit") return {};
    const at = systemClock.monotonic();
    if (order.figure === "unary") {
      await unary(order.tasks);
      return { tookMs: systemClock.monotonic() - at };
    }
    if (order.figure === "rate") return { tookMs: await pace(order.tasks, order.rate, one) };
    const bulk = order.figure.endsWith("bulk");
    let left = order.tasks;
    const loop = async (): Promise<void> => {
      while (left > 0) {
        const count = bulk ? Math.min(batch, left) : 1;
        left -= count;
        await (bulk ? many(count) : one());
      }
    };
    await Promise.all(Array.from({ length: bulk ? batches : inFlight }, loop));
    return { tookMs: systemClock.monotonic() - at };
  };
}

/**
 * SubmitTask without an SDK, 64 calls at once on one connection: a client of grpc-js costs four
 * times what the server does, and would be the bottleneck.
 */
async function unary(tasks: number): Promise<void> {
  const session = http2.connect(`http://${address}`);
  const task = { type: "noop", payloadBlob: { contentType: "application/json", data: body } };
  const message = toBinary(SubmitTaskRequestSchema, create(SubmitTaskRequestSchema, { task }));
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  const framed = Buffer.concat([head, message]);
  const call = () =>
    new Promise<void>((resolve, reject) => {
      const stream = session.request({
        ":method": "POST",
        ":path": "/drover.v1.TaskService/SubmitTask",
        "content-type": "application/grpc",
        te: "trailers",
      });
      stream.on("trailers", (trailers) => {
        if (trailers["grpc-status"] !== "0") reject(new Error(String(trailers["grpc-message"])));
      });
      stream.on("error", reject);
      stream.on("close", resolve);
      stream.resume();
      stream.end(framed);
    });
  let left = tasks;
  const loop = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      await call();
    }
  };
  await Promise.all(Array.from({ length: 64 }, loop));
  session.close();
}
const body = Buffer.from(JSON.stringify({ p: "x".repeat(92) }));

/** The median ms from the call to its answer. */
async function pace(tasks: number, rate: number, one: () => Promise<unknown>): Promise<number> {
  const took: number[] = [];
  const all: Promise<unknown>[] = [];
  const startedAt = systemClock.monotonic();
  while (all.length < tasks) {
    const dueMs = startedAt + (all.length * 1_000) / rate - systemClock.monotonic();
    if (dueMs > 0) await systemClock.sleep(dueMs);
    const at = systemClock.monotonic();
    all.push(one().then(() => took.push(systemClock.monotonic() - at)));
  }
  await Promise.all(all);
  return percentile(took, 0.5)!;
}

async function worker(): Promise<Answer> {
  const { createWorker } = (await load("worker/index.js")) as typeof WorkerSdk;
  const silent = () => undefined;
  const logger = { debug: silent, info: silent, warn: console.warn, error: console.error };
  const made = createWorker({ address, concurrency, logger });
  made.handle("noop", () => undefined);
  return async (order) => {
    if (order.do === "work") await made.start();
    return {};
  };
}

const answers: Record<string, () => Promise<Answer>> = { coordinator, producer, worker };
// It is also imported, for its names.
if (process.send && answers[role]) {
  const answer = answers[role]();
  process.on("message", (order: Order) => {
    if (order.do === "end") return process.exit();
    const report = order.do === "usage" ? { usage: usage() } : undefined;
    void answer.then(async (run) => process.send!(report ?? (await run(order))));
  });
}
