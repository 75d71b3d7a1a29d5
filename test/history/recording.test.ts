import { randomUUID } from "node:crypto";
import type pg from "pg";
import { beforeAll, expect, test } from "vitest";
import { systemClock, systemRandom } from "../../src/clock.js";
import type { History } from "../../src/history/history.js";
import { copyBorn } from "../../src/history/postgres/copied.js";
import { createDatabase } from "../../src/history/postgres/pool.js";
import { createPostgresHistory } from "../../src/history/postgres/postgres-history.js";
import { record } from "../../src/history/postgres/record.js";
import { sql } from "../../src/history/postgres/sql.js";
import type { Task } from "../../src/task/task.js";
import { attemptOf, ended, told } from "../conformance/history-harness.js";
import { createTaskFactory } from "../support/task-factory.js";
import { freshSchema, sharedPostgres } from "../support/stores.js";

const factory = createTaskFactory(systemRandom, () => systemClock.now());
let client: pg.Client;
let history: History;
let schema: string;

beforeAll(async () => {
  const { url } = await sharedPostgres();
  schema = freshSchema();
  const options = { url, schema, statementMs: 20_000, connectMs: 20_000 };
  history = createPostgresHistory(options);
  await history.start();
  // With the settings of a session of Drover's own.
  const database = createDatabase(options);
  client = await database.connect();
  return async () => {
    await client.end();
    await database.stop();
    await history.stop();
  };
});

const attemptRows = async (task: Task): Promise<number> => {
  const { rows } = await client.query("SELECT FROM attempts WHERE task_id = $1", [task.id]);
  return rows.length;
};

/** As the first and only grant leaves a task. */
function completion(task: Task) {
  const startedAt = task.createdAt + 3;
  const completedAt = task.createdAt + 9;
  const grant = { attempt: 1, fencingToken: 7, sessionId: "session-1", workerId: "worker-1" };
  const attempt = attemptOf(task, { ...grant, startedAt, endedAt: completedAt });
  return { attempt, change: { ...grant, startedAt, completedAt } };
}

test("the attempt of a task that completed at once is listed, and costs no row", async () => {
  const [born, changed] = [factory.task(), factory.task()];
  await history.insert([changed]);
  for (const [task, payloadOmitted] of [
    [born, false],
    [changed, true],
  ] as const) {
    const { attempt, change } = completion(task);
    const rest = { attempt, payloadOmitted };
    expect(await history.record([ended(task, "completed", change, rest)])).toEqual(["applied"]);
    expect(await attemptRows(task)).toBe(0);
    expect(await history.attempts("default", task.id)).toEqual([attempt]);
  }
});

test("an attempt that was told to run is listed as it ended", async () => {
  const task = factory.task();
  await history.insert([task]);
  const { attempt, change } = completion(task);
  const running = { ...attempt, endedAt: undefined, outcome: undefined };
  const state = { ...change, completedAt: undefined, status: "running" as const };
  await history.record([told(task, state, { attempt: running })]);
  expect(await history.attempts("default", task.id)).toEqual([running]);
  await history.record([ended(task, "completed", change, { attempt })]);
  expect(await history.attempts("default", task.id)).toEqual([attempt]);
});

test("a failed attempt keeps a row of its own, with its error", async () => {
  const task = factory.task();
  await history.insert([task]);
  const { attempt, change } = completion(task);
  const error = { code: "boom", message: "no", retryable: true };
  const failed = { ...attempt, outcome: "failed" as const, error };
  const state = { ...change, completedAt: undefined, status: "retrying" as const, error };
  await history.record([told(task, state, { attempt: failed })]);
  expect(await attemptRows(task)).toBe(1);
  expect(await history.attempts("default", task.id)).toEqual([failed]);
});

test("rows that stand already, or not yet, hold up none of their batch", async () => {
  const [fresh, known, missing, live] = Array.from({ length: 4 }, () => factory.task());
  await history.insert([known!, live!]);
  const whole = { payloadOmitted: false };
  const outcomes = await history.record([
    ended(fresh!, "completed", {}, whole),
    told(known!, { version: 1 }, whole),
    ended(missing!, "completed"),
    ended(live!, "failed"),
    ended(known!, "completed"),
  ]);
  expect(outcomes).toEqual(["applied", "superseded", "missing", "applied", "applied"]);
});

test("a row that Postgres refuses is refused alone", async () => {
  const tasks = Array.from({ length: 5 }, () => factory.task());
  await history.insert(tasks);
  const changes = tasks.map((task) => ended(task, "completed"));
  changes[2] = ended(tasks[2]!, "completed", { releases: -1 });
  const outcomes = await history.record(changes);
  expect(outcomes).toEqual(["applied", "applied", "refused", "applied", "applied"]);
});

