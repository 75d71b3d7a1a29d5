import { limits } from "../../limits.js";
import { uuidText } from "../../task/uuid.js";
import type { Task } from "../../task/task.js";
import { runEnd } from "../../task/times.js";
import type { Lease, LeaseReply, LeaseRequest } from "../broker.js";
import { idBytes, readSlice } from "./bundle.js";
import { PackedStrings, type Stretch, stretchOf } from "./bytes.js";
import { type Argument, ownStoreId } from "./connection.js";
import { laneText } from "./keys.js";
import { readTask, tokenOf } from "./record.js";
import { asBytes, asList, asNumber, asText, type Reply } from "./scripts.js";
import { noBytes } from "./sections.js";
import type { Store } from "./store.js";
import type { Apart } from "./tail.js";

export async function lease(store: Store, request: LeaseRequest): Promise<LeaseReply> {
  const args = leaseArguments(store, request);
  return readLeases(
    store,
    request,
    await store.scripts.run("lease", store.base(request.partition), args),
  );
}

/** As lease.lua reads them. Each grant brings eight bytes nobody can guess. */
export function leaseArguments(store: Store, request: LeaseRequest): Argument[] {
  const { partition, sessions } = request;
  const lanes = request.lanes.slice(0, limits.laneBatch);
  let slots = 0;
  for (const session of sessions) slots += Math.max(0, session.slots);
  const args: Argument[] = [
    ownStoreId,
    String(store.fencing.highest(partition)),
    String(request.maxBytes),
    store.random.bytes(8 * Math.min(slots, limits.leaseBatch)),
    String(lanes.length),
    String(sessions.length),
  ];
  for (const lane of lanes) args.push(laneText(lane));
  for (const { sessionId, generation, slots: room } of sessions) {
    args.push(sessionId, String(generation), String(Math.max(0, room)));
  }
  return args;
}

export function readLeases(store: Store, request: LeaseRequest, reply: unknown): LeaseReply {
  const [kind, more, lost, granted, aparts, slices] = asList(reply);
  const { sessions } = request;
  const payloads = payloadsByPlace(asList(aparts));
  const { partition } = request;
  const leases = readGranted(store, partition, asBytes(granted ?? noBytes), payloads);
  const alone = leases.length;
  readSlices(store, partition, asList(slices), leases);
  // In the order of their grants, which is that of the queue.
  if (alone > 0 && leases.length > alone) leases.sort(byFencing);
  return {
    kind: asText(kind) as LeaseReply["kind"],
    more: asNumber(more) === 1,
    lostSessions: asList(lost).map((index) => sessions[asNumber(index)]!.sessionId),
    leases,
  };
}

const byFencing = (a: Lease, b: Lease): number => a.task.fencingToken - b.task.fencingToken;

/** By turns id and record; empty if nothing was granted. */
function readGranted(
  store: Store,
  partition: number,
  packed: Buffer,
  payloads: ReadonlyMap<number, Buffer>,
): Lease[] {
  const leases: Lease[] = [];
  if (packed.length === 0) return leases;
  const strings = new PackedStrings(packed);
  for (let nth = 0; nth < strings.count / 2; nth += 1) {
    strings.step();
    const idAt = strings.from;
    strings.step();
    const apart = payloads.size > 0 ? { payload: payloads.get(nth) } : nothingApart;
    leases.push(readGrant(store, partition, idAt, strings, apart));
  }
  return leases;
}

/** Of a task that was granted alone: its id stands there, and its record from there to the end. */
export function readAlone(store: Store, partition: number, packed: Buffer, idAt: number): Lease {
  return readGrant(store, partition, idAt, stretchOf(packed, idAt + idBytes), nothingApart);
}

/** Its id stands among the same bytes as its record. */
function readGrant(
  store: Store,
  partition: number,
  idAt: number,
  record: Stretch,
  apart: Apart,
): Lease {
  const { packed } = record;
  const task = readTask(uuidText(packed, idAt), record, apart);
  store.fencing.saw(partition, task.fencingToken);
  return leaseOf(tokenOf(packed, idAt, record), task, task.startedAt ?? 0);
}

/** By turns the head, the mould, the ids and the bodies of a slice. */
function readSlices(
  store: Store,
  partition: number,
  slices: readonly Reply[],
  leases: Lease[],
): void {
  for (let i = 0; i + 3 < slices.length; i += 4) {
    const [head, mould, ids, bodies] = slices.slice(i, i + 4).map(asBytes);
    readSlice(head!, { mould: mould!, ids: ids!, bodies: bodies! }, (task, token) => {
      leases.push(leaseOf(token, task, task.startedAt ?? 0));
      store.fencing.saw(partition, task.fencingToken);
    });
  }
}

const nothingApart: Apart = Object.freeze({});

/** Of the tasks at these places; the others have theirs in the record. */
export function payloadsByPlace(pairs: readonly Reply[]): Map<number, Buffer> {
  const payloads = new Map<number, Buffer>();
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    payloads.set(asNumber(pairs[i]), asBytes(pairs[i + 1]));
  }
  return payloads;
}

/** `now`: the store's time; of a fresh grant, which has its whole time before it, its start. */
const leaseOf = (token: Buffer, task: Task, now: number): Lease => ({
  token,
  sessionId: task.sessionId,
  task,
  timeoutMs: Math.max(0, runEnd(task, now) - now),
});

/**
 * Rows of { id, record }, as sweeps and sessions give them; payloads in keys of their own are left
 * out. `now`: the store's time.
 */
export const readOffered = (rows: Reply | undefined, now: number): Lease[] =>
  asList(rows).map((row) => {
    const [idReply, record] = asList(row);
    const id = asBytes(idReply);
    const stretch = stretchOf(asBytes(record));
    return leaseOf(tokenOf(id, 0, stretch), readTask(uuidText(id), stretch, nothingApart), now);
  });
