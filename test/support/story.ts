/** What stories share: stores, load, waiting for a state, and the agreement of all at the end. */
import pg from "pg";
import { Redis } from "ioredis";
import { afterAll, expect } from "vitest";
import { createClient, type Client } from "../../src/client/index.js";
import { systemClock } from "../../src/clock.js";
import { partitionOfSlot, slotOfId } from "../../src/task/ids.js";
import type { CoordinatorProcess, WorkerProcess } from "./processes.js";
import { freshPrefix, freshSchema, sharedPostgres, sharedRedis } from "./stores.js";

/** `make soak` runs the long versions. */
export const soak = process.env.DROVER_SOAK === "1";

export interface StoryStores {
  /** For `drover serve`. */
  readonly env: Record<string, string>;
  readonly redisUrl: string;
  readonly prefix: string;
  readonly databaseUrl: string;
  readonly schema: string;
}

interface Given {
  redis?: { url: string };
  postgres?: { url: string };
}

/** Fresh keys and a fresh schema, in the stores given, else in those of the run. */
export async function storyStores(given: Given = {}): Promise<StoryStores> {
  const redis = given.redis ?? (await sharedRedis());
  const postgres = given.postgres ?? (await sharedPostgres());
  const prefix = freshPrefix();
  const schema = freshSchema();
  const env = {
    REDIS_URL: redis.url,
    DROVER_REDIS_PREFIX: prefix,
    DATABASE_URL: postgres.url,
    DROVER_DATABASE_SCHEMA: schema,
  };
  return { env, redisUrl: redis.url, prefix, databaseUrl: postgres.url, schema };
}

/** A story whose load or faults stayed below their figure has shown nothing. */
export function invalidUnless(holds: boolean, why: string): void {
  if (!holds) throw new Error(`INVALID story: ${why}`);
}

/** Looks again and again until there is an answer; rejects after `ms`, with what was seen last. */
export async function until<T>(
  what: string,
  look: () => Promise<T | false | undefined>,
  ms: number,
  seen: () => unknown = () => "",
): Promise<T> {
  const endsAt = systemClock.monotonic() + ms;
  for (;;) {
    const found = await look();
    if (found !== false && found !== undefined) return found;
    if (systemClock.monotonic() > endsAt) {
      throw new Error(`${what}: not within ${ms} ms; ${JSON.stringify(seen())}`);
    }
    await systemClock.sleep(50);
  }
}

/**
 * Submits until every worker has begun a task again: whoever is there first may take several.
 * Returns the ids of all.
 */
export async function untilAllWork(
  client: Client,
  workers: readonly WorkerProcess[],
): Promise<string[]> {
  const before = workers.map(({ starts }) => starts.length);
  const submitted: string[] = [];
  const look = async (): Promise<boolean> => {
    const round = await Promise.all(workers.map(() => client.submit("sleep", { ms: 500 })));
    submitted.push(...round.map(({ id }) => id));
    await Promise.all(round.map(({ id }) => client.wait(id, { timeoutMs: 30_000 })));
    return workers.every(({ starts }, n) => starts.length > before[n]!);
  };
  await until("every worker takes tasks again", look, 60_000);
  return submitted;
}

/**
 * Resolves when history holds so many tasks and none is live. Stats would not do: they know only
 * what has reached Redis.
 */
export async function drained(ledger: Ledger, tasks: number, ms = 60_000): Promise<void> {
  let last: unknown;
  const sql = "SELECT count(*)::int AS tasks, count(ended_at)::int AS ended FROM $.tasks";
  const look = async (): Promise<boolean> => {
    const [row] = await ledger.query(sql);
    last = row;
    return Number(row?.tasks) >= tasks && row?.ended === row?.tasks;
  };
  await until(`all of ${tasks} tasks end`, look, ms, () => last);
}

/**
 * Resolves when sweeps take back leases of dead sessions. For 15 s after the first one they do not,
 * as nobody had the chance to renew.
 */
export const reaping = (stores: StoryStores): Promise<void> =>
  sweeping(stores, "reap_at", "dead sessions are looked for");

/** Resolves when sweeps end attempts by time: for 5 s after the first one they do not. */
export const timingOut = (stores: StoryStores): Promise<void> =>
  sweeping(stores, "timeout_at", "attempts past their time are looked for");

async function sweeping({ redisUrl, prefix }: StoryStores, field: string, what: string) {
  const redis = new Redis(redisUrl);
  try {
    const look = async (): Promise<boolean> => {
      const from = await redis.hget(`{${prefix}:0}:m`, field);
      const [seconds] = await redis.time();
      return from !== null && Number(seconds) * 1_000 > Number(from);
    };
    await until(what, look, 30_000);
  } finally {
    redis.disconnect();
  }
}