test("a schema made anew under a running coordinator is written to again", async () => {
  const { url } = await sharedPostgres();
  const own = freshSchema();
  const open = () => createPostgresHistory({ url, schema: own, statementMs: 20_000 });
  const running = open();
  await running.start();
  await running.insert([factory.task()]);
  await client.query(`DROP SCHEMA ${own} CASCADE`);
  const other = open();
  await other.start();
  const task = factory.task();
  await running.insert([task]).catch(() => undefined);
  await running.insert([task]);
  expect((await other.get("default", [task.id]))[0]?.id).toBe(task.id);
  await Promise.all([running.stop(), other.stop()]);
});

test.each(["record_tasks", "change_tasks"])(
  "no flush reads more rows than it was given, whatever else is live: %s",
  async (name) => {
    await client.query("ANALYZE tasks");
    // Tables that were analyzed while they were empty are seen to by every prune.
    await history.prune(1);
    await client.query(`PREPARE ${name} AS ${sql(name).text}`);
    const { rows } = await client.query<{ "QUERY PLAN": string }>(
      `EXPLAIN EXECUTE ${name} ('{}', '{}', 1)`,
    );
    const plan = rows.map((row) => row["QUERY PLAN"]).join("\n");
    const lookups = plan.match(/_pkey on tasks_/g) ?? [];
    expect(lookups.length).toBeGreaterThan(4);
    expect(plan.match(/Index Cond: .*\(?id = u(_1)?\.id\)/g)).toHaveLength(lookups.length);
    expect(plan).not.toMatch(/Seq Scan on (tasks|attempts)|id_slot_idx|Bitmap|Materialize/);
  },
);

const bornOf = (tasks: readonly Task[]) => tasks.map((task) => ({ task, payload: task.payload }));

test("a copy that fails leaves its connection fit for the next", async () => {
  const { url } = await sharedPostgres();
  const database = createDatabase({ url, schema, statementMs: 20_000, maxConnections: 1 });
  const then = { statement: sql("mark_copied"), values: [null, "{}"] };
  const backend = { name: "backend", text: "SELECT pg_backend_pid() AS pid" };
  const before = await database.rows(backend);
  const [known, ...fresh] = Array.from({ length: 4 }, () => factory.task());
  await history.insert([known!]);
  expect(await copyBorn(database, bornOf([...fresh, known!]), then)).toBe(false);
  expect(await copyBorn(database, bornOf(fresh), then)).toBe(true);
  expect(await copyBorn(database, bornOf(fresh), then)).toBe(false);
  expect(await history.get("default", [known!.id, fresh[0]!.id])).toEqual([known, fresh[0]]);
  expect(await database.rows(backend)).toEqual(before);
  await database.stop();
});

test("rows that leave out what they have by default are copied beside those that do not", async () => {
  const { url } = await sharedPostgres();
  const database = createDatabase({ url, schema, statementMs: 20_000, maxConnections: 1 });
  const bytes = { contentType: "application/octet-stream", data: Buffer.from([0, 1]) };
  const json = { contentType: "application/json", data: Buffer.from("{}") };
  const changes: Partial<Task>[] = [
    { durability: "relaxed" },
    { durability: "durable" },
    { priority: 3, retentionMs: 5, namespace: "tenant", readyAt: 9, workerId: "w" },
    { payload: bytes },
    { payload: undefined },
    { durability: "relaxed", payload: json, result: bytes },
    { durability: "relaxed", tags: ["a"], idempotencyKey: "k" },
    { run: 2, retryCount: 1, leaseLosses: 2, releases: 3, cancelRequestedAt: 4 },
    { durability: "relaxed", maxRetries: 7, groupKey: "g", traceContext: { traceparent: "t" } },
    { progress: { fraction: 1, message: "m" }, checkpoint: bytes },
    { error: { code: "c", message: "m", retryable: true } },
  ];
  const tasks = [...changes, ...Array.from({ length: 600 }, () => ({}))].map((change) =>
    factory.task(change),
  );
  const then = { statement: sql("mark_copied"), values: [null, "{}"] };
  expect(await copyBorn(database, bornOf(tasks), then)).toBe(true);
  const ids = tasks.map(({ id }) => id);
  const found = await history.get("default", ids);
  const [tenants] = await history.get("tenant", [ids[2]!]);
  expect(found.map((task, nth) => task ?? (nth === 2 ? tenants : undefined))).toEqual(tasks);
  const many = [...tasks.slice(1, 3), tasks[0]!, factory.task()];
  expect(await copyBorn(database, bornOf(many), then)).toBe(false);
  await database.stop();
});

