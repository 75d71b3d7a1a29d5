import type { Client, DroverClientError } from "../../src/client/index.js";
import { systemClock } from "../../src/clock.js";
import { loadClient } from "../build.js";
import { percentile } from "../summary.js";
import { type BulkOrder, nothingSeen, type Order, type Seen } from "./orders.js";
import { ownOptions, typesOf } from "./mix.js";
import { now, stamped } from "./stamp.js";

const batch = 500;
const batchesInFlight = 4;
const retryMs = 50;
const retriesMost = 2_000;

const clients = new Map<string, Promise<Client>>();

function clientOf(address: string): Promise<Client> {
  const known = clients.get(address);
  if (known) return known;
  const made = loadClient().then(({ createClient }) => createClient({ address }));
  clients.set(address, made);
  return made;
}

export async function closeClients(): Promise<void> {
  const all = await Promise.all(clients.values());
  await Promise.all(all.map((client) => client.close()));
}

export function seenOf(count: number, startedAt: number, us: readonly number[]): Seen {
  const ms = us.map((value) => value / 1_000);
  const percentiles = { p50: percentile(ms, 0.5), p99: percentile(ms, 0.99) };
  return { ...nothingSeen, count, startedAt, endedAt: now(), ...percentiles };
}

/**
 * A full outbox refuses what comes too fast for history: the producer comes again, as it is told.
 */
async function submitBatch(client: Client, order: BulkOrder, from: number, count: number) {
  const { queue, mix } = order;
  const types = typesOf(mix?.types);
  let items = Array.from({ length: count }, (_, n) => {
    const key = order.group ?? (order.groups > 0 ? `g${(from + n) % order.groups}` : "");
    const grouped = key === "" ? {} : { groupKey: key };
    const type = types[(from + n) % types.length]!;
    const own = mix ? ownOptions(mix.own) : {};
    return { type, payload: stamped(key), options: { queue, ...grouped, ...own } };
  });
  for (let tries = 0; ; tries += 1) {
    const outcomes = await client.submitMany(items);
    const refused = outcomes.find((outcome) => !outcome.ok);
    if (!refused) return;
    const error = refused.error as DroverClientError;
    if (error.id !== "overloaded" || tries === retriesMost) throw error;
    items = items.filter((_, n) => !outcomes[n]!.ok);
    await systemClock.sleep(retryMs);
  }
}

export async function submitBulk(order: BulkOrder): Promise<Seen> {
  const all = await Promise.all(order.addresses.map(clientOf));
  const took: number[] = [];
  let sent = 0;
  let turn = 0;
  const loop = async (): Promise<void> => {
    while (sent < order.tasks) {
      const from = sent;
      const count = Math.min(batch, order.tasks - sent);
      sent += count;
      turn += 1;
      const at = now();
      await submitBatch(all[turn % all.length]!, order, from, count);
      took.push(now() - at);
    }
  };
  const startedAt = now();
  await Promise.all(Array.from({ length: batchesInFlight }, loop));
  return seenOf(order.tasks, startedAt, took);
}

/** Submits one by one at the given rate whether or not earlier ones are answered. */
export async function pace(order: Extract<Order, { do: "pace" }>): Promise<Seen> {
  const client = await clientOf(order.address);
  const took: number[] = [];
  const one = async (): Promise<void> => {
    const at = now();
    await client.submit(typesOf()[0]!, stamped(), { queue: order.queue });
    took.push(now() - at);
  };
  const startedAt = now();
  const underWay: Promise<void>[] = [];
  while (underWay.length < order.tasks) {
    const due = ((now() - startedAt) / 1e6) * order.perSecond;
    while (underWay.length < Math.min(due, order.tasks)) underWay.push(one());
    await systemClock.sleep(1);
  }
  await Promise.all(underWay);
  return seenOf(order.tasks, startedAt, took);
}
