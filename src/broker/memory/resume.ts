import { decodeLeaseToken, type LeaseTokenParts } from "../../task/ids.js";
import { next } from "../../task/status.js";
import type { Lease, RenewVerdict, SessionOpen, SessionRenewal } from "../broker.js";
import type { Partition } from "./partition.js";
import { leaseOf, type TaskRecord } from "./record.js";
import type { Session } from "./sessions.js";

export interface Resumed {
  readonly resumed: boolean;
  readonly kept: Lease[];
  readonly revoked: Uint8Array[];
  readonly missing: Uint8Array[];
  readonly lostInTransit: Lease[];
}

/** The generation known, if it is newer than the one that opens. */
export function newerGeneration(partition: Partition, open: SessionOpen): number | undefined {
  const known = partition.sessions.get(open.sessionId)?.generation ?? 0;
  return known > open.generation ? known : undefined;
}

/** Opens or takes over a session in one partition. `tokens` are those held that belong to it. */
export function resume(
  partition: Partition,
  open: SessionOpen,
  tokens: readonly Uint8Array[],
): Resumed {
  const now = partition.now();
  const resumed = partition.sessions.isLive(partition.sessions.get(open.sessionId), now);
  const endsAt = now + open.leaseMs;
  const session = partition.sessions.open(open.sessionId, open.generation, open.info, endsAt);
  const reply: Resumed = { resumed, kept: [], revoked: [], missing: [], lostInTransit: [] };
  const held = new Set<TaskRecord>();
  for (const token of tokens) {
    const record = takeBack(partition, session, token);
    if (record === "missing") reply.missing.push(token);
    else if (record === "revoked") reply.revoked.push(token);
    else held.add(record);
  }
  for (const record of held) reply.kept.push(leaseOf(record, now));
  for (const record of session.leases) {
    if (!held.has(record)) reply.lostInTransit.push(leaseOf(record, now));
  }
  return reply;
}

function takeBack(
  partition: Partition,
  session: Session,
  token: Uint8Array,
): TaskRecord | "missing" | "revoked" {
  const parts = decodeLeaseToken(token);
  if (!parts) return "revoked";
  const record = partition.records.get(parts.taskId);
  if (!record) return partition.tombstoneOf(parts.taskId) ? "revoked" : "missing";
  if (record.task.namespace !== session.info.namespace) return "revoked";
  if (record.task.status === "running") {
    const own = record.task.sessionId === session.id && partition.holdsToken(record, token);
    if (own) partition.sessions.attach(session, record);
    return own ? record : "revoked";
  }
  if (!mayAdopt(partition, record, session, parts, token)) return "revoked";
  adopt(partition, record, session, parts, token);
  return record;
}

/**
 * Its lease was lost and nobody has it since; or the store forgot the grant, and knows of no later
 * one.
 */
function mayAdopt(
  partition: Partition,
  record: TaskRecord,
  session: Session,
  parts: LeaseTokenParts,
  token: Uint8Array,
): boolean {
  if (next(record.task.status, "adopt") === undefined) return false;
  if (record.token === undefined) {
    return record.adoptFrom !== undefined && parts.fencingToken >= record.adoptFrom;
  }
  const lost = record.ended === "lost" && record.task.sessionId === session.id;
  return lost && partition.holdsToken(record, token);
}

function adopt(
  partition: Partition,
  record: TaskRecord,
  session: Session,
  { fencingToken }: LeaseTokenParts,
  token: Uint8Array,
): void {
  const { attempt, fencingToken: known, startedAt } = record.task;
  record.token = Uint8Array.from(token);
  record.ended = undefined;
  partition.fencing = Math.max(partition.fencing, fencingToken);
  partition.move(record, "adopt", {
    attempt: fencingToken > known ? attempt + 1 : attempt,
    fencingToken,
    sessionId: session.id,
    workerId: session.info.workerId,
    startedAt: startedAt ?? partition.now(),
    readyAt: undefined,
  });
}

export function renew(partition: Partition, renewal: SessionRenewal): RenewVerdict {
  const now = partition.now();
  const session = partition.sessions.get(renewal.sessionId);
  if (session && session.generation > renewal.generation) return "superseded";
  if (!partition.sessions.isLive(session, now)) return "gone";
  if (session.generation !== renewal.generation) return "gone";
  if (renewal.info) session.info = renewal.info;
  partition.sessions.setEnd(session, now + renewal.leaseMs);
  return "renewed";
}

export function cut(
  partition: Partition,
  sessionId: string,
  generation: number,
  leaseMs: number,
): void {
  const now = partition.now();
  const session = partition.sessions.get(sessionId);
  if (!partition.sessions.isLive(session, now) || session.generation !== generation) return;
  partition.sessions.setEnd(session, Math.min(session.key, now + leaseMs));
}

export function close(partition: Partition, sessionId: string, generation: number): void {
  const session = partition.sessions.get(sessionId);
  if (!session || session.left || session.generation !== generation) return;
  partition.sessions.leave(session);
}
