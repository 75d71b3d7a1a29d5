import { uuidBytes } from "../../task/uuid.js";
import type { Durability, Status, Task } from "../../task/task.js";
import { Packer, Unpacker } from "./bytes.js";
import {
  noBytes,
  packCancellation,
  packError,
  packProgress,
  packResult,
  unpackCancellation,
  unpackError,
  unpackProgress,
  unpackResult,
} from "./sections.js";
import { packSpec, unpackSpec } from "./spec.js";

/*
 * The packed record: a header of fixed length that scripts change in place, the spec (group key
 * first), the payload if it is small, and a tail of session, worker, error, progress, result,
 * cancellation and checkpoint.
 * lua/parts/record.lua holds the same layout; both change together, with the version in the first
 * byte.
 */
export const recordVersion = 2;
export const headBytes = 119;

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
export const statusOfCode = (code: number): Status => statuses[code]!;

const flag = {
  inHistory: 1,
  relaxed: 2,
  payloadApart: 16,
  restored: 32,
  resultApart: 64,
  seenRunning: 128,
} as const;

/** Where the header's fields stand that this side reads or writes. */
const at = {
  status: 1,
  flags: 2,
  priority: 3,
  version: 18,
  attempt: 22,
  token: 27,
  started: 43,
  completed: 49,
  cancel: 55,
  releases: 61,
  tailBytes: 67,
  run: 71,
  leaseLosses: 73,
  retryCount: 75,
  groupBytes: 79,
  ready: 85,
  timeout: 91,
  expire: 95,
  deadline: 101,
  heartbeat: 107,
  specBytes: 111,
  payloadBytes: 115,
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
  const head = packer.since(start);
  packState(head, task);
  head[at.flags] =
    (options.inHistory ? flag.inHistory : 0) |
    (task.durability === "relaxed" ? flag.relaxed : 0) |
    (apart ? flag.payloadApart : 0) |
    (options.restored ? flag.restored : 0) |
    (options.restored && task.status === "running" ? flag.seenRunning : 0);
  head.writeUInt16BE(groupBytes, at.groupBytes);
  head.writeUInt32BE(specEnd - start - headBytes, at.specBytes);
  head.writeUInt32BE(payloadEnd - specEnd, at.payloadBytes);
  head.writeUInt32BE(packer.length - payloadEnd, at.tailBytes);
}

/**
 * On its way to the store a record holds the number of bytes that follow where the last four of its
 * place stand later.
 */
const sizeAt = 14;
const sizeEnd = 18;

export function writeSize(record: Buffer): void {
  record.writeUInt32BE(record.length - sizeEnd, sizeAt);
}

/** Of a record that starts at `from`. */
export const packedSize = (packed: Buffer, from: number): number =>
  sizeEnd + packed.readUInt32BE(from + sizeAt);

function packState(head: Buffer, task: Task): void {
  head[0] = recordVersion;
  head[at.status] = statuses.indexOf(task.status);
  head[at.priority] = task.priority;
  head.writeUInt32BE(task.version, at.version);
  head.writeUInt16BE(task.run, at.run);
  head.writeUInt16BE(Math.min(task.leaseLosses, 0xffff), at.leaseLosses);
  head.writeUInt32BE(task.attempt, at.attempt);
  head.writeUInt32BE(task.retryCount, at.retryCount);
  head.writeUInt16BE(Math.min(task.releases, 0xffff), at.releases);
  head.writeDoubleBE(task.fencingToken, at.token);
  head.writeUIntBE(waitsFor(task), at.ready, 6);
  head.writeUIntBE(task.startedAt ?? 0, at.started, 6);
  head.writeUIntBE(task.completedAt ?? 0, at.completed, 6);
  head.writeUIntBE(task.cancelRequestedAt ?? 0, at.cancel, 6);
  head.writeUInt32BE(task.timeoutMs, at.timeout);
  head.writeUIntBE(task.terms?.expireAt ?? 0, at.expire, 6);
  head.writeUIntBE(task.terms?.deadline ?? 0, at.deadline, 6);
  head.writeUInt32BE(task.terms?.heartbeatTimeoutMs ?? 0, at.heartbeat);
}

/** The time until which it waits, 0 for none. */
export const waitsFor = (task: Task): number => task.readyAt ?? task.runAt ?? 0;

