import pg from "pg";
import { systemClock } from "../../src/clock.js";
import { createPostgresHistory } from "../../src/history/postgres/postgres-history.js";
import type { HistoryHarness } from "../conformance/history-harness.js";
import { exerciseHistory } from "../conformance/history.js";
import { freshSchema, sharedPostgres } from "../support/stores.js";

async function make(): Promise<HistoryHarness> {
  const { url } = await sharedPostgres();
  const schema = freshSchema();
  // This machine may be busy with other tests: a slow answer is no missing one.
  const options = { url, schema, statementMs: 20_000, connectMs: 20_000 };
  const histories = [createPostgresHistory(options), createPostgresHistory(options)] as const;
  await Promise.all(histories.map((history) => history.start()));
  const client = new pg.Client(url);
  await client.connect();
  await client.query(`SET search_path TO ${schema}`);
  return {
    histories,
    now: () => systemClock.now(),
    async age(ms) {
      await client.query(
        `UPDATE tasks SET ended_at = ended_at - ${ms}, purge_at = purge_at - ${ms},
          ready_at = ready_at - ${ms}`,
      );
      await client.query(`UPDATE idempotency_keys SET expires_at = expires_at - ${ms}`);
      await client.query(`UPDATE unique_keys SET expires_at = expires_at - ${ms}`);
      await client.query(`UPDATE schedule_ticks SET recorded_at = recorded_at - ${ms}`);
      await client.query(`UPDATE batches SET completed_at = completed_at - ${ms}`);
      await client.query(`UPDATE commit_markers SET created_at = created_at - ${ms}`);
    },
    async spoil(taskId) {
      await client.query(
        `UPDATE tasks SET spec = '{"retry":5,"tags":"x","requiredLabels":null}', error = '"x"',
          progress = '7', idempotency_key = '\\u12' WHERE id = '${taskId}'`,
      );
    },
    async stop() {
      await client.end();
      await Promise.all(histories.map((history) => history.stop()));
    },
  };
}

exerciseHistory("Postgres", make);
