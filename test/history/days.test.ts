import pg from "pg";
import { beforeAll, expect, test } from "vitest";
import { systemClock, systemRandom } from "../../src/clock.js";
import type { History } from "../../src/history/history.js";
import { createPostgresHistory } from "../../src/history/postgres/postgres-history.js";
import { formTaskId, slotOfQueue } from "../../src/task/ids.js";
import type { Task } from "../../src/task/task.js";
import { attemptOf, ended } from "../conformance/history-harness.js";
import { newBatch } from "../support/batch-factory.js";
import { createTaskFactory } from "../support/task-factory.js";
import { freshSchema, sharedPostgres } from "../support/stores.js";

const dayMs = 86_400_000;
const factory = createTaskFactory(systemRandom, () => systemClock.now());
let client: pg.Client;
let history: History;

beforeAll(async () => {
  const { url } = await sharedPostgres();
  const schema = freshSchema();
  history = createPostgresHistory({ url, schema, statementMs: 20_000, connectMs: 20_000 });
  await history.start();
  client = new pg.Client(url);
  await client.connect();
  await client.query(`SET search_path TO ${schema}`);
  return async () => {
    await client.end();
    await history.stop();
  };
});

/** A task whose id carries a time so many days from now. */
function taskOfDay(days: number, change: Partial<Task> = {}): Task {
  const time = systemClock.now() + days * dayMs;
  const id = formTaskId(time, slotOfQueue("default", "default"), systemRandom.bytes(8));
  return factory.task({ id, createdAt: time, ...change });
}

const makeDay = (days: number) => client.query("SELECT make_day(today() + $1)", [days]);

async function tableOf(task: Task): Promise<string | undefined> {
  const { rows } = await client.query<{ name: string }>(
    "SELECT tableoid::regclass::text AS name FROM tasks WHERE id = $1",
    [task.id],
  );
  return rows[0]?.name;
}