function packTail(packer: Packer, task: Task): void {
  const bare = task.attempt === 0 && !task.error && task.sessionId === "";
  if (bare && !task.cancellation) return;
  const sections = [
    Buffer.from(task.sessionId),
    Buffer.from(task.workerId),
    packError(task.error),
    packProgress(task.progress),
    noBytes,
    packCancellation(task.cancellation),
    packResult(task.checkpoint),
  ];
  for (const section of sections) {
    packer.uint32(section.length);
    packer.raw(section);
  }
}

/** What stands in keys of its own beside a record. */
export interface Apart {
  readonly payload?: Buffer | null | undefined;
  readonly result?: Buffer | null | undefined;
}

export const hasPayloadApart = (record: Buffer): boolean =>
  (record[at.flags]! & flag.payloadApart) !== 0;
export const hasResultApart = (record: Buffer): boolean =>
  (record[at.flags]! & flag.resultApart) !== 0;

/** The fencing number and secret of the last grant, as they stand in a lease token. */
export const tokenInRecord = (record: Buffer): Buffer => record.subarray(at.token, at.token + 16);

/** `payloadOmitted`: the record is a snapshot told to history, which has the payload already. */
export function unpackTask(
  id: string,
  record: Buffer,
  apart: Apart = {},
  payloadOmitted = false,
): Task {
  const specBytes = record.readUInt32BE(at.specBytes);
  const payloadEnd = headBytes + specBytes + record.readUInt32BE(at.payloadBytes);
  const from = new Unpacker(record, headBytes);
  const groupKey = from.rawText(record.readUInt16BE(at.groupBytes));
  const spec = unpackSpec(id, from);
  const inline = record.subarray(headBytes + specBytes, payloadEnd);
  const data = hasPayloadApart(record) ? apart.payload : inline;
  const asked = {
    id,
    namespace: spec.namespace,
    queue: spec.queue,
    type: spec.type,
    priority: record[at.priority] as Task["priority"],
    payload:
      spec.contentType === undefined || payloadOmitted || !data
        ? undefined
        : { contentType: spec.contentType, data },
    maxRetries: spec.maxRetries,
    retry: spec.retry,
    runAt: spec.runAt,
    timeoutMs: record.readUInt32BE(at.timeout),
    groupKey,
    requiredLabels: spec.requiredLabels,
    tags: spec.tags,
    idempotencyKey: spec.idempotencyKey,
    retentionMs: spec.retentionMs,
    traceContext: spec.traceContext,
    durability: ((record[at.flags]! & flag.relaxed) === 0 ? "durable" : "relaxed") as Durability,
    createdAt: spec.createdAt,
    terms: spec.terms,
  };
  // Not spread into a literal: so wide an object made that way costs 90 us.
  return Object.assign(asked, unpackState(record), unpackTail(record, payloadEnd, apart));
}

function unpackState(record: Buffer) {
  return {
    status: statuses[record[at.status]!]!,
    version: record.readUInt32BE(at.version),
    run: record.readUInt16BE(at.run),
    attempt: record.readUInt32BE(at.attempt),
    retryCount: record.readUInt32BE(at.retryCount),
    leaseLosses: record.readUInt16BE(at.leaseLosses),
    releases: record.readUInt16BE(at.releases),
    fencingToken: record.readDoubleBE(at.token),
    readyAt: timeAt(record, at.ready),
    startedAt: timeAt(record, at.started),
    completedAt: timeAt(record, at.completed),
    cancelRequestedAt: timeAt(record, at.cancel),
  };
}

const timeAt = (record: Buffer, offset: number): number | undefined =>
  record.readUIntBE(offset, 6) || undefined;

function unpackTail(record: Buffer, start: number, apart: Apart) {
  if (record.readUInt32BE(at.tailBytes) === 0) {
    return {
      sessionId: "",
      workerId: "",
      error: undefined,
      progress: undefined,
      result: undefined,
      cancellation: undefined,
      checkpoint: undefined,
    };
  }
  const from = new Unpacker(record, start);
  const sessionId = from.block().toString();
  const workerId = from.block().toString();
  const error = unpackError(from.block());
  const progress = unpackProgress(from.block());
  const inline = from.block();
  const packed = hasResultApart(record) ? apart.result : inline;
  return {
    sessionId,
    workerId,
    error,
    progress,
    result: packed ? unpackResult(packed) : undefined,
    cancellation: unpackCancellation(from.block()),
    checkpoint: unpackResult(from.block()),
  };
}

/** The 16 raw bytes of a task id, as they stand in keys. */
export const idBytes = (id: string): Uint8Array => uuidBytes(id);
