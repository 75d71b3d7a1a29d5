import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { Command } from "commander";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { addClientCommands } from "../../src/cli/commands.js";
import { Exit, exitCodeOf } from "../../src/cli/exit.js";
import { createClient } from "../../src/client/index.js";
import { systemClock } from "../../src/clock.js";
import { loadConfig } from "../../src/config.js";
import { createServer } from "../../src/server.js";
import { createWorker, TaskFailedError } from "../../src/worker/index.js";
import { builtBin } from "../support/bin.js";
import { fakeTerminal, type FakeTerminal } from "../support/fake-terminal.js";

const server = createServer(
  loadConfig({
    env: {},
    flags: {
      broker: "memory",
      history: "memory",
      grpc_port: 0,
      http_port: 0,
      log_level: "silent",
    },
  }),
);
let address = "";
let worker: ReturnType<typeof createWorker>;

beforeAll(async () => {
  await server.start();
  address = `127.0.0.1:${server.grpcPort}`;
  const quiet = { debug() {}, info() {}, warn() {}, error() {} };
  worker = createWorker({
    address,
    workerId: "cli-worker",
    labels: { region: "eu" },
    logger: quiet,
  });
  worker.handle("double", (payload) => Promise.resolve((payload as { n: number }).n * 2));
  worker.handle("break", () =>
    Promise.reject(new TaskFailedError("no way", { code: "no_way", retryable: false })),
  );
  await worker.start();
});

afterAll(async () => {
  await worker.stop({ graceMs: 1_000 });
  await server.stop("the end of the test");
});

/** One command in this process, as main.ts would run it. Errors are thrown. */
async function drover(args: string[], terminal = fakeTerminal()): Promise<FakeTerminal> {
  const program = new Command("drover");
  addClientCommands(program, { terminal, connect: createClient, clock: systemClock });
  await program.parseAsync([...args, "--addr", address], { from: "user" });
  return terminal;
}

const json = async (args: string[]): Promise<Record<string, unknown>> =>
  JSON.parse((await drover([...args, "--json"])).lines.join("")) as Record<string, unknown>;

const submit = async (...args: string[]): Promise<string> =>
  (await drover(["task", "submit", ...args])).lines[0]!;

const failure = async (args: string[]): Promise<unknown> =>
  drover(args).then(
    () => undefined,
    (error: unknown) => error,
  );

