import type { Connection } from "../broker/redis/connection.js";
import { asList, asNumber } from "../broker/redis/scripts.js";
import type { Clock } from "../clock.js";
import type { Database } from "../history/postgres/pool.js";
import { sql } from "../history/postgres/sql.js";
import { limits } from "../limits.js";
import { type Check, createChart } from "./check.js";

const clockSql = sql("doctor_clock");

/** Milliseconds that another clock is ahead of ours; the way there and back is halved. */
async function aheadOf(clock: Clock, read: () => Promise<number>): Promise<number> {
  await read();
  const before = clock.now();
  const there = await read();
  return there - (before + clock.now()) / 2;
}

export const redisTime = async (connection: Connection): Promise<number> => {
  const [seconds, micros] = asList(await connection.send("TIME", []));
  return asNumber(seconds) * 1_000 + asNumber(micros) / 1_000;
};

const postgresTime = async (database: Database): Promise<number> =>
  (await database.rows<{ now: number }>(clockSql))[0]!.now;

const tolerableMs = 2_000;

/** Redis decides about leases and due times, Postgres about retention, coordinators about ids. */
export async function checkClocks(
  clock: Clock,
  redises: readonly { readonly name: string; readonly connection: Connection }[],
  database: Database | undefined,
): Promise<Check[]> {
  const chart = createChart("clocks");
  const compare = async (name: string, read: () => Promise<number>): Promise<void> => {
    const ahead = Math.round(await aheadOf(clock, read));
    const says = `${Math.abs(ahead)} ms ${ahead < 0 ? "behind" : "ahead of"} this machine`;
    const mend = "Run a time service (chrony, ntpd) on all machines.";
    if (Math.abs(ahead) < tolerableMs) chart.ok(name, says);
    else if (Math.abs(ahead) < limits.submitIdAgeMs) {
      chart.warn(name, `${says}: times shown and run_at are off by as much`, { mend });
    } else {
      chart.fail(name, `${says}: retries of submissions may be taken as new tasks`, {
        mend,
        breaks: "P2",
      });
    }
  };
  for (const { name, connection } of redises) await compare(name, () => redisTime(connection));
  if (database) await compare("postgres", () => postgresTime(database));
  return chart.checks;
}