/** Whose streams stand there now. */
export function sessionsOf({ events }: CoordinatorProcess): Set<string> {
  const open = new Set<string>();
  for (const { msg, sessionId } of events.all) {
    if (msg === "session.opened") open.add(sessionId as string);
    if (msg === "session.closed") open.delete(sessionId as string);
  }
  return open;
}

/**
 * How often a coordinator had news for those who wait: by what was announced, or by looking again.
 */
export async function newsBy(http: string): Promise<{ hint: number; sweep: number }> {
  const text = await (await fetch(`${http}/metrics`)).text();
  const samples = text.matchAll(/^drover_watch_news_total\{by="(\w+)"\} (\d+)$/gm);
  const found = Object.fromEntries([...samples].map(([, by, count]) => [by!, Number(count)]));
  return { hint: 0, sweep: 0, ...found };
}

export interface Load {
  readonly acknowledged: Set<string>;
  readonly failures: unknown[];
  /** Submits no more, and waits for the answers to those under way. */
  stop(): Promise<void>;
  /** Resolves when so many more have been acknowledged. */
  more(count: number, ms: number): Promise<void>;
}

const paceMs = 50;

/** A steady stream of submits by a client that retries. */
export function startLoad(
  client: Client,
  perSecond: number,
  submit: (n: number) => Promise<{ id: string }> = (n) => client.submit("noop", { n }),
): Load {
  const acknowledged = new Set<string>();
  const failures: unknown[] = [];
  const underWay = new Set<Promise<void>>();
  const ending = new AbortController();
  let sent = 0;
  const startedAt = systemClock.monotonic();

  function one(): void {
    const answer = submit(sent).then(
      ({ id }) => void acknowledged.add(id),
      (error: unknown) => void failures.push(error),
    );
    sent += 1;
    underWay.add(answer);
    void answer.finally(() => underWay.delete(answer));
  }
  async function run(): Promise<void> {
    while (!ending.signal.aborted) {
      const due = ((systemClock.monotonic() - startedAt) / 1000) * perSecond;
      while (sent < due) one();
      await systemClock.sleep(paceMs, ending.signal).catch(() => undefined);
    }
    await Promise.all(underWay);
  }
  const running = run();
  return {
    acknowledged,
    failures,
    async stop() {
      ending.abort();
      await running;
    },
    async more(count, ms) {
      const goal = acknowledged.size + count;
      const look = async (): Promise<boolean> => acknowledged.size >= goal;
      await until(`${count} more submits`, look, ms, () => acknowledged.size);
    },
  };
}

export interface TaskRow {
  readonly id: string;
  readonly status: string;
  readonly attempt: number;
  readonly retry_count: number;
  readonly lease_losses: number;
}

export interface AttemptRow {
  readonly task_id: string;
  readonly attempt: number;
  readonly fencing_token: number;
  readonly outcome: string | null;
}

export interface Ledger {
  tasks(): Promise<TaskRow[]>;
  attempts(): Promise<AttemptRow[]>;
  query(sql: string, values?: unknown[]): Promise<Record<string, unknown>[]>;
}

const closers: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  await Promise.allSettled(closers.splice(0).map((close) => close()));
});

/** A client that is closed after the file. */
export function storyClient(address: readonly string[]): Client {
  const client = createClient({ address });
  closers.push(() => client.close());
  return client;
}

/**
 * Completions that only the row of their task tells, as in history's sql/attempts.sql; all others.
 */
const attemptsSql = `
  WITH task AS (
    SELECT id, fencing_token, attempt, status = 'completed' AND attempt >= 1
        AND fencing_token >= 1 AND started_at IS NOT NULL AS completes
    FROM $.tasks
  ), own AS (
    SELECT a.task_id, a.attempt, a.fencing_token, a.outcome,
      t.completes AND a.fencing_token = t.fencing_token AS last
    FROM task t JOIN $.attempts a ON a.task_id = t.id
  )
  SELECT task_id::text, attempt, fencing_token, outcome
  FROM own WHERE NOT last OR outcome = 'completed'
  UNION ALL
  SELECT id::text, attempt, fencing_token, 'completed' FROM task
  WHERE completes AND id NOT IN (
    SELECT task_id FROM own WHERE last AND outcome = 'completed')`;

/** Reads history past Drover, as anybody with SQL can. `$` in a query stands for the schema. */
export function openLedger({ databaseUrl, schema }: StoryStores): Ledger {
  async function query(sql: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
    const database = new pg.Client({ connectionString: databaseUrl });
    await database.connect();
    try {
      const text = sql.replaceAll("$.", `"${schema}".`);
      return (await database.query<Record<string, unknown>>(text, values)).rows;
    } finally {
      await database.end();
    }
  }
  return {
    query,
    tasks: async () =>
      (await query(
        "SELECT id::text, status, attempt, retry_count, lease_losses FROM $.tasks",
      )) as unknown as TaskRow[],
    attempts: async () => {
      const rows = await query(attemptsSql);
      return rows.map((row) => ({ ...row, fencing_token: Number(row.fencing_token) })) as never;
    },
  };
}

