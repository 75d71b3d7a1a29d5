import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Duration } from "@bufbuild/protobuf/wkt";
import { onTestFinished } from "vitest";
import type { LeaseSchema, TaskSchema } from "../../gen/drover/v1/task_pb.js";
import type { Random } from "../../src/clock.js";
import {
  createWorker,
  type Logger,
  type Worker,
  type WorkerOptions,
} from "../../src/worker/index.js";
import type { ManualClock } from "./manual-clock.js";

export const quietLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** Starts with the first address, waits nothing before a redial. */
export const eagerRandom: Random = {
  next: () => 0,
  bytes: (length) => globalThis.crypto.getRandomValues(new Uint8Array(length)),
};

type LeaseInit = MessageInitShape<typeof LeaseSchema>;
type TaskInit = MessageInitShape<typeof TaskSchema>;

export const tokenOf = (name: string): Uint8Array => Buffer.from(`token-${name}`);
export const nameOf = (token: Uint8Array): string => Buffer.from(token).toString().slice(6);
export const namesOf = (tokens: readonly Uint8Array[]): string[] => tokens.map(nameOf).sort();

/** A lease as a coordinator would send it; its token is made of the name. */
export function jsonLease(
  name: string,
  type: string,
  payload?: unknown,
  more: { timeout?: Duration; task?: TaskInit } = {},
): LeaseInit {
  const data = Buffer.from(JSON.stringify(payload) ?? "");
  const blob =
    payload === undefined ? {} : { payloadBlob: { contentType: "application/json", data } };
  const base = { id: `id-${name}`, type, queue: "default", attempt: 1 };
  const task = { ...base, ...blob, ...more.task } as TaskInit;
  return {
    leaseToken: tokenOf(name),
    fencingToken: 7n,
    task,
    ...(more.timeout ? { timeout: more.timeout } : {}),
  };
}

/** A worker that leaves with the test. */
export function testWorker(options: WorkerOptions): Worker {
  const worker = createWorker({ logger: quietLogger, random: eagerRandom, ...options });
  onTestFinished(async () => {
    const stopped = worker.stop({ graceMs: 0 });
    const { clock } = options;
    await (clock && "advance" in clock ? reach(clock as ManualClock, stopped, 1_000) : stopped);
  });
  return worker;
}

/** A handler whose tasks end when the test says so. */
export function gate() {
  const open = new Map<string, (result: unknown) => void>();
  const waiting: (() => void)[] = [];
  const started: string[] = [];
  const aborts = new Map<string, unknown>();
  const running = async (name: string): Promise<void> => {
    while (!open.has(name)) await new Promise<void>((resolve) => waiting.push(resolve));
  };
  return {
    started,
    aborts,
    handler: (payload: unknown, { signal }: { signal: AbortSignal }): Promise<unknown> => {
      const name = String(payload);
      started.push(name);
      signal.addEventListener("abort", () => aborts.set(name, signal.reason));
      for (const wake of waiting.splice(0)) wake();
      return new Promise((resolve) => open.set(name, resolve));
    },
    /** Lets the task of this payload end, as soon as it has started. */
    async finish(name: string, result: unknown = name): Promise<void> {
      await running(name);
      open.get(name)!(result);
    },
    running,
  };
}

/** Moves the clock on, step by step, until something has come true in the real world. */
export async function reach<T>(clock: ManualClock, goal: Promise<T>, stepMs = 0): Promise<T> {
  let reached = false;
  const done = (): void => void (reached = true);
  goal.finally(done).catch(() => undefined);
  while (!reached) await clock.advance(stepMs);
  return goal;
}
