import type { Transition } from "../broker.js";
import { recordsOf, togetherIn } from "./bundle.js";
import { stringsOf } from "./bytes.js";
import {
  nameOfEntry,
  outboxKey,
  partlyKey,
  payloadKey,
  resultKey,
  type EntryKind,
} from "./keys.js";
import { recordsOfItems } from "./items.js";
import { hasPayloadApart, hasResultApart, idBytes } from "./record.js";
import { asBytes, asList, asNumber, asText, type Reply } from "./scripts.js";
import { unpackResult } from "./sections.js";
import { type ToldChange, transitionOf } from "./transition.js";
import type { Store } from "./store.js";
import { partsTold, type ToldPart } from "./told.js";
import { now } from "./sweep.js";

/** Entries read at once; each may hold what a whole script has told, up to 1 MiB. */
const entriesRead = 4;

/**
 * Transitions whose coordinator did not confirm them in time. Payloads and results of their own
 * keys are fetched with them.
 */
export async function readOutbox(
  store: Store,
  partition: number,
  idleMs: number,
  limit: number,
): Promise<Transition[]> {
  const until = (await now(store, partition)) - idleMs;
  const base = store.base(partition);
  const due: ToldChange[] = [];
  for (let from = "-"; due.length < limit;) {
    const args = [outboxKey(base), from, "+", "COUNT", String(entriesRead)];
    const rows = asList(await store.nodes.send(base, "XRANGE", args));
    if (rows.length === 0) break;
    const ids = rows.map((row) => asText(asList(row)[0]));
    const held = asList(await store.nodes.send(base, "HMGET", [partlyKey(base), ...ids]));
    const changes = rows.flatMap((row, i) => readEntry(partition, row, held[i]));
    due.push(...changes.filter((change) => change.at <= until));
    if (changes.some((change) => change.at > until) || rows.length < entriesRead) break;
    from = `(${ids.at(-1)!}`;
  }
  return (await withParts(store, base, due.slice(0, limit))).map(transitionOf);
}

/**
 * As `close_outbox` in lua/parts/book.lua writes it: bytes, transitions and time; and beside them
 * either the transitions, and those that ended together, or new tasks as they came.
 * `held`: which of them history has.
 */
function readEntry(partition: number, row: Reply, held: Reply | undefined): ToldChange[] {
  const [id, fields] = asList(row);
  const [, head, kind, packed, ...more] = asList(fields);
  const beside = more.filter((_, n) => n % 2 === 1).map(asBytes);
  const about = asBytes(head);
  const total = about.readUInt16BE(4);
  const form = asText(kind) as EntryKind;
  const name = nameOfEntry(asText(id), total, about.readUInt32BE(0), form);
  const at = about.readDoubleBE(6);
  const told =
    form === "p"
      ? newTasks(asBytes(packed))
      : partsTold(stringsOf(asBytes(packed)), total, at, beside);
  return told.flatMap((part, place) =>
    held && asBytes(held)[place] === heldMark
      ? []
      : {
          partition,
          outboxId: name,
          outboxPlace: place,
          outcome: part.outcome,
          payloadOmitted: part.payloadOmitted,
          at,
          id: part.id,
          snapshot: part.snapshot,
          payload: undefined,
          result: undefined,
        },
  );
}

/** Plain ones of one call, as enqueue.ts packs them. */
function newTasks(packed: Buffer): ToldPart[] {
  const together = togetherIn(packed);
  const records = together ? recordsOf(together) : recordsOfItems(packed);
  return records.map(({ id, record }) => ({
    id,
    outcome: 0,
    payloadOmitted: false,
    snapshot: record,
  }));
}

/** "1", as recorded.lua notes what history holds of an entry. */
const heldMark = 49;

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
  const values = asList(await store.nodes.send(base, "MGET", keys)) as (Buffer | null)[];
  const valueAt = (place: number | undefined) => (place === undefined ? undefined : values[place]);
  return changes.map((change, i) => {
    const payload = valueAt(places[i]!.payload);
    // Gone with its record: history has confirmed a later version, and the payload with it.
    const payloadOmitted = change.payloadOmitted || payload === null;
    const result = unpackResult(valueAt(places[i]!.result));
    return { ...change, payload, payloadOmitted, result };
  });
}

/**
 * The last snapshots of ended tasks that left no record, by their places among these ids; without
 * those that history knows by now. None has a payload or a result of its own key.
 */
export async function readEnded(
  store: Store,
  partition: number,
  ids: readonly Uint8Array[],
): Promise<Map<number, Buffer>> {
  const base = store.base(partition);
  const rows = asList(await store.scripts.run("ended", base, ids));
  const byEntry = new Map<string, [index: number, place: number][]>();
  for (let i = 0; i + 2 < rows.length; i += 3) {
    const entry = asText(rows[i + 1]);
    const wanted = byEntry.get(entry) ?? [];
    wanted.push([asNumber(rows[i]), asNumber(rows[i + 2])]);
    byEntry.set(entry, wanted);
  }
  const found = new Map<number, Buffer>();
  for (const [entry, wanted] of byEntry) {
    const args = [outboxKey(base), entry, entry];
    for (const row of asList(await store.nodes.send(base, "XRANGE", args))) {
      const changes = readEntry(partition, row, undefined);
      for (const [index, place] of wanted) found.set(index, changes[place]!.snapshot);
    }
  }
  return found;
}