describe("drover task", () => {
  it("submits with everything that can be said of a task", async () => {
    const flags = [
      ["-q", "later", "-p", "critical", "--max-retries", "0", "--delay", "1h", "--timeout", "90s"],
      [
        "--group",
        "acme",
        "--label",
        "region=eu",
        "--label",
        "disk=ssd",
        "--tag",
        "a",
        "--tag",
        "b",
      ],
      ["--idempotency-key", "once", "--retention", "1d"],
    ].flat();
    const id = await submit("double", '{"n":1}', ...flags);
    expect(await json(["task", "get", id])).toMatchObject({
      id,
      type: "double",
      queue: "later",
      status: "scheduled",
      priority: 3,
      payload: { n: 1 },
      max_retries: 0,
      timeout: "90s",
      retention: "86400s",
      group_key: "acme",
      required_labels: { region: "eu", disk: "ssd" },
      tags: ["a", "b"],
      idempotency_key: "once",
      worker_id: "",
      result: null,
    });
    const again = await drover(["task", "submit", "double", '{"n":1}', ...flags]);
    expect(again.lines).toEqual([id]);
    expect(again.notes[0]).toContain("seen before");
  });

  it("waits for the end, shows it, and says by its exit code how it went", async () => {
    const well = await drover(["task", "submit", "double", '{"n":21}', "--wait"]);
    expect(well.lines).toEqual(expect.arrayContaining(["status\tcompleted", "result\t42"]));
    expect(well.code).toBe(Exit.ok);
    const badly = await drover(["task", "submit", "break", "--wait", "--json"]);
    expect(JSON.parse(badly.lines.join(""))).toMatchObject({
      status: "failed",
      error: { code: "no_way", message: "no way" },
    });
    expect(badly.code).toBe(Exit.notCompleted);
  });

  it("gives up a wait in time", async () => {
    const id = await submit("nobody_does_this");
    const error = await failure(["task", "wait", id, "--timeout", "50ms"]);
    expect(exitCodeOf(error)).toBe(Exit.unavailable);
    expect(error).toMatchObject({ id: "wait_too_long" });
  });

  it("cancels, and retries what has ended", async () => {
    const id = await submit("nobody_does_that");
    expect((await drover(["task", "cancel", id])).lines).toContain("status\tcancelled");
    expect(await json(["task", "retry", id])).toMatchObject({ status: "pending", run: 2 });
  });

  it("lists by filter, as many as asked for, for people and for programs", async () => {
    const ids: string[] = [];
    for (let n = 0; n < 3; n += 1) ids.push(await submit("listed", "-q", "list", "--tag", `t${n}`));
    const filter = ["--type", "listed", "--status", "pending", "--queue", "list"];
    const { lines } = await drover(["task", "list", ...filter, "--limit", "2"]);
    expect(lines.map((line) => line.split("\t")[0])).toEqual([ids[2], ids[1]]);
    const { tasks } = await json(["task", "list", "--tag", "t1"]);
    expect(tasks).toMatchObject([{ id: ids[1], priority: 1 }]);
    const people = await drover(["task", "list", ...filter], fakeTerminal({ tty: true }));
    expect(people.lines).toHaveLength(4);
    for (const line of people.lines) expect(line.length).toBeLessThanOrEqual(80);
  });

  it("retries and purges by filter, and only with --yes", async () => {
    const filter = [
      "--status",
      "failed",
      "--tag",
      "bulk",
      "--since",
      "1h",
      "--error-code",
      "no_way",
    ];
    const ids = [await submit("break", "--tag", "bulk"), await submit("break", "--tag", "bulk")];
    for (const id of ids) await drover(["task", "wait", id]);
    const counted = await drover(["task", "retry", ...filter]);
    expect(counted.lines).toEqual(["2 would be retried"]);
    expect(counted.notes.join()).toContain("--yes");
    expect(await json(["task", "retry", ...filter, "--yes", "-n", "1"])).toMatchObject({
      matched: 1,
      retried: 1,
      dry_run: false,
    });
    for (const id of ids) await drover(["task", "wait", id]);
    expect((await drover(["task", "purge", ...filter, "--dry-run", "--yes"])).lines).toEqual([
      "2 would be purged",
    ]);
    expect((await drover(["task", "purge", ...filter, "--yes"])).lines).toEqual(["2 of 2 purged"]);
    expect(exitCodeOf(await failure(["task", "get", ids[0]!]))).toBe(Exit.notFound);
    expect(exitCodeOf(await failure(["task", "purge", "--yes"]))).toBe(Exit.usage);
    expect(exitCodeOf(await failure(["task", "retry", ids[0]!, "--tag", "x"]))).toBe(Exit.usage);
  });

  it("cancels by filter, in the same words", async () => {
    const filter = ["--tag", "unwanted"];
    const later = ["--tag", "unwanted", "--delay", "1h"];
    const ids = [await submit("double", "1", ...later), await submit("double", "1", ...later)];
    const counted = await drover(["task", "cancel", ...filter]);
    expect(counted.lines).toEqual(["2 would be cancelled"]);
    expect(counted.notes.join()).toContain("--yes");
    const one = ["task", "cancel", ...filter, "--yes", "--limit", "1", "--reason", "a mistake"];
    expect(await json(one)).toEqual({
      matched: 1,
      cancelled: 1,
      requested: 0,
      ended: 0,
      scanned: expect.any(Number) as number,
      dry_run: false,
    });
    expect((await drover(["task", "cancel", ...filter, "-y"])).lines).toEqual([
      "1 of 1 cancelled, 0 asked to stop, 0 had ended meanwhile",
    ]);
    expect(exitCodeOf(await failure(["task", "cancel", "--yes"]))).toBe(Exit.usage);
    expect(exitCodeOf(await failure(["task", "cancel", ids[0]!, ...filter]))).toBe(Exit.usage);
  });

  it("makes a new task of a dead one with another payload", async () => {
    const id = await submit("break");
    await drover(["task", "wait", id]);
    const made = await json(["task", "retry", id, "--payload", '{"n":21}']);
    expect(made).toMatchObject({ redriven_from: id, payload: { n: 21 }, run: 1 });
  });

  it("shows the attempts", async () => {
    const id = await submit("break");
    await drover(["task", "wait", id]);
    expect(await json(["task", "attempts", id])).toMatchObject({
      attempts: [{ attempt: 1, run: 1, outcome: "failed", worker_id: "cli-worker" }],
    });
    const { lines } = await drover(["task", "attempts", id]);
    expect(lines[0]).toMatch(/^1\t1\tfailed\t.*\tcli-worker\t\d+\tno_way: no way$/);
  });

  it.each([
    [["task", "get", "0198a000-0000-7000-8000-000000000000"], Exit.notFound],
    [["task", "get", "nonsense"], Exit.usage],
    [["task", "submit", "double", "{"], Exit.usage],
    [["queue", "get", "never_used"], Exit.notFound],
    [["queue", "set", "default"], Exit.usage],
  ])("%j ends with %i", async (args, exit) => {
    expect(exitCodeOf(await failure(args))).toBe(exit);
  });

  it("a task that ended otherwise cannot be cancelled", async () => {
    const id = await submit("double", '{"n":1}');
    await drover(["task", "wait", id]);
    const refused = await failure(["task", "cancel", id]);
    expect(exitCodeOf(refused)).toBe(Exit.refused);
    expect(refused).toMatchObject({ id: "task_already_final", status: "completed" });
  });
});

