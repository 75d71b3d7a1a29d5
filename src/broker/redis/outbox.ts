import { limits } from "../../limits.js";
import { uuidText } from "../../task/ids.js";
import type { RecordedItem, Transition } from "../broker.js";
import { outboxKey, payloadKey, resultKey } from "./keys.js";
import { hasPayloadApart, hasResultApart, idBytes } from "./record.js";
import { asBytes, asList, asText, type Reply } from "./scripts.js";
import { type ToldChange, transitionOf } from "./settle.js";
import { byPartition, inChunks, type Store } from "./store.js";
import { now } from "./sweep.js";

const chunkItems = 150;

/**
 * Entries whose coordinator did not confirm them in time. Payloads and results of their own keys
 * are fetched with them.
 */
export async function readOutbox(
  store: Store,
  partition: number,
  idleMs: number,
  limit: number,
): Promise<Transition[]> {
  const until = (await now(store)) - idleMs;
  const base = store.base(partition);
  const found: Transition[] = [];
  for (let from = "-"; found.length < limit;) {
    const count = Math.min(limit - found.length, limits.outboxBatch);
    const args = [outboxKey(base), from, "+", "COUNT", String(count)];
    const rows = asList(await store.connection.send("XRANGE", args));
    const changes = rows.map((row) => readEntry(partition, row));
    const due = changes.filter((change) => change.at <= until);
    found.push(...(await withParts(store, base, due)).map(transitionOf));
    if (due.length < changes.length || rows.length < count) break;
    from = `(${changes.at(-1)!.outboxId}`;
  }
  return found;
}

/**
 * As `tell` in lua/parts/book.lua packs it: bytes, outcome, payload omitted, time, task id,
 * snapshot.
 */
function readEntry(partition: number, row: Reply): ToldChange {
  const [outboxId, fields] = asList(row);
  const entry = asBytes(asList(fields)[1]);
  return {
    partition,
    outboxId: asText(outboxId),
    outcome: entry[4]!,
    payloadOmitted: entry[5] === 1,
    at: entry.readDoubleBE(6),
    id: uuidText(entry.subarray(14, 30)),
    snapshot: entry.subarray(30),
    payload: undefined,
    result: undefined,
  };
}

async function withParts(
  store: Store,
  base: string,
  changes: readonly ToldChange[],
): Promise<ToldChange[]> {
  const keys: Buffer[] = [];
  const fetched = (key: Buffer): number => keys.push(key) - 1;
  const places = changes.map(({ id, snapshot, payloadOmitted }) => {
    const payload = !payloadOmitted && hasPayloadApart(snapshot);
    return {
      payload: payload ? fetched(payloadKey(base, idBytes(id))) : undefined,
      result: hasResultApart(snapshot) ? fetched(resultKey(base, idBytes(id))) : undefined,
    };
  });
  if (keys.length === 0) return [...changes];
  const values = asList(await store.connection.send("MGET", keys)) as (Buffer | null)[];
  const valueAt = (place: number | undefined) => (place === undefined ? undefined : values[place]);
  return changes.map((change, i) => {
    const payload = valueAt(places[i]!.payload);
    // Gone with its record: history has confirmed a later version, and the payload with it.
    const payloadOmitted = change.payloadOmitted || payload === null;
    return { ...change, payload, payloadOmitted, result: valueAt(places[i]!.result) };
  });
}

export async function recorded(store: Store, items: readonly RecordedItem[]): Promise<void> {
  const calls: Promise<unknown>[] = [];
  for (const [partition, group] of byPartition(items, (item) => item.partition)) {
    for (const chunk of inChunks(group, chunkItems)) {
      const args = chunk.flatMap(({ item: { outboxId, taskId, version } }) => [
        outboxId,
        idBytes(taskId),
        String(version),
      ]);
      calls.push(store.scripts.run("recorded", store.base(partition), args));
    }
  }
  await Promise.all(calls);
}
