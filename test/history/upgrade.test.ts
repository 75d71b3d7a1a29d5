import { copyFile, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock, systemRandom } from "../../src/clock.js";
import { makeDays } from "../../src/history/postgres/days.js";
import { insert } from "../../src/history/postgres/insert.js";
import { migrate } from "../../src/history/postgres/migrate.js";
import { createDatabase, type Database } from "../../src/history/postgres/pool.js";
import { createPostgresHistory } from "../../src/history/postgres/postgres-history.js";
import { record } from "../../src/history/postgres/record.js";
import type { Task } from "../../src/task/task.js";
import { ended } from "../conformance/history-harness.js";
import { createTaskFactory } from "../support/task-factory.js";
import { freshSchema, sharedPostgres } from "../support/stores.js";

const factory = createTaskFactory(systemRandom, () => systemClock.now());
const migrations = fileURLToPath(new URL("../../src/history/postgres/migrations", import.meta.url));
let database: Database;
let folder: string;
let url: string;

beforeEach(async () => {
  ({ url } = await sharedPostgres());
  database = createDatabase({ url, schema: freshSchema(), statementMs: 20_000 });
  folder = await mkdtemp(path.join(tmpdir(), "drover-migrations-"));
});
afterEach(async () => {
  await database.stop();
  await rm(folder, { recursive: true });
});

/** Brings a new schema up to this migration only. */
async function standAt(last: string): Promise<void> {
  const files = (await readdir(migrations)).filter((name) => name <= `${last}.sql`);
  await Promise.all(
    files.map((name) => copyFile(path.join(migrations, name), path.join(folder, name))),
  );
  await migrate(database, { folder: pathToFileURL(`${folder}/`) });
  await makeDays(database);
}

test("what was written before migration 0012 is listed by its kind, and pruned, after it", async () => {
  await standAt("0011_kinds");
  const named = (queue: string, type: string, change: Partial<Task> = {}) =>
    factory.task({ queue, type, ...change });
  const tasks = [
    named("mail", "send"),
    named("mail-2", "send"),
    named("mail", "send.now"),
    named("mail", "receive"),
  ];
  const over = named("mail", "send", { retentionMs: 0 });
  await insert(database, [...tasks, over], "0190a6b2-7c1e-7abc-8def-0123456789ab", 0);
  await record(database, [ended(tasks[1]!, "completed"), ended(over, "completed")], 0);

  expect(await migrate(database)).toEqual([
    "0012_purge",
    "0013_kind_key",
    "0014_copies",
    "0015_cheaper_rows",
  ]);
  const history = createPostgresHistory({ url, schema: database.schema, statementMs: 20_000 });
  await history.start();
  expect(await history.prune(10)).toBe(1);
  const listed = async (filter: object): Promise<string[]> => {
    const page = { namespace: "default", pageSize: 10, pageToken: "" };
    return (await history.list({ ...page, ...filter })).tasks.map(({ id }) => id).toSorted();
  };
  const idsOf = (...numbers: number[]) => numbers.map((n) => tasks[n]!.id).toSorted();
  expect(await listed({})).toEqual(idsOf(0, 1, 2, 3));
  expect(await listed({ type: "send" })).toEqual(idsOf(0, 1));
  expect(await listed({ queue: "mail" })).toEqual(idsOf(0, 2, 3));
  expect(await listed({ queue: "mail", type: "send" })).toEqual(idsOf(0));
  expect(await listed({ queue: "mail-2", type: "send.now" })).toEqual([]);
  expect(await listed({ statuses: ["completed"] })).toEqual(idsOf(1));
  await history.stop();
});

test("kinds are looked up in their index, whatever the database takes for its order", async () => {
  await migrate(database);
  const key = "kind_number(t.namespace, t.queue, t.type, t.status)";
  const plan = await database.rows<{ "QUERY PLAN": string }>({
    name: "plan",
    text: `EXPLAIN SELECT t.queue FROM tasks t WHERE ${key} > 1 AND ${key} < 2
      ORDER BY ${key} LIMIT 1`,
  });
  const text = plan.map((row) => row["QUERY PLAN"]).join("\n");
  expect(text).toMatch(/Index Scan using tasks\w*kind_number/);
  expect(text).not.toMatch(/Seq Scan|Sort /);
});
