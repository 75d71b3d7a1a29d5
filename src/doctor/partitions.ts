import { asBytes, asList, asNumber, asText } from "../broker/redis/scripts.js";
import { outboxKey, partitionKey } from "../broker/redis/keys.js";
import { limits } from "../limits.js";
import { bytesText, type Chart, type Check, createChart } from "./check.js";
import type { Slice } from "./slices.js";

export interface PartitionContext {
  readonly slices: readonly Slice[];
  readonly prefix: string;
  /** Of Postgres, by partition; undefined: not known. */
  readonly epochs: ReadonlyMap<number, number> | undefined;
}

interface Partition {
  readonly number: number;
  readonly openedOn: string;
  /** It was opened on the Redis that serves it. */
  readonly here: boolean;
  readonly epoch: number;
  readonly closed: string | undefined;
  readonly entries: number;
  readonly bytes: number;
  readonly oldestMs: number;
}

/** A coordinator opens what it can within the session lease; the time of a rebuild comes on top. */
const openingMs = 60_000;
const outboxLateMs = 10_000;

/** Open or cold, epochs against Postgres, and what history has not been told yet. */
export async function checkPartitions(context: PartitionContext): Promise<Check[]> {
  const chart = createChart("partitions");
  const found: Partition[] = [];
  for (const slice of context.slices) {
    for (const number of slice.partitions) {
      found.push(await readPartition(context.prefix, slice, number));
    }
  }
  const fresh = found.filter(({ openedOn, epoch }) => openedOn === "" && epoch === 0);
  const cold = found.filter((one) => !one.here && !fresh.includes(one));
  checkOpen(chart, { context, found: found.length, fresh: fresh.length, cold });
  checkEpochs(chart, context, found);
  checkOutbox(chart, found);
  return chart.checks;
}

async function readPartition(prefix: string, slice: Slice, number: number): Promise<Partition> {
  const { connection, redisNow } = slice;
  const base = partitionKey(prefix, number);
  const fields = ["store", "epoch", "closed", "obn", "obb"];
  const [openedOn, epoch, closed, entries, bytes] = asList(
    await connection.send("HMGET", [`${base}m`, ...fields]),
  );
  const key = outboxKey(base);
  const [oldest] = asList(await connection.send("XRANGE", [key, "-", "+", "COUNT", "1"]));
  const at = oldest ? asBytes(asList(asList(oldest)[1])[1]).readDoubleBE(6) : redisNow;
  return {
    number,
    openedOn: openedOn ? asText(openedOn) : "",
    here: openedOn !== null && asText(openedOn) === connection.storeId,
    epoch: epoch ? asNumber(epoch) : 0,
    closed: closed ? asText(closed) : undefined,
    entries: entries ? asNumber(entries) : 0,
    bytes: bytes ? asNumber(bytes) : 0,
    oldestMs: Math.max(0, redisNow - at),
  };
}

interface Opened {
  readonly context: PartitionContext;
  readonly found: number;
  readonly fresh: number;
  readonly cold: readonly Partition[];
}

function checkOpen(chart: Chart, { context, found, fresh, cold }: Opened): void {
  const uptimeMs = Math.min(...context.slices.map((slice) => slice.uptimeMs));
  if (cold.length === 0) {
    const rest = fresh === 0 ? "" : `, ${fresh} not opened yet: a coordinator does at its start`;
    return chart.ok("open", `${found - fresh} of ${found} open${rest}`);
  }
  const [first] = cold;
  const why =
    first!.closed ?? `it was opened on the Redis ${first!.openedOn.slice(0, 8)}, not on this one`;
  const numbers = cold.map(({ number }) => number).join(", ");
  const says = `cold: ${numbers.slice(0, 200)}: nothing is leased there (${why})`;
  const mend =
    "A running coordinator rebuilds and opens it; it needs Postgres for that. Is one up?";
  if (uptimeMs < openingMs) chart.warn("open", says, { mend });
  else chart.fail("open", says, { mend, breaks: "P14" });
}

function checkEpochs(
  chart: Chart,
  { epochs }: PartitionContext,
  found: readonly Partition[],
): void {
  const highest = Math.max(0, ...found.map(({ epoch }) => epoch));
  const ahead = found.filter(({ number, epoch }) => epochs && epoch > (epochs.get(number) ?? 0));
  if (ahead.length === 0) {
    const compared = epochs ? "" : "; Postgres's are not known";
    return chart.ok("epoch", `${highest}${compared}`);
  }
  const { number, epoch } = ahead[0]!;
  const known = epochs?.get(number) ?? 0;
  chart.fail(
    "epoch",
    `partition ${number} is at ${epoch} in Redis, at ${known} in Postgres: is it another database?`,
    {
      mend: "Use the Redis and the Postgres that belong together, or another redis_prefix.",
      breaks: "P5",
    },
  );
}

function checkOutbox(chart: Chart, found: readonly Partition[]): void {
  const entries = found.reduce((sum, one) => sum + one.entries, 0);
  const bytes = found.reduce((sum, one) => sum + one.bytes, 0);
  const oldestMs = Math.max(0, ...found.map((one) => one.oldestMs));
  const says =
    entries === 0
      ? "empty"
      : `${entries} entries, ${bytesText(bytes)}, the oldest ${Math.round(oldestMs / 1000)} s`;
  const mend = "History is behind: is Postgres up and fast, and a coordinator running?";
  const full = found.filter(
    (one) => one.entries >= limits.outboxEntries || one.bytes >= limits.outboxBytes,
  );
  if (full.length > 0) {
    const numbers = full.map(({ number }) => number).join(", ");
    chart.fail("outbox", `${says}; full in ${numbers}: nothing is leased there`, { mend });
  } else if (oldestMs > outboxLateMs && entries > 0) chart.warn("outbox", says, { mend });
  else chart.ok("outbox", says);
}
