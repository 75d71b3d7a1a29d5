import { Command } from "commander";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { addClientCommands } from "../../src/cli/commands.js";
import { type Batch, type Client, createClient, type Task } from "../../src/client/index.js";
import { systemClock } from "../../src/clock.js";
import { loadConfig } from "../../src/config.js";
import { createServer, type Server } from "../../src/server.js";
import {
  createWorker,
  type HandlerContext,
  TaskFailedError,
  type Worker,
} from "../../src/worker/index.js";
import { fakeTerminal, type FakeTerminal } from "../support/fake-terminal.js";
import { freshPrefix, freshSchema, sharedPostgres, sharedRedis } from "../support/stores.js";
import { quietLogger } from "../support/worker-kit.js";

const once = { maxRetries: 0 } as const;

describe.each(["memory", "Redis and Postgres"])("batches on %s", (stores) => {
  let server: Server;
  let worker: Worker;
  let client: Client;
  let address = "";
  /** What callbacks were told, by their payload. */
  const called = new Map<unknown, HandlerContext["batchCallback"][]>();

  beforeAll(async () => {
    server = createServer(loadConfig({ env: await envOf(stores), flags: { log_level: "silent" } }));
    await server.start();
    address = `127.0.0.1:${server.grpcPort}`;
    client = createClient({ address });
    worker = createWorker({ address, logger: quietLogger });
    worker.handle("double", (payload, { batchId }) => ({ n: (payload as number) * 2, batchId }));
    worker.handle("break", () => {
      throw new TaskFailedError("no way", { code: "no_way", retryable: false });
    });
    worker.handle("callback", (payload, { batchCallback }) => {
      called.set(payload, [...(called.get(payload) ?? []), batchCallback]);
      return payload;
    });
    worker.handle("hang", (_, { signal }) => untilAborted(signal));
    await worker.start();
  }, 60_000);
  afterAll(async () => {
    await worker.stop({ graceMs: 0 });
    await client.close();
    await server.stop("the end of the test");
  });

  async function drover(...args: string[]): Promise<FakeTerminal> {
    const terminal = fakeTerminal();
    const program = new Command("drover");
    addClientCommands(program, { terminal, connect: createClient, clock: systemClock });
    await program.parseAsync([...args, "--addr", address], { from: "user" });
    return terminal;
  }
  const json = async (...args: string[]): Promise<Record<string, unknown>> =>
    JSON.parse((await drover(...args, "--json")).lines.join("")) as Record<string, unknown>;
  const rest = async (verb: string, path: string, body?: unknown) => {
    const init = body === undefined ? {} : { body: JSON.stringify(body) };
    const url = `http://127.0.0.1:${server.httpPort}/api/v1/${path}`;
    const reply = await fetch(url, { method: verb, ...init });
    return { status: reply.status, json: (await reply.json()) as Record<string, unknown> };
  };
  const callback = (payload: string) => ({ type: "callback", payload });
  /** The callback of an event, once it has run. */
  async function ran(batch: Batch, event: "complete" | "success" | "failure"): Promise<Task> {
    const id = batch[`${event}TaskId`];
    return client.wait(id ?? expect.fail(`${event} was not called`), { timeoutMs: 10_000 });
  }
  /** A batch is complete before its callbacks have run; failure may be called later, too. */
  async function until(id: string, holds: (batch: Batch) => boolean): Promise<Batch> {
    for (;;) {
      const batch = await client.batches.get(id);
      if (holds(batch)) return batch;
      await systemClock.sleep(20);
    }
  }

  async function runs(id: string): Promise<void> {
    while ((await client.get(id)).status !== "running") await systemClock.sleep(20);
  }

  it("counts, completes, and calls each callback once, with the batch as it was", async () => {
    const batch = await client.batches.create({
      description: "doubles",
      onComplete: callback("c1"),
      onSuccess: callback("s1"),
      onFailure: { type: "callback", payload: "f1" },
    });
    const tasks = Array.from({ length: 30 }, (_, n) => ({ type: "double", payload: n }));
    const outcomes = await batch.submitMany(tasks);
    expect(outcomes.every(({ ok }) => ok)).toBe(true);
    const single = await batch.submit("double", 100);
    const result = { n: 200, batchId: batch.id };
    expect(await client.wait(single)).toMatchObject({ batchId: batch.id, result });
    expect(await batch.get()).toMatchObject({ status: "open", counts: { total: 31 } });
    await batch.close();
    const done = await batch.wait({ timeoutMs: 20_000 });
    expect(done).toMatchObject({
      status: "completed",
      description: "doubles",
      counts: { total: 31, completed: 31, failed: 0, pending: 0, running: 0 },
      onComplete: callback("c1"),
      failureThreshold: 1,
      failureTaskId: undefined,
    });
    const complete = await ran(done, "complete");
    const told = { batchId: batch.id, event: "complete", counts: done.counts };
    expect(complete).toMatchObject({ batchId: undefined, batchCallback: told, result: "c1" });
    await ran(done, "success");
    expect(called.get("c1")).toEqual([told]);
    expect(called.get("s1")).toEqual([{ ...told, event: "success" }]);
    expect(called.get("f1")).toBeUndefined();
    const listed = await client.batches.listPage({ pageSize: 500 });
    const mine = listed.items.find(({ id }) => id === batch.id);
    expect(mine).toMatchObject({ status: "completed", counts: undefined });
  });

  it("a failure is told at once, and success once the failed task is mended", async () => {
    const given = { onComplete: callback("c2"), onSuccess: callback("s2") };
    const failure = { onFailure: callback("f2"), failureThreshold: 2 };
    const batch = await client.batches.create({ ...given, ...failure });
    const bad = await Promise.all([1, 2].map((n) => batch.submit("break", n, once)));
    const early = await until(batch.id, ({ failureTaskId }) => failureTaskId !== undefined);
    expect(early).toMatchObject({ status: "open", counts: { total: 2, failed: 2 } });
    await ran(early, "failure");
    expect(called.get("f2")).toMatchObject([{ event: "failure", counts: { failed: 2 } }]);
    await batch.close();
    const done = await batch.wait({ timeoutMs: 20_000 });
    expect(done.successTaskId).toBeUndefined();
    await ran(done, "complete");

    await worker.stop();
    const mended = createWorker({ address, logger: quietLogger });
    mended.handle("break", () => "mended");
    mended.handle("callback", (payload) => void called.set(payload, [undefined]));
    await mended.start();
    expect((await client.retryMany({ batchId: batch.id })).done).toBe(2);
    await Promise.all(bad.map((each) => client.wait(each)));
    const after = await until(batch.id, ({ successTaskId }) => successTaskId !== undefined);
    expect(after).toMatchObject({ status: "completed", counts: { total: 2, completed: 2 } });
    expect(after.completeTaskId).toBe(done.completeTaskId);
    await ran(after, "success");
    await mended.stop();
    worker = createWorker({ address, logger: quietLogger });
    worker.handle("callback", (payload, { batchCallback }) => {
      called.set(payload, [...(called.get(payload) ?? []), batchCallback]);
    });
    worker.handle("hang", (_, { signal }) => untilAborted(signal));
    await worker.start();
  });

  it("cancelling it ends all its tasks, and calls only what says complete", async () => {
    const batch = await client.batches.create({
      onComplete: callback("c3"),
      onSuccess: callback("s3"),
    });
    const running = await batch.submit("hang", null);
    const waiting = await batch.submit("hang", null, { delayMs: 3_600_000 });
    await until(batch.id, ({ counts }) => counts!.total === 2);
    await runs(running.id);
    const asked = await batch.cancel({ reason: "not today", graceMs: 100 });
    expect(asked).toMatchObject({ cancelReason: "not today" });
    expect((await client.get(waiting)).status).toBe("cancelled");
    const done = await batch.wait({ timeoutMs: 20_000 });
    expect(done).toMatchObject({ counts: { total: 2, cancelled: 2 }, successTaskId: undefined });
    expect(await client.get(running)).toMatchObject({ cancellation: { reason: "not today" } });
    await ran(done, "complete");
    expect(await batch.cancel()).toMatchObject({ id: batch.id, cancelReason: "not today" });
    const late = batch.submit("hang", null);
    await expect(late).rejects.toMatchObject({ id: "batch_not_open", field: "task.batch_id" });
  });

  it("an empty batch completes as it is closed; what joins late or nowhere is refused alone", async () => {
    const batch = await client.batches.create({ onSuccess: callback("s4") });
    const closed = await batch.close();
    expect(closed).toMatchObject({ status: "completed", counts: { total: 0 } });
    await ran(closed, "success");
    await expect(batch.cancel()).rejects.toMatchObject({ id: "batch_completed" });
    const open = await client.batches.create();
    const nowhere = "01999999-0000-7000-8000-000000000000";
    const outcomes = await client.submitMany([
      { type: "double", payload: 1, options: { batchId: batch.id } },
      { type: "double", payload: 2, options: { batchId: open.id } },
      { type: "double", payload: 3, options: { batchId: nowhere } },
      { type: "double", payload: 4, options: { batchId: "no id" } },
    ]);
    expect(outcomes.map((it) => (it.ok ? it.status : (it.error as { id: string }).id))).toEqual([
      "batch_not_open",
      "submitted",
      "batch_not_found",
      "invalid_field",
    ]);
    expect((await open.get()).counts).toMatchObject({ total: 1 });
    await expect(client.batches.get(nowhere)).rejects.toMatchObject({ id: "batch_not_found" });
  });

  it("tasks of a RELAXED queue join like all others, but for keys that the broker holds", async () => {
    const queue = "relaxed";
    await client.queues.update(queue, { durability: "relaxed" });
    const batch = await client.batches.create();
    const { id } = await batch.submit("double", 1, { queue });
    expect((await batch.get()).counts).toMatchObject({ total: 1, pending: 1 });
    const keyed = batch.submit("double", 1, { queue, idempotencyKey: "k" });
    await expect(keyed).rejects.toMatchObject({ field: "task.idempotency_key" });
    await batch.cancel();
    expect((await client.get(id)).status).toBe("cancelled");
    expect(await batch.wait()).toMatchObject({ counts: { cancelled: 1 } });
  });

  it("over REST", async () => {
    const template = { type: "callback", payload: "c5" };
    const made = await rest("POST", "batches", { description: "by hand", on_complete: template });
    expect(made).toMatchObject({ status: 200, json: { status: "open", counts: { total: 0 } } });
    const id = made.json["id"] as string;
    const task = { type: "callback", payload: "member", batch_id: id.toUpperCase() };
    const submitted = await rest("POST", "tasks:submit", { tasks: [task, { ...task, type: "?" }] });
    expect(submitted.json["outcomes"]).toMatchObject([{ status: "submitted" }, { error: {} }]);
    expect(await rest("POST", `batches/${id}:close`, {})).toMatchObject({ status: 200 });
    const waited = await rest("GET", `batches/${id}:wait?timeout=20s`);
    expect(waited.json).toMatchObject({ finished: true, batch: { status: "completed" } });
    const { batch } = waited.json as { batch: Record<string, string> };
    expect(await rest("GET", `batches/${id}`)).toMatchObject({ json: { id, status: "completed" } });
    const [one] = (await rest("GET", `tasks?batch_id=${id}`)).json["tasks"] as object[];
    expect(one).toMatchObject({ batch_id: id, batch_callback: null });
    const called = (await rest("GET", `tasks/${batch["complete_task_id"]}`)).json;
    const callbackOf = { batch_id: id, event: "complete", counts: { total: 1, completed: 1 } };
    expect(called).toMatchObject({ batch_id: "", batch_callback: callbackOf });
    expect(await rest("POST", `batches/${id}:cancel`, {})).toMatchObject({
      status: 409,
      json: { error: { code: "batch_completed" } },
    });
    expect(await rest("GET", "batches/x")).toMatchObject({ status: 400 });
    const odd = await rest("POST", "batches", {
      on_success: { type: "a b" },
      failure_threshold: 2,
    });
    expect(odd).toMatchObject({ status: 400 });
    const unsound = await rest("POST", "batches", { on_success: { type: "x", delay: "-1s" } });
    expect(unsound.json).toMatchObject({ error: { field: "batch.on_success.delay" } });
  });

  it("a repeated request id is the same batch, and another one asked for is refused", async () => {
    const requestId = `${systemClock.now().toString(16).padStart(12, "0")}70008000000000000001`;
    const id = requestId.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
    const create = (body: object) => rest("POST", `batches?request_id=${id}`, body);
    const first = await create({ description: "one", on_complete: { type: "x", payload: [1] } });
    const again = await create({ description: "one", on_complete: { type: "x", payload: [1] } });
    expect([again.status, again.json["id"]]).toEqual([200, first.json["id"]]);
    const other = await create({ description: "one", on_complete: { type: "x", payload: [2] } });
    expect(other.json).toMatchObject({ error: { code: "submit_id_conflict" } });
  });

  it("by the command line", async () => {
    const id = (
      await drover("batch", "create", "--description", "cli", "--on-complete", "callback")
    ).lines[0]!;
    const added = await drover("batch", "add", id, "callback", '"a"', '"b"');
    expect(added.lines).toHaveLength(2);
    await drover("task", "submit", "callback", '"c"', "--batch", id);
    expect(await json("batch", "get", id)).toMatchObject({
      status: "open",
      counts: { total: 3 },
      on_complete: { type: "callback" },
      complete_task_id: "",
    });
    expect((await drover("batch", "close", id)).lines.join("\n")).toContain("callback");
    const waited = await drover("batch", "wait", id, "--timeout", "20s");
    expect(waited.code).toBe(0);
    expect(waited.lines.join("\n")).toContain("completed");
    const { batches } = await json("batch", "list");
    expect((batches as { id: string }[])[0]).toMatchObject({ id, description: "cli" });
    const late = await drover("batch", "add", id, "callback", '"d"');
    expect([late.lines, late.code]).toEqual([[], 4]);
    const doomed = await json("batch", "create");
    const doomedId = doomed["id"] as string;
    await drover("batch", "add", doomedId, "nobody");
    expect(await json("batch", "cancel", doomedId, "--reason", "why not")).toMatchObject({
      cancel_reason: "why not",
      counts: { cancelled: 1 },
    });
    expect((await drover("batch", "wait", doomedId)).code).toBe(1);
  });
});

const untilAborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason as Error));
  });

async function envOf(stores: string): Promise<Record<string, string>> {
  const ports = { PORT: "0", GRPC_PORT: "0" };
  if (stores === "memory") return { ...ports, DROVER_BROKER: "memory", DROVER_HISTORY: "memory" };
  const [redis, postgres] = [await sharedRedis(), await sharedPostgres()];
  return {
    ...ports,
    REDIS_URL: redis.url,
    DROVER_REDIS_PREFIX: freshPrefix(),
    DATABASE_URL: postgres.url,
    DROVER_DATABASE_SCHEMA: freshSchema(),
  };
}
