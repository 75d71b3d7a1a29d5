import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { migrate } from "../../src/history/postgres/migrate.js";
import { createDatabase, type Database } from "../../src/history/postgres/pool.js";
import { freshSchema, sharedPostgres } from "../support/stores.js";

let database: Database;
let folder: string;
let url: string;

const inFolder = () => ({ folder: pathToFileURL(`${folder}/`) });
const file = (name: string, text: string) => writeFile(path.join(folder, name), text);
const query = (text: string) => database.rows<{ n: number }>({ name: text.slice(0, 20), text });

beforeEach(async () => {
  ({ url } = await sharedPostgres());
  database = createDatabase({ url, schema: freshSchema() });
  folder = await mkdtemp(path.join(tmpdir(), "drover-migrations-"));
  await file("0001_one.sql", "CREATE TABLE one (n int); INSERT INTO one VALUES (1);");
});
afterEach(async () => {
  await database.stop();
  await rm(folder, { recursive: true });
});

test("files are applied in order, each once", async () => {
  await file("0002_two.sql", "INSERT INTO one VALUES (2);");
  await file("notes.txt", "no migration");
  expect(await migrate(database, inFolder())).toEqual(["0001_one", "0002_two"]);
  expect(await migrate(database, inFolder())).toEqual([]);
  await file("0003_three.sql", "INSERT INTO one VALUES (3);");
  expect(await migrate(database, inFolder())).toEqual(["0003_three"]);
  expect((await query("SELECT n FROM one ORDER BY n")).map(({ n }) => n)).toEqual([1, 2, 3]);
});

test("many coordinators that start at once apply each file once", async () => {
  const others = Array.from({ length: 4 }, () => createDatabase({ url, schema: database.schema }));
  const applied = await Promise.all(others.map((other) => migrate(other, inFolder())));
  expect(applied.flat()).toEqual(["0001_one"]);
  await Promise.all(others.map((other) => other.stop()));
});

test("an edited migration is refused by name", async () => {
  await migrate(database, inFolder());
  await file("0001_one.sql", "CREATE TABLE one (n bigint);");
  await expect(migrate(database, inFolder())).rejects.toMatchObject({
    id: "migration_failed",
    message: expect.stringContaining("0001_one") as string,
  });
});

test("other line ends are no edit", async () => {
  await file("0001_one.sql", "CREATE TABLE one (n int);\nSELECT 1;\n");
  await migrate(database, inFolder());
  await file("0001_one.sql", "CREATE TABLE one (n int);\r\nSELECT 1;\r\n");
  expect(await migrate(database, inFolder())).toEqual([]);
});

test("a database of a newer Drover is refused", async () => {
  await file("0002_two.sql", "SELECT 1;");
  await migrate(database, inFolder());
  await rm(path.join(folder, "0002_two.sql"));
  await expect(migrate(database, inFolder())).rejects.toMatchObject({
    id: "migration_failed",
    message: expect.stringContaining("0002_two") as string,
    hint: expect.stringContaining("at least as new") as string,
  });
});

test("a failing migration leaves nothing behind, and those before it stand", async () => {
  await file("0002_two.sql", "CREATE TABLE two (n int); SELECT nonsense;");
  await expect(migrate(database, inFolder())).rejects.toMatchObject({
    id: "migration_failed",
    message: expect.stringContaining("nonsense") as string,
  });
  const [row] = await query("SELECT count(*) AS n FROM pg_class WHERE oid = to_regclass('two')");
  expect(row?.n).toBe(0);
  await file("0002_two.sql", "CREATE TABLE two (n int);");
  expect(await migrate(database, inFolder())).toEqual(["0002_two"]);
});

test("a number may come late, but no two files have the same", async () => {
  await file("0003_three.sql", "SELECT 1;");
  expect(await migrate(database, inFolder())).toEqual(["0001_one", "0003_three"]);
  await file("0002_two.sql", "SELECT 1;");
  expect(await migrate(database, inFolder())).toEqual(["0002_two"]);
  await file("0003_other.sql", "SELECT 1;");
  await expect(migrate(database, inFolder())).rejects.toMatchObject({
    id: "migration_failed",
    message: expect.stringContaining("0003_other") as string,
  });
});

test("a migration that was applied and is not here any more is refused by name", async () => {
  await file("0002_two.sql", "SELECT 1;");
  await file("0003_three.sql", "SELECT 1;");
  await migrate(database, inFolder());
  await rm(path.join(folder, "0002_two.sql"));
  await expect(migrate(database, inFolder())).rejects.toMatchObject({
    id: "migration_failed",
    message: expect.stringContaining("0002_two") as string,
  });
});

test("a schema name that would have to be quoted is refused", () => {
  expect(() => createDatabase({ url, schema: 'x"; DROP' })).toThrow(/no schema name/);
});
