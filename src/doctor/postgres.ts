import { DroverError } from "../errors.js";
import { pendingMigrations } from "../history/postgres/migrate.js";
import type { Database } from "../history/postgres/pool.js";
import { sql } from "../history/postgres/sql.js";
import { type Chart, type Check, createChart, reasonOf } from "./check.js";

const settingsSql = sql("doctor_settings");
const schemaSql = sql("doctor_schema");
const epochsSql = sql("doctor_epochs");

interface Settings {
  readonly version: number;
  readonly version_text: string;
  readonly synchronous_commit: string;
  readonly fsync: string;
  readonly full_page_writes: string;
  readonly read_only: string;
  readonly max_connections: number;
  readonly connections: number;
  readonly standby: boolean;
}

interface SchemaFacts {
  readonly partitions: number | null;
  readonly relaxed_queues: number;
  readonly missing_days: readonly number[];
  readonly old_markers: number;
  readonly oldest_marker_ms: number;
  readonly live_tasks: number;
}

/** What others than Postgres's own checks need of it. */
export interface HistoryFacts {
  readonly relaxedQueues: number;
  /** Live rows, at most 100,000. */
  readonly liveTasks: number;
  /** By partition. */
  readonly epochs: ReadonlyMap<number, number>;
}

export interface PostgresReport {
  readonly checks: Check[];
  /** Undefined: it did not answer, or its schema is not there yet. */
  readonly facts: HistoryFacts | undefined;
}

const markerIdleMs = 10_000;
/** Mending begins after 10 s; what stands this long nobody mends. */
const markerLateMs = 60_000;

export async function checkPostgres(
  database: Database,
  partitions: number,
): Promise<PostgresReport> {
  const chart = createChart("postgres");
  try {
    const [settings] = await database.rows<Settings>(settingsSql);
    checkSettings(chart, settings!);
    const current = await checkMigrations(chart, database);
    if (!current) return { checks: chart.checks, facts: undefined };
    const [schema] = await database.rows<SchemaFacts>(schemaSql, [markerIdleMs]);
    checkSchema(chart, schema!, partitions);
    const epochs = await database.rows<{ partition: number; epoch: number }>(epochsSql);
    const facts = {
      relaxedQueues: schema!.relaxed_queues,
      liveTasks: schema!.live_tasks,
      epochs: new Map(epochs.map(({ partition, epoch }) => [partition, epoch])),
    };
    return { checks: chart.checks, facts };
  } catch (error) {
    const refused = error instanceof DroverError && error.id !== "history_unavailable";
    chart.fail("reachable", refused ? reasonOf(error) : `no answer: ${reasonOf(error)}`, {
      mend: "Start Postgres, or mend database_url (DATABASE_URL); mind its user and database.",
      unreachable: !refused,
    });
    return { checks: chart.checks, facts: undefined };
  }
}

function checkSettings(chart: Chart, settings: Settings): void {
  const { version, version_text: text, max_connections: most, connections } = settings;
  if (version >= 140_000) chart.ok("version", `Postgres ${text}`);
  else chart.fail("version", `Postgres ${text}: 14 is needed`, { mend: "Upgrade Postgres." });
  if (settings.standby || settings.read_only === "on") {
    const what = settings.standby ? "a standby" : "set to read only";
    const mend = "Point database_url at the primary.";
    chart.fail("role", `${what}: it takes no writes`, { mend });
  }
  for (const name of ["synchronous_commit", "fsync", "full_page_writes"] as const) {
    if (settings[name] !== "off") {
      chart.ok(name, settings[name]);
      continue;
    }
    chart.fail(name, "off: a crash of Postgres loses tasks that were acknowledged", {
      mend: `ALTER SYSTEM SET ${name} = on, then SELECT pg_reload_conf(); mind ALTER ROLE too.`,
      breaks: "P1",
    });
  }
  const says = `${connections} of ${most} in use`;
  if (connections < most * 0.9) chart.ok("connections", says);
  else chart.warn("connections", says, { mend: "Raise max_connections, or use a pooler." });
}

async function checkMigrations(chart: Chart, database: Database): Promise<boolean> {
  const mend = "Run `drover migrate`, or start a coordinator: it migrates first.";
  try {
    const pending = await pendingMigrations(database);
    if (pending.length === 0) chart.ok("schema", `${database.schema} is up to date`);
    else chart.fail("schema", `pending: ${pending.join(", ")}`, { mend });
    return pending.length === 0;
  } catch (error) {
    if (!(error instanceof Error && "id" in error && error.id === "migration_failed")) throw error;
    const hint = "hint" in error ? String(error.hint) : mend;
    chart.fail("schema", error.message, { mend: hint });
    return false;
  }
}

function checkSchema(chart: Chart, schema: SchemaFacts, partitions: number): void {
  if (schema.missing_days.length === 0) chart.ok("days", "tables of today and tomorrow stand");
  else {
    const days = schema.missing_days.map((day) => (day === 0 ? "today" : "tomorrow")).join(", ");
    chart.warn("days", `no table of ${days}: tasks go among the rest, and are pruned slower`, {
      mend: "A running coordinator makes them; so does `drover migrate`.",
    });
  }
  if (schema.partitions === null) {
    chart.ok("partition count", "not fixed yet: the first coordinator does");
  } else if (schema.partitions === partitions) chart.ok("partition count", String(partitions));
  else {
    chart.fail(
      "partition count",
      `this database is of ${schema.partitions}, the settings say ${partitions}: none starts`,
      { mend: `Set partitions: ${schema.partitions}.` },
    );
  }
  checkMarkers(chart, schema);
}

function checkMarkers(
  chart: Chart,
  { old_markers: old, oldest_marker_ms: age }: SchemaFacts,
): void {
  if (old === 0) return chart.ok("commit markers", "none older than 10 s");
  const says = `${old} older than 10 s, the oldest ${Math.round(age / 1000)} s: commits that may`;
  const late = age >= markerLateMs;
  const mend = "A running coordinator mends them within seconds: are Redis and coordinators up?";
  const whole = `${says} not have reached Redis`;
  if (late) chart.fail("commit markers", whole, { mend, breaks: "P1" });
  else chart.warn("commit markers", whole, { mend });
}
