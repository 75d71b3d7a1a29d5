import "../../task/shape.js";
import { leaseTokenIdAt, leaseTokenLength, leaseTokenProofAt, slotInId } from "../../task/ids.js";
import { uuidBytes } from "../../task/uuid.js";
import type { Status, Task } from "../../task/task.js";
import { Packer, type Stretch, stretchOf } from "./bytes.js";
import { packSpec, readCreatedAt, readSpec, type Spec } from "./spec.js";
import { type Apart, packTail, readTail } from "./tail.js";

/*
 * The packed record: a header of fixed length that scripts change in place, the spec (group key
 * first), the payload if it is small, and a tail of session, worker, error, progress, result,
 * cancellation and checkpoint.
 * lua/parts/record.lua holds the same layout; both change together, with the version in the first
 * byte.
 */
export const recordVersion = 4;
export const headBytes = 122;

/**
 * Payloads and results up to this many bytes stand in the record, larger ones in a key of their
 * own.
 */
export const inlineBytes = 1_024;

const statuses: readonly Status[] = [
  "blocked",
  "scheduled",
  "pending",
  "running",
  "retrying",
  "completed",
  "failed",
  "cancelled",
  "expired",
];
export const completedCode = statuses.indexOf("completed");
export const runningCode = statuses.indexOf("running");
export const statusOfCode = (code: number): Status => statuses[code]!;

export const flag = {
  inHistory: 1,
  relaxed: 2,
  payloadApart: 16,
  restored: 32,
  resultApart: 64,
  seenRunning: 128,
} as const;

/** Where the header's fields stand that this side reads or writes. */
export const at = {
  status: 1,
  flags: 2,
  priority: 3,
  version: 25,
  attempt: 29,
  settledBy: 33,
  token: 34,
  started: 50,
  completed: 56,
  cancel: 62,
  releases: 68,
  settledAt: 70,
  tailBytes: 74,
  run: 78,
  leaseLosses: 80,
  retryCount: 82,
  groupBytes: 84,
  ready: 90,
  timeout: 96,
  expire: 100,
  deadline: 106,
  heartbeat: 112,
  specBytes: 116,
  payloadBytes: 120,
} as const;

const alone = new Packer();

export interface PackedTask {
  readonly record: Buffer;
  /** Payload too large for the record. */
  readonly payloadApart: Uint8Array | undefined;
}

export interface PackOptions {
  /** History has the row: scripts leave the payload out of what they tell it. */
  readonly inHistory: boolean;
  /** History gave it: a worker may still hold a token of it that Redis has forgotten. */
  readonly restored: boolean;
}

export function packTask(task: Task, options: PackOptions): PackedTask {
  appendTask(alone.reset(), task, options);
  return { record: alone.take(), payloadApart: payloadApart(task) };
}

/** The payload, if it is too large for the record. */
export function payloadApart({ payload }: Task): Uint8Array | undefined {
  return payload && payload.data.length > inlineBytes ? payload.data : undefined;
}

/** Packs a record behind what a packer holds already. */
export function appendTask(packer: Packer, task: Task, options: PackOptions): void {
  const data = task.payload?.data;
  const apart = payloadApart(task);
  const start = packer.length;
  packer.skip(headBytes);
  const groupBytes = packer.rawText(task.groupKey);
  packSpec(packer, task);
  const specEnd = packer.length;
  if (data && !apart) packer.raw(data);
  const payloadEnd = packer.length;
  packTail(packer, task);
  const flags =
    (options.inHistory ? flag.inHistory : 0) |
    (task.durability === "relaxed" ? flag.relaxed : 0) |
    (apart ? flag.payloadApart : 0) |
    (options.restored ? flag.restored : 0) |
    (options.restored && task.status === "running" ? flag.seenRunning : 0);
  packer.byteAt(start + at.flags, flags);
  packer.uint16At(start + at.groupBytes, groupBytes);
  packer.uint32At(start + at.specBytes, specEnd - start - headBytes);
  packer.uint16At(start + at.payloadBytes, payloadEnd - specEnd);
  packer.uint32At(start + at.tailBytes, packer.length - payloadEnd);
  packState(packer, start, task);
}

