import * as path from "node:path";
import pg from "pg";
import { systemClock } from "../../src/clock.js";
import { loadClient } from "../build.js";
import { type Child, startChild } from "../child.js";
import { type Coordinator, startCoordinator } from "../coordinator.js";
import { cpuOf } from "../cpu.js";
import { startBenchRedis } from "../redis.js";
import { startBenchPostgres } from "../systems/peers.js";
import type { Durability } from "../systems/system.js";
import type { Order, Seen } from "./orders.js";
import type { ScaleRow } from "./report.js";

const schema = "drover";
const prefix = "scale";
const settledPollMs = 20;

export type Load = Child<Order, Seen>;

/** What the load processes found, and the CPU a task that all this took. */
export interface Measured {
  readonly seen: Seen;
  readonly cpu_us: Readonly<Record<string, number>>;
  /** Until nothing was left to be done behind the acks, too. */
  readonly seconds: number;
}

/** Stores and coordinators of one run; ends with this process. */
export class Stack {
  readonly coordinators: Coordinator[] = [];
  readonly #dir: string;
  readonly #ends: (() => Promise<unknown>)[] = [];
  readonly #loads = new Map<string, Load>();
  #redis!: Awaited<ReturnType<typeof startBenchRedis>>;
  #postgres!: Awaited<ReturnType<typeof startBenchPostgres>>;
  #database!: pg.Client;

  private constructor(dir: string) {
    this.#dir = dir;
  }

  static async start(dir: string, coordinators = 1): Promise<Stack> {
    const stack = new Stack(dir);
    try {
      await stack.#start(coordinators);
      return stack;
    } catch (error) {
      await stack.stop();
      throw error;
    }
  }

  async #start(coordinators: number): Promise<void> {
    this.#redis = await startBenchRedis(path.join(this.#dir, "redis"));
    this.#ends.push(() => this.#redis.stop());
    this.#postgres = await startBenchPostgres(path.join(this.#dir, "postgres"));
    this.#ends.push(() => this.#postgres.stop());
    for (let n = 0; n < coordinators; n += 1) {
      const coordinator = await startCoordinator(this.env, undefined);
      this.#ends.push(() => coordinator.stop());
      this.coordinators.push(coordinator);
    }
    this.#database = new pg.Client({ connectionString: this.#postgres.url });
    await this.#database.connect();
    this.#ends.push(() => this.#database.end());
  }

  async stop(): Promise<void> {
    for (const load of this.#loads.values()) await load.stop();
    for (const end of this.#ends.splice(0).reverse()) await end();
  }

  /** What `drover` commands need to find the stores. */
  get env(): Record<string, string> {
    return {
      REDIS_URL: this.#redis.url,
      DROVER_REDIS_PREFIX: prefix,
      DATABASE_URL: this.#postgres.url,
      DROVER_DATABASE_SCHEMA: schema,
    };
  }

  get address(): string {
    return this.coordinators[0]!.address;
  }

  async queue(name: string, durability: Durability = "relaxed"): Promise<void> {
    const { createClient } = await loadClient();
    const client = createClient({ address: this.address });
    await client.queues.update(name, { durability });
    await client.close();
  }

  /** A load process of that name, started on first use. */
  async load(name: string): Promise<Load> {
    const known = this.#loads.get(name);
    if (known) return known;
    const made = await startChild<Order, Seen>({ program: "scale/load.ts", args: [name], env: {} });
    this.#loads.set(name, made);
    return made;
  }

  /** CPU so far; several coordinators count as one. */
  cpu(loads: readonly string[], coordinators = this.coordinators): Record<string, number> {
    const named = loads.map((name) => [name, this.#loads.get(name)!.pid] as const);
    const pids = { redis: this.#redis.pid, postgres: this.#postgres.pid };
    const others = cpuOf({ ...Object.fromEntries(named), ...pids });
    const each = cpuOf(Object.fromEntries(coordinators.map(({ pid }) => [pid, pid])));
    const coordinator = Object.values(each).reduce((sum, us) => sum + us, 0);
    return { coordinator, ...others };
  }

  /** `tasks`: what CPU is divided by; without, the tasks that were seen. */
  async measure(
    loads: readonly string[],
    run: () => Promise<Seen>,
    tasks?: number,
  ): Promise<Measured> {
    const startedAt = systemClock.monotonic();
    const before = this.cpu(loads);
    const seen = await run();
    await this.settled();
    const after = this.cpu(loads);
    const by = tasks ?? seen.count;
    const cpu = Object.entries(after).map(([name, us]) => [name, (us - before[name]!) / by]);
    const seconds = (systemClock.monotonic() - startedAt) / 1_000;
    return { seen, cpu_us: Object.fromEntries(cpu), seconds };
  }

  /** CPU a second of a stack that is left alone. */
  async idle(loads: readonly string[], ms: number): Promise<Record<string, number>> {
    const before = this.cpu(loads);
    await systemClock.sleep(ms);
    const after = this.cpu(loads);
    const perSecond = (name: string): number => (after[name]! - before[name]!) / (ms / 1_000);
    return Object.fromEntries(Object.keys(after).map((name) => [name, perSecond(name)]));
  }

  /** History has all that the live queue told. */
  async settled(): Promise<void> {
    const outbox = `{${prefix}:0}:ob`;
    while ((await this.#redis.connection.xlen(outbox)) > 0) {
      await systemClock.sleep(settledPollMs);
    }
  }

  redisBytes(): Promise<number> {
    return this.#redis.bytes();
  }

  /** Of all tasks in history, with indexes. */
  async historyBytes(): Promise<number> {
    const sql = "SELECT sum(pg_total_relation_size(relid)) AS n FROM pg_partition_tree($1)";
    const { rows } = await this.#database.query<{ n: string }>(sql, [`${schema}.tasks`]);
    return Number(rows[0]!.n);
  }

  async count(queue: string, which = "true"): Promise<number> {
    const sql = `SELECT count(*)::int AS n FROM ${schema}.tasks WHERE queue = $1 AND ${which}`;
    const { rows } = await this.#database.query<{ n: number }>(sql, [queue]);
    return rows[0]!.n;
  }

  /** Throws unless history holds so many completed tasks of the queue and none that is live. */
  async verify(queue: string, completed: number): Promise<void> {
    await this.settled();
    const done = await this.count(queue, "status = 'completed'");
    const live = await this.count(queue, "ended_at IS NULL");
    if (done === completed && live === 0) return;
    const found = `${done} completed and ${live} live of ${completed} tasks`;
    throw new Error(`${queue}: ${found}: the figures count for nothing`);
  }
}

/** Of tasks a second, from the first start (or submit) to the last ack. */
export function rateRow(load: string, figure: string, { seen, cpu_us }: Measured): ScaleRow {
  const value = seen.count / ((seen.endedAt - seen.startedAt) / 1e6);
  return { load, figure, value, unit: "tasks/s", p50: seen.p50, p99: seen.p99, cpu_us };
}

/** Of the median ms. */
export function latencyRow(load: string, figure: string, { seen, cpu_us }: Measured): ScaleRow {
  const { p50, p99 } = seen;
  return { load, figure, value: p50 ?? Number.NaN, unit: "ms", p50, p99, cpu_us };
}

export const plainRow = (
  load: string,
  figure: string,
  value: number,
  unit: string,
  cpu_us: Readonly<Record<string, number>> = {},
): ScaleRow => ({ load, figure, value, unit, p50: null, p99: null, cpu_us });
