import { createHash } from "node:crypto";
import type pg from "pg";
import type { Clock, Timer } from "../../clock.js";
import { DroverError } from "../../errors.js";
import { failureOf } from "./failures.js";
import type { Database } from "./pool.js";

/**
 * Advisory locks are numbers for the whole database: this one is Drover's, of this schema and name.
 */
export const lockKey = (schema: string, name: string): string =>
  createHash("sha256").update(`drover/${schema}/${name}`).digest().readBigInt64BE().toString();

/** How often the connection that holds the lock is asked whether it still does. */
const checkMs = 1_000;

/**
 * Runs `work` while this process alone holds `name`; undefined if another does. The lock lives as
 * long as a connection of its own: when that is lost somebody else may hold it, so the signal is
 * aborted.
 */
export async function exclusively<T>(
  database: Database,
  clock: Clock,
  name: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T | undefined> {
  const client = await database.connect();
  const key = lockKey(database.schema, name);
  try {
    if (!(await ask(client, "SELECT pg_try_advisory_lock($1) AS held", key))) return undefined;
    const guard = watch(client, clock, name);
    try {
      return await work(guard.signal);
    } finally {
      guard.stop();
      await client.query("SELECT pg_advisory_unlock($1)", [key]).catch(() => undefined);
    }
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function ask(client: pg.Client, text: string, key: string): Promise<boolean> {
  try {
    const { rows } = await client.query<{ held: boolean }>(text, [key]);
    return rows[0]?.held === true;
  } catch (error) {
    throw failureOf(error);
  }
}

function watch(client: pg.Client, clock: Clock, name: string) {
  const controller = new AbortController();
  let timer: Timer | undefined;
  let stopped = false;
  const lost = (cause?: unknown) => {
    if (controller.signal.aborted) return;
    const message = `the connection that held the lock "${name}" was lost`;
    controller.abort(new DroverError("history_unavailable", message, { cause }));
  };
  const check = () => {
    if (stopped) return;
    timer = clock.after(checkMs, () => {
      client.query("SELECT").then(check, lost);
    });
  };
  client.once("end", lost);
  check();
  return {
    signal: controller.signal,
    stop() {
      stopped = true;
      timer?.cancel();
      client.off("end", lost);
    },
  };
}
