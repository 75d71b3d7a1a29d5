import pg from "pg";
import { type Clock, systemClock, type Timer } from "../../clock.js";
import { DroverError } from "../../errors.js";
import { limits } from "../../limits.js";
import type { Events } from "../../telemetry/events.js";
import { type Copying, CopyQuery } from "./copy.js";
import { failureOf, isUsableAfter, mayRepeat } from "./failures.js";
import type { Statement } from "./sql.js";

export interface DatabaseOptions {
  /** postgres://user:password@host:port/database */
  readonly url: string;
  /**
   * Where Drover's tables are; made if it is not there. Lower case letters, digits and `_`. Default
   * `drover`.
   */
  readonly schema?: string;
  /** Default 10. */
  readonly maxConnections?: number;
  /**
   * How long one statement may take, and a connection to be made or to become free. Default 2,000
   * each.
   */
  readonly statementMs?: number;
  readonly connectMs?: number;
  /** Shown in pg_stat_activity. Default `drover`. */
  readonly applicationName?: string;
  readonly clock?: Clock;
  readonly events?: Events;
}

export interface Queryable {
  rows<R>(statement: Statement, values?: readonly unknown[]): Promise<R[]>;
}

/** A pool with deadlines: a client that did not answer in time is destroyed, never used again. */
export interface Database extends Queryable {
  /**
   * The last statement was answered. While it is false, the database is asked again every 500 ms.
   */
  readonly available: boolean;
  readonly schema: string;
  readonly clock: Clock;
  /** Planned for the values given, where they decide which index is the right one. */
  planned<R>(statement: Statement, values: readonly unknown[]): Promise<R[]>;
  /** Not repeated after deadlocks. Answers the number that its last statement does. */
  copy(copying: Copying): Promise<number>;
  /** Repeats `work` after deadlocks. A rejection at COMMIT leaves the outcome unknown. */
  transaction<T>(work: (tx: Queryable) => Promise<T>): Promise<T>;
  /** A connection outside the pool; the caller ends it. */
  connect(statementMs?: number): Promise<pg.Client>;
  stop(): Promise<void>;
}

const probeMs = 500;
const repeats = 5;

/** Numbers below 2^53 all of them, so that nobody meets a bigint or a numeric as text. */
const numberTypes: readonly number[] = [pg.types.builtins.INT8, pg.types.builtins.NUMERIC];
const types = {
  getTypeParser: ((oid: number, format?: "text" | "binary") =>
    numberTypes.includes(oid)
      ? Number
      : pg.types.getTypeParser(oid, format as "text")) as typeof pg.types.getTypeParser,
};

/**
 * Every statement here wants an index, whatever the statistics say of a young table; a plan that is
 * kept must not rest on a table having been small. Plans are kept for all values: planning anew
 * over the tables of many days costs more than most statements. Nor may a join read a small table
 * once and keep it (material): it would go on to when the table is large. And none is worth
 * compiling.
 */
const sessionSettings = (schema: string): string =>
  `SET search_path TO "${schema}"; SET jit TO off; SET enable_seqscan TO off; ` +
  "SET plan_cache_mode TO force_generic_plan; SET enable_hashjoin TO off; " +
  "SET enable_mergejoin TO off; SET enable_material TO off; " +
  "SET idle_in_transaction_session_timeout TO 10000";

