import { readdirSync, readFileSync } from "node:fs";

/** One file of ./sql: prepared once a connection, under its own name. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

/** Stands for `{task}` in the files: what a whole task is read from. */
const taskColumns = `t.id, t.version, t.fencing_token, t.created_at, t.ready_at, t.started_at,
  t.completed_at, t.cancel_requested_at, t.retention_ms, t.run, t.attempt, t.retry_count,
  t.lease_losses, t.releases, t.priority, t.status, t.namespace, t.queue, t.type, t.session_id,
  t.worker_id, t.idempotency_key, t.spec::text, t.error::text, t.progress::text, t.payload_type,
  t.payload, t.result_type, t.result, t.extra::text, now_ms() AS now`;

/** Stands for `{schedule}`. */
const scheduleColumns = `namespace, name, version, revision, created_at, updated_at, due_at,
  last_tick, paused, note, spec::text, state::text, payload_type, payload`;

/** Stands for `{batch}`; payloads of callbacks are apart. */
const batchColumns = `b.id, b.namespace, b.created_at, b.closed_at, b.completed_at, b.cancelled_at,
  b.watched, b.failure_threshold, b.spec::text, b.cancel::text, b.called::text, now_ms() AS now`;

const folder = new URL("./sql/", import.meta.url);
const partsFolder = new URL("./sql/parts/", import.meta.url);

/** What stands in braces in the files, and in the parts themselves. */
const parts = new Map([
  ["task", taskColumns],
  ["schedule", scheduleColumns],
  ["batch", batchColumns],
]);
for (const file of readdirSync(partsFolder)) {
  const text = readFileSync(new URL(file, partsFolder), "utf8").trimEnd();
  parts.set(file.slice(0, -".sql".length), text);
}

const expanded = (text: string): string =>
  text.replaceAll(/\{(\w+)\}/g, (word, name: string) => {
    const part = parts.get(name);
    return part === undefined ? word : expanded(part);
  });

const statements = new Map<string, Statement>();
for (const file of readdirSync(folder)) {
  if (!file.endsWith(".sql")) continue;
  const name = file.slice(0, -".sql".length);
  const text = readFileSync(new URL(file, folder), "utf8");
  statements.set(name, { name, text: expanded(text) });
}

/** The statement in `sql/<name>.sql`. */
export function sql(name: string): Statement {
  const statement = statements.get(name);
  if (!statement) throw new Error(`there is no file sql/${name}.sql`);
  return statement;
}