export interface Told {
  readonly ledger: Ledger;
  /** Tasks whose submission was answered with OK. */
  readonly acknowledged: ReadonlySet<string>;
  /** Tasks that may stand though nobody was told so. */
  readonly unknown?: ReadonlySet<string>;
  readonly workers: readonly WorkerProcess[];
  /** Each gives out fencing tokens of its own. Default 1. */
  readonly partitions?: number;
}

/**
 * What was acknowledged, what workers ran and what history holds are one story: every acknowledged
 * task stands COMPLETED, none stands that nobody submitted, each was accepted exactly once, from a
 * start that a worker logged, and no fencing token was given twice.
 */
export async function expectAgreement(told: Told): Promise<void> {
  const { ledger, acknowledged, unknown = new Set() } = told;
  const rows = await ledger.tasks();
  const attempts = await ledger.attempts();
  const byId = new Map(rows.map((row) => [row.id, row]));
  const lost = [...acknowledged].filter((id) => byId.get(id)?.status !== "completed");
  expect(lost.map((id) => byId.get(id) ?? `${id} is in no row`)).toEqual([]);
  const strange = rows.filter(({ id }) => !acknowledged.has(id) && !unknown.has(id));
  expect(strange).toEqual([]);

  const starts = told.workers.flatMap((worker) => worker.starts);
  expect(starts.filter(({ taskId }) => !byId.has(taskId))).toEqual([]);
  const startKeys = starts.map(({ taskId, fencingToken }) => `${taskId} ${fencingToken}`);
  expect(new Set(startKeys).size).toBe(startKeys.length);
  const { partitions = 1 } = told;
  const given = starts.map(({ taskId, fencingToken }) => {
    return `${partitionOfSlot(slotOfId(taskId), partitions)} ${fencingToken}`;
  });
  expect(new Set(given).size).toBe(starts.length);

  const accepted = attempts.filter(({ outcome }) => outcome === "completed");
  const completed = rows.filter(({ status }) => status === "completed").map(({ id }) => id);
  expect(accepted.map(({ task_id }) => task_id).sort()).toEqual(completed.sort());
  const started = new Set(startKeys);
  const unheard = accepted.filter((row) => !started.has(`${row.task_id} ${row.fencing_token}`));
  expect(unheard).toEqual([]);
}

/**
 * Kinds of keys (see src/broker/redis/keys.ts) that may stay when all is done: the partition's own
 * book, names and numbers of queues and lanes, tombstones, idempotency keys, wake-up markers, and
 * what must be empty by then.
 */
const mayStay = /^(m|lid|ln|ll:\d+|qid|qn|nq:.*|F:.*|x:.*|k:.*|mk:.*|co)$/s;

/** Records, leases, lanes, sessions, outbox entries: nothing of that may be left. */
export async function expectNoOrphans({ redisUrl, prefix }: StoryStores): Promise<void> {
  const redises = redisUrl.split(",").map((url) => new Redis(url));
  let left: string[] = [];
  try {
    const look = async (): Promise<boolean> => {
      left = (await Promise.all(redises.map((redis) => orphans(redis, prefix)))).flat();
      return left.length === 0;
    };
    // A sweep forgets dead sessions; the recorder's word to Redis comes after its commit.
    await until("Redis holds nothing of ended tasks", look, 25_000, () => left.slice(0, 20));
  } finally {
    for (const redis of redises) redis.disconnect();
  }
}

async function orphans(redis: Redis, prefix: string): Promise<string[]> {
  const left: string[] = [];
  let cursor = "0";
  do {
    const [next, keys] = await redis.scanBuffer(cursor, "MATCH", `{${prefix}:*`, "COUNT", 2_000);
    cursor = String(next);
    for (const key of keys) {
      const name = key.toString("latin1").replace(/^\{[^}]*\}:/, "");
      if (mayStay.test(name)) continue;
      if (name === "ob" ? (await redis.xlen(key)) > 0 : !(await isSettled(redis, key, name))) {
        left.push(name);
      }
    }
  } while (cursor !== "0");
  return left;
}

/**
 * Counts are all zero; of a session only its generation is kept, and of watches their ends, both
 * for a while.
 */
async function isSettled(redis: Redis, key: Buffer, name: string): Promise<boolean> {
  if (name === "wt" || name.startsWith("s:")) return (await redis.pttl(key)) > 0;
  const counts = /^c:\d+$/.test(name) ? /:/ : /^v:\d+$/.test(name) ? /^live$/ : undefined;
  if (!counts) return false;
  const fields = Object.entries(await redis.hgetall(key));
  return fields.every(([field, value]) => !counts.test(field) || value === "0");
}