export function createDatabase(options: DatabaseOptions): Database {
  const { clock = systemClock, schema = "drover" } = options;
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(schema)) {
    throw new DroverError("config_invalid", `"${schema}" is no schema name Drover can use`, {
      hint: "Use lower case letters, digits and _, at most 63.",
    });
  }
  const config = clientConfig(options);
  const pool = new pg.Pool({
    ...config,
    max: options.maxConnections ?? 10,
    idleTimeoutMillis: 60_000,
    // The pool waits for it, though its types do not say so.
    // oxlint-disable-next-line typescript/no-misused-promises
    onConnect: async (client) => void (await client.query(sessionSettings(schema))),
  });
  const health = createHealth(clock, options.events, () => rows({ name: "probe", text: "SELECT" }));
  // Idle clients fail on the pool, busy ones on themselves: unheard, either would end the process.
  pool.on("error", (error) => health.failed(error));
  pool.on("connect", (client) => client.on("error", () => undefined));

  async function withClient<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    let client: pg.PoolClient | undefined;
    try {
      client = await pool.connect();
      const result = await work(client);
      client.release();
      health.answered();
      return result;
    } catch (error) {
      client?.release(!isUsableAfter(error));
      const failure = failureOf(error);
      if (failure.id === "history_unavailable" && !mayRepeat(error)) health.failed(failure);
      throw mayRepeat(error) ? error : failure;
    }
  }

  const rows = <R>(statement: Statement, values: readonly unknown[] = []): Promise<R[]> =>
    repeated(() => withClient((client) => queryable(client).rows<R>(statement, values)));

  return {
    get available() {
      return health.available;
    },
    schema,
    clock,
    rows,
    planned: <R>(statement: Statement, values: readonly unknown[]) =>
      withClient((client) =>
        inTransaction(client, async (tx) => {
          await client.query("SET LOCAL plan_cache_mode TO force_custom_plan");
          return tx.rows<R>(statement, values);
        }),
      ),
    copy: (copying) => withClient((client) => copied(client, copying)),
    transaction: (work) => repeated(() => withClient((client) => inTransaction(client, work))),
    connect: (statementMs) => connectAlone(config, schema, statementMs),
    async stop() {
      health.stop();
      if (!pool.ending) await pool.end();
    },
  };
}

async function connectAlone(
  config: pg.ClientConfig,
  schema: string,
  statementMs: number | undefined,
): Promise<pg.Client> {
  const client = new pg.Client({ ...config, ...(statementMs && deadline(statementMs)) });
  client.on("error", () => undefined);
  try {
    await client.connect();
    await client.query(sessionSettings(schema));
    return client;
  } catch (error) {
    void client.end().catch(() => undefined);
    throw failureOf(error);
  }
}

function clientConfig(options: DatabaseOptions): pg.ClientConfig {
  return {
    connectionString: options.url,
    application_name: options.applicationName ?? "drover",
    connectionTimeoutMillis: options.connectMs ?? limits.storeCommandMs,
    keepAlive: true,
    ...deadline(options.statementMs ?? limits.storeCommandMs),
    types,
  };
}

/** The server gives up with us: nobody would read what it finds later. */
const deadline = (ms: number): pg.ClientConfig => ({ query_timeout: ms, statement_timeout: ms });

const queryable = (client: pg.ClientBase): Queryable => ({
  rows: async <R>({ name, text }: Statement, values: readonly unknown[] = []) =>
    (await client.query({ name, text, values: [...values] })).rows as R[],
});

const copied = (client: pg.ClientBase, copying: Copying): Promise<number> =>
  new Promise((resolve, reject) => {
    client.query(
      new CopyQuery(copying, (error, answer) => (error ? reject(error) : resolve(Number(answer)))),
    );
  });

async function inTransaction<T>(
  client: pg.PoolClient,
  work: (tx: Queryable) => Promise<T>,
): Promise<T> {
  await client.query("BEGIN");
  try {
    const result = await work(queryable(client));
    await client.query("COMMIT");
    return result;
  } catch (error) {
    if (isUsableAfter(error)) await client.query("ROLLBACK");
    throw error;
  }
}

async function repeated<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (!mayRepeat(error)) throw error;
      if (attempt === repeats) throw failureOf(error);
    }
  }
}

/** Knows whether the database answers, and asks it again while it does not. */
function createHealth(clock: Clock, events: Events | undefined, probe: () => Promise<unknown>) {
  let available = false;
  let stopped = false;
  let timer: Timer | undefined;
  const health = {
    get available() {
      return available;
    },
    answered() {
      timer?.cancel();
      timer = undefined;
      if (available || stopped) return;
      available = true;
      events?.emit("store.available", { store: "history" });
    },
    failed(error: unknown) {
      if (stopped) return;
      if (available) events?.emit("store.unavailable", { store: "history", error });
      available = false;
      timer?.cancel();
      // The probe reports to answered() and failed() like any other statement.
      timer = clock.after(probeMs, () => void probe().catch(() => undefined));
    },
    stop() {
      stopped = true;
      available = false;
      timer?.cancel();
    },
  };
  return health;
}