test("what was copied ended by the clock of the store", async () => {
  const tasks = Array.from({ length: 3 }, () => factory.task());
  const now = async () => (await client.query<{ now: number }>(sql("store_now").text)).rows[0]!.now;
  const before = await now();
  const whole = { payloadOmitted: false };
  await history.record(tasks.map((task) => ended(task, "completed", {}, whole)));
  const { rows } = await client.query<{ ended_at: number; purge_at: number }>(
    "SELECT ended_at, purge_at FROM tasks WHERE id = ANY ($1)",
    [tasks.map(({ id }) => id)],
  );
  expect(rows).toHaveLength(3);
  for (const { ended_at, purge_at } of rows) {
    expect(ended_at).toBeGreaterThanOrEqual(before - 100);
    expect(ended_at).toBeLessThanOrEqual((await now()) + 100);
    expect(purge_at - ended_at).toBe(tasks[0]!.retentionMs);
  }
});

test("a database behind something that takes no copy is written to all the same", async () => {
  const { url } = await sharedPostgres();
  const database = createDatabase({ url, schema, statementMs: 20_000 });
  let tried = 0;
  const cutting = Object.create(database, {
    copy: { value: () => Promise.reject(new Error(`cut ${(tried += 1)}`)) },
  }) as typeof database;
  const told = [factory.task()].map((task) =>
    ended(task, "completed", {}, { payloadOmitted: false }),
  );
  await expect(record(cutting, told, 0)).rejects.toThrow("cut 1");
  expect(await record(cutting, told, 0)).toEqual(["applied"]);
  expect(tried).toBe(1);
  await database.stop();
});

test("the end of a task whose payload is at hand replaces its row with all that it said", async () => {
  const payload = { contentType: "text/plain", data: Buffer.from("as asked") };
  const [done, other, gone] = Array.from({ length: 3 }, () =>
    factory.task({ payload, tags: ["red"], idempotencyKey: randomUUID() }),
  );
  await history.insert([done!, other!]);
  const tell = (task: Task, version: number) => ({
    ...ended(task, "completed", { version }),
    asked: task,
  });
  expect(await history.record([tell(done!, 3)])).toEqual(["applied"]);
  const { task } = tell(done!, 3);
  expect(await history.get("default", [done!.id])).toEqual([{ ...task, payload }]);
  expect(await history.keyHolder("default", "default", done!.idempotencyKey)).toBe(done!.id);
  // With one that has ended and one that never came: what stands as it should is written.
  const outcomes = await history.record([tell(done!, 4), tell(other!, 3), tell(gone!, 3)]);
  expect(outcomes).toEqual(["superseded", "applied", "missing"]);
  expect((await history.get("default", [other!.id]))[0]?.payload).toEqual(payload);
  const { rows } = await client.query("SELECT FROM tasks WHERE id = ANY ($1)", [
    [done!.id, other!.id, gone!.id],
  ]);
  expect(rows).toHaveLength(2);
});

test("ends of tasks of different versions and runs replace their rows together", async () => {
  const tasks = [1, 4, 1].map((version, nth) => factory.task({ version, run: nth === 2 ? 2 : 1 }));
  await history.insert(tasks);
  const ends = tasks.map((task) => ({
    ...ended(task, "completed", { version: task.version + 2 }),
    asked: task,
  }));
  expect(await history.record(ends)).toEqual(["applied", "applied", "applied"]);
  const ids = tasks.map(({ id }) => id);
  const found = await history.get("default", ids);
  expect(found).toEqual(ends.map(({ task }, nth) => ({ ...task, payload: tasks[nth]!.payload })));
});

test("who asks for a new run while the end of the task replaces its row gets one", async () => {
  const { url } = await sharedPostgres();
  const looking = createDatabase({ url, schema, statementMs: 20_000 });
  const task = factory.task();
  await history.insert([task]);
  await history.record([ended(task, "failed")]);
  const { rows } = await client.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
  await client.query("BEGIN");
  await client.query(
    `CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM tasks WHERE id = '${task.id}'`,
  );
  await client.query("DELETE FROM tasks WHERE id = $1", [task.id]);
  await client.query("INSERT INTO tasks SELECT * FROM kept");
  const asking = history.revive("default", [task.id]);
  const text = "SELECT pid FROM pg_stat_activity WHERE $1::int = ANY (pg_blocking_pids(pid))";
  const blocked = () => looking.rows({ name: "blocked", text }, [rows[0]!.pid]);
  // Postgres tells nobody that a session waits for a row: it is asked.
  while ((await blocked()).length === 0) await systemClock.sleep(10);
  await client.query("COMMIT");
  expect((await asking).outcomes).toMatchObject([{ kind: "revived", task: { id: task.id } }]);
  await looking.stop();
});
