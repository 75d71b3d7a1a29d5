import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import type pg from "pg";
import { DroverError } from "../../errors.js";
import { failureOf } from "./failures.js";
import { lockKey } from "./exclusive.js";
import type { Database } from "./pool.js";

export interface Migration {
  readonly number: number;
  readonly name: string;
  readonly text: string;
  readonly checksum: string;
}

export interface MigrateOptions {
  /** Folder of `0001_name.sql` and so on; default Drover's own. */
  readonly folder?: URL;
  /**
   * How long one statement may take, and the wait for another coordinator that migrates. Default
   * 60,000.
   */
  readonly statementMs?: number;
}

const ownFolder = new URL("./migrations/", import.meta.url);

/**
 * Brings the schema up to date; returns the names of what was applied. One at a time across all
 * coordinators, each file in a transaction of its own. Refuses a database that a newer Drover has
 * migrated and one whose migrations were edited.
 */
export async function migrate(database: Database, options: MigrateOptions = {}): Promise<string[]> {
  const migrations = await readMigrations(options.folder ?? ownFolder);
  const client = await database.connect(options.statementMs ?? 60_000);
  try {
    await client.query("SELECT pg_advisory_lock($1)", [lockKey(database.schema, "migrate")]);
    await prepare(client, database.schema);
    const { rows } = await client.query<AppliedRow>(
      "SELECT number, name, checksum FROM schema_migrations ORDER BY number",
    );
    const open = stillOpen(migrations, rows);
    for (const migration of open) await apply(client, migration);
    return open.map(({ name }) => name);
  } catch (error) {
    throw failureOf(error);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/**
 * Names of the migrations that `migrate` would apply; changes nothing. Refuses what it refuses.
 */
export async function pendingMigrations(
  database: Database,
  options: Pick<MigrateOptions, "folder"> = {},
): Promise<string[]> {
  const migrations = await readMigrations(options.folder ?? ownFolder);
  const there = { name: "migrations_table", text: "SELECT to_regclass($1) IS NOT NULL AS made" };
  const table = `"${database.schema}".schema_migrations`;
  const [row] = await database.rows<{ made: boolean }>(there, [table]);
  if (!row?.made) return migrations.map(({ name }) => name);
  const text = "SELECT number, name, checksum FROM schema_migrations ORDER BY number";
  const applied = await database.rows<AppliedRow>({ name: "migrations_applied", text });
  return stillOpen(migrations, applied).map(({ name }) => name);
}

interface AppliedRow {
  number: number;
  name: string;
  checksum: string;
}

export async function readMigrations(folder: URL): Promise<Migration[]> {
  const files = (await readdir(folder)).filter((file) => /^\d{4}_\w+\.sql$/.test(file)).toSorted();
  const migrations = await Promise.all(
    files.map(async (file) => {
      // Line ends differ between checkouts; they are no edit.
      const text = (await readFile(new URL(file, folder), "utf8")).replaceAll("\r\n", "\n");
      const checksum = createHash("sha256").update(text).digest("hex");
      return { number: Number.parseInt(file, 10), name: file.slice(0, -4), text, checksum };
    }),
  );
  for (const [index, { number, name }] of migrations.entries()) {
    if (number === migrations[index + 1]?.number) {
      throw refusal(`${name} has the number of ${migrations[index + 1]!.name}: give it its own`);
    }
  }
  return migrations;
}

/** Where the schema may not be created it may still stand, made by whoever owns the database. */
async function prepare(client: pg.Client, schema: string): Promise<void> {
  const { rowCount } = await client.query("SELECT FROM pg_namespace WHERE nspname = $1", [schema]);
  if (rowCount === 0) await client.query(`CREATE SCHEMA "${schema}"`);
  await client.query(`CREATE TABLE IF NOT EXISTS schema_migrations (
    number int PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now())`);
}

function stillOpen(migrations: readonly Migration[], applied: readonly AppliedRow[]): Migration[] {
  const newest = migrations.at(-1)?.number ?? 0;
  const byNumber = new Map(migrations.map((migration) => [migration.number, migration]));
  for (const { number, name, checksum } of applied) {
    const own = byNumber.get(number);
    if (number > newest) {
      throw refusal(
        `the database was migrated to ${name}, this Drover knows only up to number ${newest}`,
        "Start a Drover at least as new as the one that migrated it.",
      );
    }
    if (own?.checksum !== checksum) {
      throw refusal(
        `migration ${name} was applied with other text than this Drover has`,
        "Restore the file as it was released; a change of the schema is a migration of its own.",
      );
    }
  }
  const done = new Set(applied.map(({ number }) => number));
  return migrations.filter(({ number }) => !done.has(number));
}

async function apply(
  client: pg.Client,
  { number, name, text, checksum }: Migration,
): Promise<void> {
  try {
    await client.query("BEGIN");
    await client.query(text);
    await client.query(
      "INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)",
      [number, name, checksum],
    );
    await client.query("COMMIT");
  } catch (error) {
    const failure = failureOf(error);
    if (failure.id === "history_unavailable") throw failure;
    await client.query("ROLLBACK");
    const why = error instanceof Error ? error.message : String(error);
    throw new DroverError("migration_failed", `migration ${name} failed: ${why}`, { cause: error });
  }
}

const refusal = (message: string, hint?: string): DroverError =>
  new DroverError("migration_failed", message, hint === undefined ? {} : { hint });