/**
 * On its way to the store a record holds the number of bytes that follow where the last four of its
 * birth stand later.
 */
const sizeAt = 21;
const sizeEnd = 25;

/** Of the record that starts at `start`, once it is packed. */
export const packSize = (packer: Packer, start: number): void =>
  packer.uint32At(start + sizeAt, packer.length - start - sizeEnd);

/** Of a record that starts at `from`. */
export const packedSize = (packed: Buffer, from: number): number =>
  sizeEnd + packed.readUInt32BE(from + sizeAt);

function packState(packer: Packer, start: number, task: Task): void {
  packer.byteAt(start, recordVersion);
  packer.byteAt(start + at.status, statuses.indexOf(task.status));
  packer.byteAt(start + at.priority, task.priority);
  packer.uint32At(start + at.version, task.version);
  packer.uint16At(start + at.run, task.run);
  packer.uint16At(start + at.leaseLosses, Math.min(task.leaseLosses, 0xffff));
  packer.uint32At(start + at.attempt, task.attempt);
  packer.uint16At(start + at.retryCount, Math.min(task.retryCount, 0xffff));
  packer.uint16At(start + at.releases, Math.min(task.releases, 0xffff));
  packer.doubleAt(start + at.token, task.fencingToken);
  packer.uint48At(start + at.ready, waitsFor(task));
  packer.uint48At(start + at.started, task.startedAt ?? 0);
  packer.uint48At(start + at.completed, task.completedAt ?? 0);
  packer.uint48At(start + at.cancel, task.cancelRequestedAt ?? 0);
  packer.uint32At(start + at.timeout, task.timeoutMs);
  packer.uint48At(start + at.expire, task.terms?.expireAt ?? 0);
  packer.uint48At(start + at.deadline, task.terms?.deadline ?? 0);
  packer.uint32At(start + at.heartbeat, task.terms?.heartbeatTimeoutMs ?? 0);
}

/** The time until which it waits, 0 for none. */
export const waitsFor = (task: Task): number => task.readyAt ?? task.runAt ?? 0;

export const hasPayloadApart = (record: Buffer): boolean =>
  (record[at.flags]! & flag.payloadApart) !== 0;
export const hasResultApart = (record: Buffer): boolean =>
  (record[at.flags]! & flag.resultApart) !== 0;

/**
 * The token of the last grant of a record, whose fencing number and secret stand in the header.
 * `idAt`: where the bytes of the task's id stand.
 */
export function tokenOf(ids: Buffer, idAt: number, { packed, from }: Stretch): Buffer {
  const token = Buffer.allocUnsafe(leaseTokenLength);
  const slot = slotInId(ids, idAt);
  token[0] = slot >> 8;
  token[1] = slot & 0xff;
  const proofAt = from + at.token;
  for (let n = 0; n < 16; n += 1) {
    token[leaseTokenIdAt + n] = ids[idAt + n]!;
    token[leaseTokenProofAt + n] = packed[proofAt + n]!;
  }
  return token;
}

/**
 * `payloadOmitted`: the record is a snapshot told to history, which has the payload already. The
 * fields have the order of `newTask`, so that both make objects of one shape.
 */
export const unpackTask = (
  id: string,
  record: Buffer,
  apart: Apart = {},
  payloadOmitted = false,
): Task => readTask(id, stretchOf(record), apart, payloadOmitted);

