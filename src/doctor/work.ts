import { partitionKey } from "../broker/redis/keys.js";
import { asBytes, asList, asNumber } from "../broker/redis/scripts.js";
import type { Status } from "../task/task.js";
import { type Chart, type Check, createChart } from "./check.js";
import type { Slice } from "./slices.js";

export interface WorkContext {
  readonly slices: readonly Slice[];
  readonly prefix: string;
  readonly tasks: Readonly<Partial<Record<Status, number>>>;
  /** Live rows in Postgres, at most 100,000; undefined: not known. */
  readonly liveRows: number | undefined;
}

/** A coordinator says that it lives every few seconds. */
const coordinatorMs = 10_000;

/** Who is there to work, and what waits for them. */
export async function checkWork(context: WorkContext): Promise<Check[]> {
  const chart = createChart("work");
  const live = Object.values(context.tasks).reduce((sum, count) => sum + count, 0);
  const coordinators = await coordinatorsOf(context);
  if (coordinators > 0) chart.ok("coordinators", `${coordinators} said so within 10 s`);
  else {
    const mend = "Start one: drover serve.";
    const says = "none: nothing is leased, promoted, retried or recorded";
    if (live === 0) chart.ok("coordinators", "none, and nothing to do");
    else chart.warn("coordinators", says, { mend });
  }
  const { alive, dead } = await sessionsOf(context);
  checkWorkers(chart, context, alive, dead);
  const byStatus = Object.entries(context.tasks)
    .filter(([, count]) => count !== 0)
    .map(([status, count]) => `${count} ${status}`);
  const rows = context.liveRows === undefined ? "" : `; live in Postgres: ${atMost(context)}`;
  chart.ok("tasks", `${byStatus.length === 0 ? "none live" : byStatus.join(", ")}${rows}`);
  return chart.checks;
}

const liveRowsMax = 100_000;
const atMost = ({ liveRows = 0 }: WorkContext): string =>
  liveRows >= liveRowsMax ? `${liveRowsMax} or more` : String(liveRows);

async function coordinatorsOf(context: WorkContext): Promise<number> {
  const key = `${partitionKey(context.prefix, 0)}co`;
  const home = context.slices.find(({ partitions }) => partitions.includes(0));
  if (!home) return 0;
  const values = asList(await home.connection.send("HVALS", [key]));
  const fresh = values.filter(
    (value) => home.redisNow - asBytes(value).readDoubleBE(0) < coordinatorMs,
  );
  return fresh.length;
}

/** A session stands in each partition whose tasks it may get: the most of one is about all. */
async function sessionsOf(context: WorkContext): Promise<{ alive: number; dead: number }> {
  let alive = 0;
  let dead = 0;
  for (const { connection, redisNow, partitions } of context.slices) {
    const now = String(Math.round(redisNow));
    for (const partition of partitions) {
      const key = `${partitionKey(context.prefix, partition)}sl`;
      const living = await connection.send("ZCOUNT", [key, `(${now}`, "+inf"]);
      const gone = await connection.send("ZCOUNT", [key, "-inf", now]);
      alive = Math.max(alive, asNumber(living));
      dead = Math.max(dead, asNumber(gone));
    }
  }
  return { alive, dead };
}

function checkWorkers(chart: Chart, { tasks }: WorkContext, alive: number, dead: number): void {
  const waiting = tasks.pending ?? 0;
  const gone = dead === 0 ? "" : `, ${dead} lost and not cleared away yet`;
  if (alive > 0 || waiting === 0) return chart.ok("workers", `${alive} sessions live${gone}`);
  chart.warn("workers", `none connected${gone}, ${waiting} tasks wait`, {
    mend: "Start workers; DROVER_ADDR tells them where coordinators are (drover worker list).",
  });
}
