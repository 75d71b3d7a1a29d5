import { limits } from "../../limits.js";
import { uuidText } from "../../task/uuid.js";
import { runEnd } from "../../task/times.js";
import type { Lease, LeaseReply, LeaseRequest } from "../broker.js";
import { PackedStrings } from "./bytes.js";
import { type Argument, ownStoreId } from "./connection.js";
import { laneText } from "./keys.js";
import { tokenOf, unpackTask } from "./record.js";
import { asBytes, asList, asNumber, asText, type Reply } from "./scripts.js";
import { noBytes } from "./sections.js";
import type { Store } from "./store.js";

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
  const lanes = request.lanes.slice(0, limits.laneBatch).map(laneText);
  const slots = sessions.reduce((sum, session) => sum + Math.max(0, session.slots), 0);
  const args: Argument[] = [
    ownStoreId,
    String(store.fencing.highest(partition)),
    String(request.maxBytes),
    store.random.bytes(8 * Math.min(slots, limits.leaseBatch)),
    String(lanes.length),
    String(sessions.length),
    ...lanes,
  ];
  for (const { sessionId, generation, slots: room } of sessions) {
    args.push(sessionId, String(generation), String(Math.max(0, room)));
  }
  return args;
}

export function readLeases(store: Store, request: LeaseRequest, reply: unknown): LeaseReply {
  const [kind, more, lost, granted, aparts] = asList(reply);
  const { sessions } = request;
  const payloads = payloadsByPlace(asList(aparts));
  return {
    kind: asText(kind) as LeaseReply["kind"],
    more: asNumber(more) === 1,
    lostSessions: asList(lost).map((index) => sessions[asNumber(index)]!.sessionId),
    leases: readGranted(store, request.partition, asBytes(granted ?? noBytes), payloads),
  };
}

/** By turns id and record; empty if nothing was granted. */
function readGranted(
  store: Store,
  partition: number,
  packed: Buffer,
  payloads: ReadonlyMap<number, Buffer>,
): Lease[] {
  if (packed.length === 0) return [];
  const strings = new PackedStrings(packed);
  return Array.from({ length: strings.count / 2 }, (_, n) => {
    const id = strings.next();
    const lease = readLease(id, strings.next(), undefined, payloads.get(n));
    store.fencing.saw(partition, lease.task.fencingToken);
    return lease;
  });
}

/** Of the tasks at these places; the others have theirs in the record. */
export function payloadsByPlace(pairs: readonly Reply[]): Map<number, Buffer> {
  const payloads = new Map<number, Buffer>();
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    payloads.set(asNumber(pairs[i]), asBytes(pairs[i + 1]));
  }
  return payloads;
}

/** `now`: the store's time; left out for a fresh grant, which has its whole time before it. */
export function readLease(
  id: Buffer,
  record: Buffer,
  now: number | undefined,
  payload?: Buffer,
): Lease {
  const task = unpackTask(uuidText(id), record, { payload });
  const from = now ?? task.startedAt ?? 0;
  return {
    token: tokenOf(id, record),
    sessionId: task.sessionId,
    task,
    timeoutMs: Math.max(0, runEnd(task, from) - from),
  };
}

/**
 * Rows of { id, record }, as sweeps and sessions give them; payloads in keys of their own are left
 * out.
 */
export const readOffered = (rows: Reply | undefined, now: number): Lease[] =>
  asList(rows).map((row) => {
    const [id, record] = asList(row);
    return readLease(asBytes(id), asBytes(record), now);
  });