describe("the other nouns", () => {
  it("queues are set, one setting at a time, and read back", async () => {
    await drover(["queue", "set", "mail", "--paused", "--retention", "2d", "--jitter", "0.5"]);
    await drover(["queue", "set", "mail", "--no-paused", "--initial-backoff", "5s"]);
    expect(await json(["queue", "get", "mail"])).toMatchObject({
      name: "mail",
      paused: false,
      durability: "durable",
      retention: "172800s",
      retry_policy: { initial_backoff: "5s", jitter: 0.5 },
    });
    const { lines } = await drover(["queue", "list"]);
    expect(lines.some((line) => line.startsWith("mail\topen\t0\t0"))).toBe(true);
  });

  it("queues tell how many workers take tasks from them", async () => {
    await drover(["queue", "set", "mail", "--no-paused"]);
    await drover(["queue", "set", "default", "--no-paused"]);
    const { queues } = (await json(["queue", "list"])) as {
      queues: { name: string; stats: { workers: number } }[];
    };
    const workers = Object.fromEntries(queues.map(({ name, stats }) => [name, stats.workers]));
    expect(workers).toMatchObject({ default: 1, mail: 0 });
    const { lines } = await drover(["queue", "list"]);
    expect(lines.filter((line) => /^default\topen\t.*\tdurable\t1$/.test(line))).toHaveLength(1);
    for (const name of ["default", "mail"]) {
      const stats = { workers: workers[name] };
      expect(await json(["queue", "get", name])).toMatchObject({ stats });
      expect(await json(["stats", "--queue", name])).toMatchObject(stats);
    }
  });

  it("workers are listed with what they handle and where", async () => {
    expect(await json(["worker", "list"])).toMatchObject({
      workers: [
        {
          worker_id: "cli-worker",
          slots: 10,
          labels: { region: "eu" },
          subscriptions: [{ queue: "default", types: ["double", "break"], weight: 1 }],
          coordinator_id: server.coordinatorId,
        },
      ],
    });
    const { lines } = await drover(["worker", "list"], fakeTerminal({ tty: true, columns: 160 }));
    expect(lines[1]).toMatch(/^cli-worker .*double,break/);
  });

  it("stats count tasks by status", async () => {
    await drover(["task", "submit", "double", '{"n":2}', "--wait"]);
    const stats = await json(["stats"]);
    expect(stats["workers"]).toBe(1);
    expect(stats["completed"]).toBeGreaterThan(0);
    expect(await json(["stats", "--queue", "empty"])).toMatchObject({ completed: 0 });
  });
});

describe("the program itself", { timeout: 60_000 }, () => {
  const run = promisify(execFile);
  const bin = (...args: string[]) =>
    run(process.execPath, [builtBin, ...args], {
      env: { ...process.env, DROVER_ADDR: address },
    });

  it("finds coordinators by DROVER_ADDR and prints for programs", async () => {
    const { stdout, stderr } = await bin("task", "submit", "double", '{"n":4}', "--wait", "--json");
    expect(JSON.parse(stdout)).toMatchObject({ status: "completed", result: 8 });
    expect(stderr).toBe("");
  });

  it("ends with the documented codes, and with words instead of stacks", async () => {
    await expect(bin("task", "get", "0198a000-0000-7000-8000-000000000000")).rejects.toMatchObject({
      code: Exit.notFound,
      stderr: expect.stringMatching(/^drover: .*\(task_not_found\)\n {2}Check the id.*\n$/),
    });
    await expect(bin("task", "list", "--status", "dead")).rejects.toMatchObject({
      code: Exit.usage,
      stderr: expect.stringContaining("Expected one of blocked"),
    });
  });

  it("shows its settings, where they came from, and no password", async () => {
    const env = { ...process.env, REDIS_URL: "redis://:secret@cache:6379", GRPC_PORT: "50052" };
    const { stdout } = await run(process.execPath, [builtBin, "config"], { env });
    expect(stdout).toContain("redis_url\tredis://:***@cache:6379\tthe environment\n");
    expect(stdout).toContain("grpc_port\t50052\tthe environment\n");
    expect(stdout).toContain("partitions\t1\tdefaults\n");
  });

  it("lists workers beside the command that runs one", async () => {
    expect((await bin("worker", "list")).stdout).toMatch(/^cli-worker\t/);
    await expect(bin("worker")).rejects.toMatchObject({ code: Exit.usage });
  });
});
