import { create, toBinary, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { LeaseSchema, WorkResponseSchema } from "../../../gen/drover/v1/task_pb.js";
import type { Lease } from "../../broker/broker.js";
import type { CoordinatorFrame, ResultAck } from "../../coordinator/frames.js";
import { limits } from "../../limits.js";
import type { Task } from "../../task/task.js";
import { Writer } from "../../wire/writer.js";
import { opaque } from "../contract.js";
import { toResultStatus, toWireFrame, toWireLease } from "../convert-frames.js";

const frameDesc: DescMessage = opaque(WorkResponseSchema);
const leaseDesc: DescMessage = opaque(LeaseSchema);
const writer = new Writer();

/**
 * A frame as WorkResponses of at most 1 MiB: one, unless its leases and acks take more. Leases and
 * acks are written by hand, the rest, which is rare, by protobuf-es: to the same bytes.
 */
export function writeFrame(frame: CoordinatorFrame): Buffer[] {
  const { welcome, leases = [], acks = [], commands, heartbeatAck, goAway, kept = [] } = frame;
  const full: Buffer[] = [];
  writer.reset();
  if (welcome) writer.raw(general({ welcome }));
  for (const lease of leases) inFrames(full, writeLease, lease);
  for (const ack of acks) inFrames(full, writeAck, ack);
  for (const command of commands ?? []) inFrames(full, writeGeneral, { commands: [command] });
  if (heartbeatAck || goAway) {
    const last = { ...(heartbeatAck && { heartbeatAck }), ...(goAway && { goAway }) };
    inFrames(full, writeGeneral, last);
  }
  for (const one of kept) inFrames(full, writeGeneral, { kept: [one] });
  if (writer.length > 0) full.push(writer.finish());
  return full;
}

/** What goes beyond the bound begins the next frame. */
function inFrames<Part>(full: Buffer[], write: (part: Part) => void, part: Part): void {
  const from = writer.length;
  write(part);
  if (writer.length > limits.frameBytes && from > 0) full.push(writer.finishBefore(from));
}

const general = (frame: CoordinatorFrame): Uint8Array =>
  toBinary(frameDesc, create(frameDesc, toWireFrame(frame) as MessageInitShape<DescMessage>));

const writeGeneral = (frame: CoordinatorFrame): void => writer.raw(general(frame));

function writeLease(lease: Lease): void {
  const { token, task, timeoutMs } = lease;
  const entry = writer.begin(2, lengthBytes);
  if (isPlain(task)) {
    if (token.length > 0) writer.data(1, token);
    whole(2, task.fencingToken);
    const inner = writer.begin(3, lengthBytes);
    writeTask(task, lease.traceContext ?? task.traceContext);
    writer.end(inner, lengthBytes);
    span(4, timeoutMs);
  } else {
    const message = create(leaseDesc, toWireLease(lease) as MessageInitShape<DescMessage>);
    writer.raw(toBinary(leaseDesc, message));
  }
  writer.end(entry, lengthBytes);
}

/** Of nearly all leases and their tasks. */
const lengthBytes = 2;

/** Has nothing beyond what `writeTask` knows. */
const isPlain = ({ terms, error, checkpoint }: Task): boolean =>
  terms === undefined && error === undefined && checkpoint === undefined;

/** In the order of the field numbers; the same fields as `toWireLease`, which a test compares. */
function writeTask(task: Task, traceContext: Task["traceContext"]): void {
  text(1, task.id);
  const again = last !== undefined && isKind(last, task);
  if (!again) {
    [last, lastName, lastTerms] = [task, undefined, undefined];
  }
  if (lastName) writer.raw(lastName);
  else {
    const from = writer.length;
    text(2, task.type);
    text(3, task.queue);
    writer.varint(4, task.priority);
    if (again) lastName = writer.since(from);
  }
  writePayload(task.payload);
  if (lastTerms) writer.raw(lastTerms);
  else {
    const from = writer.length;
    writeTerms(task);
    if (again) lastTerms = writer.since(from);
  }
  for (const name in traceContext) writeEntry(17, name, traceContext[name]!);
  whole(32, task.retryCount);
  whole(33, task.attempt);
  sameTime(created, task.createdAt);
  if (task.startedAt !== undefined) sameTime(started, task.startedAt);
  whole(42, task.run);
  whole(43, task.leaseLosses);
}

function writeTerms(task: Task): void {
  writer.varint(7, task.maxRetries);
  time(9, task.runAt);
  span(11, task.timeoutMs);
  text(12, task.groupKey);
  if (task.tags.length > 0) for (const tag of task.tags) writer.text(14, tag);
  text(15, task.idempotencyKey);
}

/** The kind of task that was written last, and what all of it share, once a second one came. */
let last: Task | undefined;
let lastName: Uint8Array | undefined;
let lastTerms: Uint8Array | undefined;

const isKind = (one: Task, other: Task): boolean =>
  one.type === other.type &&
  one.queue === other.queue &&
  one.priority === other.priority &&
  one.maxRetries === other.maxRetries &&
  one.runAt === other.runAt &&
  one.timeoutMs === other.timeoutMs &&
  one.groupKey === other.groupKey &&
  one.tags === other.tags &&
  one.idempotencyKey === other.idempotencyKey;

function writePayload(payload: Task["payload"]): void {
  if (!payload) return;
  const { contentType, data } = payload;
  if (contentType === "") return writer.data(5, data);
  const blob = writer.begin(6);
  writer.text(1, contentType);
  if (data.length > 0) writer.data(2, data);
  writer.end(blob);
}

function writeEntry(field: number, key: string, value: string): void {
  const entry = writer.begin(field);
  writer.text(1, key);
  writer.text(2, value);
  writer.end(entry);
}

function writeAck({ token, verdict, message }: ResultAck): void {
  const entry = writer.begin(3);
  if (token.length > 0) writer.data(1, token);
  whole(2, toResultStatus(verdict));
  text(3, message);
  writer.end(entry);
}

/** Fields without presence of their own: what is empty is left out. */
function text(field: number, value: string): void {
  if (value !== "") writer.text(field, value);
}

function whole(field: number, value: number): void {
  if (value !== 0) writer.varint(field, value);
}

/** A Duration: both parts carry the sign. */
function span(field: number, ms: number): void {
  parts(field, Math.trunc(ms / 1_000), ms);
}

/** A Timestamp: nanos are never negative. */
function time(field: number, ms: number | undefined): void {
  if (ms !== undefined) parts(field, Math.floor(ms / 1_000), ms);
}

/** A time that neighbours share, as it was written last. */
interface Said {
  readonly field: number;
  ms: number;
  bytes: Uint8Array;
}

const created: Said = { field: 34, ms: Number.NaN, bytes: new Uint8Array() };
const started: Said = { field: 35, ms: Number.NaN, bytes: new Uint8Array() };

function sameTime(said: Said, ms: number): void {
  if (ms === said.ms) return writer.raw(said.bytes);
  const from = writer.length;
  time(said.field, ms);
  said.ms = ms;
  said.bytes = writer.since(from);
}

function parts(field: number, seconds: number, ms: number): void {
  const message = writer.begin(field);
  whole(1, seconds);
  whole(2, Math.round((ms - seconds * 1_000) * 1e6));
  writer.end(message);
}