/** The same of a record that stands among others. */
export function readTask(
  id: string,
  { packed, view, from }: Stretch,
  apart: Apart,
  payloadOmitted = false,
): Task {
  const specAt = from + headBytes;
  const payloadAt = specAt + view.getUint32(from + at.specBytes);
  const payloadEnd = payloadAt + view.getUint16(from + at.payloadBytes);
  const flags = packed[from + at.flags]!;
  const groupBytes = view.getUint16(from + at.groupBytes);
  const spec = readSpec(packed, specAt, payloadAt, groupBytes);
  const { contentType } = spec;
  const tailBytes = view.getUint32(from + at.tailBytes);
  const tail = readTail(packed, payloadEnd, tailBytes, (flags & flag.resultApart) !== 0, apart);
  const data =
    contentType === undefined || payloadOmitted
      ? undefined
      : (flags & flag.payloadApart) !== 0
        ? apart.payload
        : packed.subarray(payloadAt, payloadEnd);
  return {
    id,
    namespace: spec.namespace,
    queue: spec.queue,
    type: spec.type,
    priority: packed[from + at.priority] as Task["priority"],
    payload: data ? { contentType: contentType!, data } : undefined,
    maxRetries: spec.maxRetries,
    retry: spec.retry,
    runAt: spec.runAt,
    timeoutMs: view.getUint32(from + at.timeout),
    groupKey: spec.groupKey,
    requiredLabels: spec.requiredLabels,
    tags: spec.tags,
    idempotencyKey: spec.idempotencyKey,
    retentionMs: spec.retentionMs,
    traceContext: spec.traceContext,
    durability: (flags & flag.relaxed) === 0 ? "durable" : "relaxed",
    createdAt: readCreatedAt(packed, specAt + groupBytes, id),
    terms: spec.terms,
    status: statuses[packed[from + at.status]!]!,
    version: view.getUint32(from + at.version),
    run: view.getUint16(from + at.run),
    attempt: view.getUint32(from + at.attempt),
    retryCount: view.getUint16(from + at.retryCount),
    leaseLosses: view.getUint16(from + at.leaseLosses),
    releases: view.getUint16(from + at.releases),
    fencingToken: view.getFloat64(from + at.token),
    sessionId: tail.sessionId,
    workerId: tail.workerId,
    readyAt: timeAt(view, from + at.ready),
    startedAt: timeAt(view, from + at.started),
    completedAt: timeAt(view, from + at.completed),
    cancelRequestedAt: timeAt(view, from + at.cancel),
    result: tail.result,
    error: tail.error,
    progress: tail.progress,
    cancellation: tail.cancellation,
    checkpoint: tail.checkpoint,
  };
}

/** What a task without a group key has of its own: where its spec starts, and its payload. */
export interface Own {
  readonly packed: Buffer;
  readonly specAt: number;
  readonly payloadAt: number;
  readonly to: number;
}

/**
 * The same where it is known to differ from a task that was read already in its id, spec, payload
 * and fencing number alone.
 */
export function readAlike(
  id: string,
  spec: Spec,
  { packed, specAt, payloadAt, to }: Own,
  fencingToken: number,
  other: Task,
): Task {
  const { contentType } = spec;
  return {
    id,
    namespace: spec.namespace,
    queue: spec.queue,
    type: spec.type,
    priority: other.priority,
    payload:
      contentType === undefined ? undefined : { contentType, data: packed.subarray(payloadAt, to) },
    maxRetries: spec.maxRetries,
    retry: spec.retry,
    runAt: spec.runAt,
    timeoutMs: other.timeoutMs,
    groupKey: spec.groupKey,
    requiredLabels: spec.requiredLabels,
    tags: spec.tags,
    idempotencyKey: spec.idempotencyKey,
    retentionMs: spec.retentionMs,
    traceContext: spec.traceContext,
    durability: other.durability,
    createdAt: readCreatedAt(packed, specAt, id),
    terms: spec.terms,
    status: other.status,
    version: other.version,
    run: other.run,
    attempt: other.attempt,
    retryCount: other.retryCount,
    leaseLosses: other.leaseLosses,
    releases: other.releases,
    fencingToken,
    sessionId: other.sessionId,
    workerId: other.workerId,
    readyAt: other.readyAt,
    startedAt: other.startedAt,
    completedAt: other.completedAt,
    cancelRequestedAt: other.cancelRequestedAt,
    result: other.result,
    error: other.error,
    progress: other.progress,
    cancellation: other.cancellation,
    checkpoint: other.checkpoint,
  };
}

/** Six bytes; 0: none. */
export const timeAt = (view: DataView, offset: number): number | undefined =>
  view.getUint16(offset) * 0x1_0000_0000 + view.getUint32(offset + 2) || undefined;

/** The 16 raw bytes of a task id, as they stand in keys. */
export const idBytes = (id: string): Uint8Array => uuidBytes(id);
