import type { Config } from "./config.js";
import { DroverError } from "./errors.js";
import { makeDays } from "./history/postgres/days.js";
import { migrate, pendingMigrations } from "./history/postgres/migrate.js";
import { createDatabase } from "./history/postgres/pool.js";

export interface MigrationReport {
  readonly schema: string;
  readonly applied: readonly string[];
  /** Those a check found; empty after a migration. */
  readonly pending: readonly string[];
}

/**
 * `drover migrate`: brings the schema of history up to date and makes the tables of the next days,
 * as a coordinator does at its start. `check` only looks.
 */
export async function runMigrate(
  config: Config,
  { check = false }: { readonly check?: boolean } = {},
): Promise<MigrationReport> {
  const { database_url: url, database_schema: schema } = config;
  if (config.history !== "postgres") {
    const message = "history is memory: there is nothing to migrate";
    throw new DroverError("config_invalid", message, {
      field: "history",
      hint: "Set history: postgres and DATABASE_URL.",
    });
  }
  const database = createDatabase({ url, schema, applicationName: "drover migrate" });
  try {
    if (check) return { schema, applied: [], pending: await pendingMigrations(database) };
    const applied = await migrate(database);
    await makeDays(database);
    return { schema, applied, pending: [] };
  } finally {
    await database.stop();
  }
}