async function tableNames(): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT relname AS name FROM pg_class WHERE relname ~ '(tasks|attempts|task_logs)_[0-9]{8}$'
      AND relkind = 'r' AND relnamespace = current_schema()::regnamespace`,
  );
  return rows.map(({ name }) => name);
}

test("tables of today and the next days stand from the start", async () => {
  for (const days of [0, 1, 2, 3]) {
    const task = taskOfDay(days);
    await history.insert([task]);
    expect(await tableOf(task)).toMatch(/^tasks_\d{8}$/);
  }
});

test("an id of any other time is taken, too", async () => {
  const odd = [taskOfDay(-20_000), taskOfDay(900), taskOfDay(3_000_000)];
  const { outcomes } = await history.insert(odd);
  expect(outcomes.map(({ kind }) => kind)).toEqual(["inserted", "inserted", "inserted"]);
  for (const task of odd) expect(await tableOf(task)).toBe("tasks_rest");
  expect((await history.get(undefined, [odd[1]!.id]))[0]?.id).toBe(odd[1]!.id);
});

test("a day whose rows stand among the rest gets no table; they stay where they are", async () => {
  const early = taskOfDay(40);
  await history.insert([early]);
  await makeDay(40);
  expect(await tableOf(early)).toBe("tasks_rest");
});

test("an old day is dropped whole; what lives or is kept of it moves out first", async () => {
  const namespace = "dropped";
  await makeDay(-9);
  const day = (change: Partial<Task> = {}) => taskOfDay(-9, { namespace, ...change });
  const over = Array.from({ length: 30 }, () => day({ retentionMs: 0 }));
  const keyed = day({ retentionMs: 0, idempotencyKey: "over" });
  const kept = day({ retentionMs: 30 * dayMs, idempotencyKey: "kept" });
  const live = day();
  await history.insert([...over, keyed, kept, live]);
  const done = [...over, keyed, kept];
  await history.record(
    done.map((task) => ended(task, "completed", {}, { attempt: attemptOf(task) })),
  );
  await client.query("SELECT make_log_day(today() - 9)");
  const logged = { fencingToken: 7, attempt: 1, time: 0, level: "info", fields: "" } as const;
  await history.addLogs(
    [...over, kept, live].map(({ id: taskId }) => {
      return { ...logged, taskId, sequence: 1, message: "said", dropped: 0 };
    }),
  );
  const table = await tableOf(kept);
  expect(table).toMatch(/^tasks_\d{8}$/);
  await client.query("UPDATE tasks SET purge_at = purge_at - 1000 WHERE namespace = $1", [
    namespace,
  ]);

  expect(await history.prune(5)).toBe(31);
  const names = await tableNames();
  expect(names.filter((name) => name.endsWith(table!.slice(-8)))).toEqual([]);
  expect([await tableOf(kept), await tableOf(live)]).toEqual(["tasks_rest", "tasks_rest"]);
  const left = await client.query("SELECT task_id FROM task_logs ORDER BY task_id");
  expect(left.rows).toEqual([kept.id, live.id].toSorted().map((id) => ({ task_id: id })));
  expect(await history.get(namespace, [over[0]!.id, keyed.id])).toEqual([undefined, undefined]);
  expect((await history.get(namespace, [kept.id]))[0]?.payload).toBeDefined();
  expect(await history.attempts(namespace, kept.id)).toHaveLength(1);
  expect(await history.finalCounts(namespace)).toEqual([
    { queue: "default", status: "completed", tasks: 1 },
  ]);
  expect(await history.keyHolder(namespace, "default", "over")).toBeUndefined();
  expect(await history.keyHolder(namespace, "default", "kept")).toBe(kept.id);

  await history.record([ended(live, "failed", {}, { attempt: attemptOf(live) })]);
  expect((await history.get(namespace, [live.id]))[0]?.status).toBe("failed");
});

test("keys that have lapsed are as good a reason to go on as tasks", async () => {
  const keys = ["a", "b", "c", "d", "e"];
  await history.insert(keys.map((idempotencyKey) => factory.task({ idempotencyKey })));
  await client.query("UPDATE idempotency_keys SET expires_at = 1 WHERE key = ANY ($1)", [keys]);
  const standing = async () =>
    (await client.query("SELECT key FROM idempotency_keys WHERE key = ANY ($1)", [keys])).rowCount;
  expect([await history.prune(2), await standing()]).toEqual([2, 3]);
  expect([await history.prune(2), await history.prune(2)]).toEqual([2, 1]);
  expect(await standing()).toBe(0);
});

test("a day with too many live rows to move stands, and loses only what is over", async () => {
  const namespace = "standing";
  await makeDay(-15);
  const live = Array.from({ length: 1_001 }, () => taskOfDay(-15, { namespace }));
  const over = taskOfDay(-15, { namespace, retentionMs: 0 });
  // Kept so long that no index shows when it may go.
  const weeks = Array.from({ length: 3 }, () => taskOfDay(-15, { namespace }));
  await history.insert(live.slice(0, 900));
  await history.insert([...live.slice(900), ...weeks, over]);
  await history.record([over, ...weeks].map((task) => ended(task, "completed")));
  await client.query("UPDATE tasks SET purge_at = 0 WHERE id = $1", [over.id]);
  await client.query(
    `UPDATE tasks SET ended_at = now_ms() - 700000000, purge_at = now_ms() - 95200000
    WHERE id = ANY ($1)`,
    [weeks.map(({ id }) => id)],
  );
  expect(await history.prune(100)).toBe(4);
  expect(await tableOf(live[0]!)).toMatch(/^tasks_\d{8}$/);
  for (const gone of [over, ...weeks]) expect(await tableOf(gone)).toBeUndefined();
  expect(await history.liveCount(namespace)).toBe(1_001);
});

test("tasks of batches are counted on when their day goes; one that may call keeps its day", async () => {
  const namespace = "batched";
  await makeDay(-20);
  const [over, open] = await Promise.all(
    [1, 2].map(async () => (await history.batches.create(newBatch({ namespace }))).batch.id),
  );
  const tasksOf = (batchId: string | undefined) =>
    [1, 2, 3].map(() => taskOfDay(-20, { namespace, retentionMs: dayMs, terms: { batchId } }));
  const [ofOver, ofOpen] = [tasksOf(over), tasksOf(open)];
  await history.insert([...ofOver, ...ofOpen]);
  await history.record([...ofOver, ...ofOpen].map((task) => ended(task, "failed")));
  await history.batches.close(namespace, over!);
  expect((await history.batches.call(over!, {})).completed).toBe(true);
  await client.query("UPDATE batches SET watched = false WHERE id = $1", [over]);
  await client.query("UPDATE tasks SET purge_at = 0 WHERE id = $1", [ofOpen[0]!.id]);
  await history.prune(100);
  const table = await tableOf(ofOpen[1]!);
  expect(table).toMatch(/^tasks_\d{8}$/);
  expect(await tableOf(ofOpen[0]!)).toBeUndefined();
  expect(await history.batches.counts(open!)).toEqual({ failed: 3 });

  await client.query("DELETE FROM batches WHERE id = $1", [open]);
  await client.query("UPDATE tasks SET purge_at = 0 WHERE namespace = $1", [namespace]);
  await history.prune(100);
  expect(await tableNames()).not.toContain(table);
  expect(await history.batches.counts(over!)).toEqual({ failed: 3 });
  const [look] = await history.batches.look([over!]);
  expect(look?.facts).toEqual({ live: false, unsuccessful: true, failures: 3 });
});

test("an empty table that was analyzed is not believed to stay empty", async () => {
  await client.query("ANALYZE tasks");
  await history.prune(1);
  const { rows } = await client.query(
    `SELECT relname FROM pg_class WHERE relname ~ '^tasks_([0-9]{8}|rest)$' AND relkind = 'r'
      AND relnamespace = current_schema()::regnamespace AND reltuples = 0`,
  );
  expect(rows).toEqual([]);
});

test("submitting and recording go on while days are made and dropped", async () => {
  const namespace = "busy";
  const settled: string[] = [];
  let pruning = true;
  const work = (async () => {
    while (pruning) {
      const tasks = Array.from({ length: 20 }, () => factory.task({ namespace }));
      await history.insert(tasks);
      const outcomes = await history.record(tasks.map((task) => ended(task, "completed")));
      expect(new Set(outcomes)).toEqual(new Set(["applied"]));
      settled.push(...tasks.map(({ id }) => id));
    }
  })();
  try {
    for (const days of [-30, -31, -32]) {
      await makeDay(days);
      await history.insert([taskOfDay(days, { namespace })]);
      await history.prune(100);
    }
  } finally {
    pruning = false;
    await work;
  }
  expect(settled.length).toBeGreaterThan(0);
  expect(await history.finalCounts(namespace)).toEqual([
    { queue: "default", status: "completed", tasks: settled.length },
  ]);
  expect(await history.liveCount(namespace)).toBe(3);
});
