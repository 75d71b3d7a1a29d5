import { create, fromBinary, toBinary, type DescMessage } from "@bufbuild/protobuf";
import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";
import {
  type Blob,
  LeaseSchema,
  type ResultAck,
  TaskResultSchema,
  type TaskResult,
  TaskSchema,
  type WorkRequest,
  WorkRequestSchema,
  WorkResponseSchema,
} from "../../gen/drover/v1/task_pb.js";
import { opaque, type WireTask } from "../transport/opaque.js";
import { bytesTag, giveUp, Reader, Unplain, varintTag } from "../wire/reader.js";
import { Writer } from "../wire/writer.js";
import type { WireLease, WorkAnswer } from "./stream.js";

const answerDesc: DescMessage = opaque(WorkResponseSchema);
const leaseDesc: DescMessage = opaque(LeaseSchema);

/** A WorkResponse: leases and acks are read by hand, a frame of anything else by protobuf-es. */
export function readAnswer(bytes: Buffer): WorkAnswer {
  try {
    return readPlainAnswer(new Reader(bytes));
  } catch (error) {
    if (!(error instanceof Unplain)) throw error;
    return fromBinary(answerDesc, bytes) as unknown as WorkAnswer;
  }
}

const none: readonly never[] = Object.freeze([]);
const noBytes = new Uint8Array(0);
const noTrace: Record<string, string> = Object.freeze({});
const timestamp = "google.protobuf.Timestamp";
const duration = "google.protobuf.Duration";

function readPlainAnswer(reader: Reader): WorkAnswer {
  const leases: WireLease[] = [];
  const acks: ResultAck[] = [];
  while (reader.more) {
    const tag = reader.uint32();
    if (tag === bytesTag(2)) leases.push(readLease(reader));
    else if (tag === bytesTag(3)) acks.push(readAck(reader));
    else giveUp();
  }
  return new PlainAnswer(leases, acks) as unknown as WorkAnswer;
}

/** What else a frame may hold stands in the prototype, with its default. */
class PlainAnswer {
  readonly $typeName = "drover.v1.WorkResponse";
  readonly leases: WireLease[];
  readonly acks: ResultAck[];

  constructor(leases: WireLease[], acks: ResultAck[]) {
    this.leases = leases;
    this.acks = acks;
  }
}
Object.setPrototypeOf(PlainAnswer.prototype, create(answerDesc));

/** A lease that is not plain is read by protobuf-es, and the others stay fast. */
function readLease(reader: Reader): WireLease {
  const outer = reader.enter();
  const { at, end } = reader;
  let lease: WireLease;
  try {
    lease = readPlainLease(reader);
  } catch (error) {
    if (!(error instanceof Unplain)) throw error;
    lease = generalLease(reader.bytes.subarray(at, end));
    reader.at = end;
    reader.end = end;
  }
  reader.leave(outer);
  return lease;
}

function generalLease(bytes: Buffer): WireLease {
  try {
    return fromBinary(leaseDesc, bytes) as unknown as WireLease;
  } catch {
    return giveUp();
  }
}

function readPlainLease(reader: Reader): WireLease {
  let leaseToken: Uint8Array = noBytes;
  let fencingToken = 0;
  let task: WireTask | undefined;
  let timeout: Duration | undefined;
  while (reader.more) {
    const tag = reader.uint32();
    if (tag === bytesTag(1)) leaseToken = reader.view();
    else if (tag === varintTag(2)) fencingToken = reader.int64();
    else if (tag === bytesTag(3) && task === undefined) task = readTask(reader);
    else if (tag === bytesTag(4)) timeout = readTime(reader, timeout, duration);
    else giveUp();
  }
  if (!task || !timeout) giveUp();
  return {
    $typeName: "drover.v1.Lease",
    leaseToken,
    fencingToken: BigInt(fencingToken),
    task,
    timeout,
  };
}

/** What nearly all leased tasks have. What few have stands in the prototype, with its default. */
class PlainTask {
  readonly $typeName = "drover.v1.Task";
  id = "";
  type = "";
  queue = "";
  priority: number | undefined = undefined;
  payload: Uint8Array = noBytes;
  payloadBlob: Blob | undefined = undefined;
  maxRetries: number | undefined = undefined;
  runAt: Timestamp | undefined = undefined;
  timeout: Duration | undefined = undefined;
  groupKey = "";
  tags: string[] = none as never[];
  idempotencyKey = "";
  traceContext: Record<string, string> = noTrace;
  retryCount = 0;
  attempt = 0;
  createdAt: Timestamp | undefined = undefined;
  startedAt: Timestamp | undefined = undefined;
  run = 0;
  leaseLosses = 0;
}
Object.setPrototypeOf(PlainTask.prototype, create(opaque(TaskSchema)));

type Field = (task: PlainTask, reader: Reader) => void;

/** By tag. A field without an entry makes the whole lease one for protobuf-es. */
const fields: readonly (Field | undefined)[] = Object.assign<Field[], Record<number, Field>>([], {
  [bytesTag(1)]: (task, reader) => void (task.id = reader.text()),
  [bytesTag(2)]: (task, reader) => void (task.type = reader.name()),
  [bytesTag(3)]: (task, reader) => void (task.queue = reader.name()),
  [varintTag(4)]: (task, reader) => void (task.priority = reader.int32()),
  [bytesTag(5)]: (task, reader) => void (task.payload = reader.view()),
  [bytesTag(6)]: (task, reader) => void (task.payloadBlob = readBlob(reader, task.payloadBlob)),
  [varintTag(7)]: (task, reader) => void (task.maxRetries = reader.int32()),
  [bytesTag(9)]: (task, reader) => void (task.runAt = readTime(reader, task.runAt, timestamp)),
  [bytesTag(11)]: (task, reader) => void (task.timeout = readTime(reader, task.timeout, duration)),
  [bytesTag(12)]: (task, reader) => void (task.groupKey = reader.name()),
  [bytesTag(14)]: (task, reader) => void (task.tags = [...task.tags, reader.name()]),
  [bytesTag(15)]: (task, reader) => void (task.idempotencyKey = reader.text()),
  [bytesTag(17)]: (task, reader) => void (task.traceContext = readEntry(reader, task.traceContext)),
  [varintTag(32)]: (task, reader) => void (task.retryCount = reader.int32()),
  [varintTag(33)]: (task, reader) => void (task.attempt = reader.int32()),
  [bytesTag(34)]: (task, reader) =>
    void (task.createdAt = readTime(reader, task.createdAt, timestamp)),
  [bytesTag(35)]: (task, reader) =>
    void (task.startedAt = readTime(reader, task.startedAt, timestamp)),
  [varintTag(42)]: (task, reader) => void (task.run = reader.int32()),
  [varintTag(43)]: (task, reader) => void (task.leaseLosses = reader.int32()),
});

function readTask(reader: Reader): WireTask {
  const task = new PlainTask();
  const outer = reader.enter();
  while (reader.more) {
    const field = fields[reader.uint32()];
    if (field === undefined) giveUp();
    field(task, reader);
  }
  reader.leave(outer);
  // The rest of a WireTask is in its prototype.
  return task as unknown as WireTask;
}

function readBlob(reader: Reader, before: Blob | undefined): Blob {
  if (before) giveUp();
  let contentType = "";
  let data: Uint8Array = noBytes;
  const outer = reader.enter();
  while (reader.more) {
    const tag = reader.uint32();
    if (tag === bytesTag(1)) contentType = reader.name();
    else if (tag === bytesTag(2)) data = reader.view();
    else giveUp();
  }
  reader.leave(outer);
  return { $typeName: "drover.v1.Blob", contentType, data };
}

function readTime<Name extends string>(
  reader: Reader,
  before: object | undefined,
  $typeName: Name,
): { $typeName: Name; seconds: bigint; nanos: number } {
  // Parts of a message that comes twice add up.
  if (before) giveUp();
  let seconds = 0;
  let nanos = 0;
  const outer = reader.enter();
  while (reader.more) {
    const tag = reader.uint32();
    if (tag === varintTag(1)) seconds = reader.int64();
    else if (tag === varintTag(2)) nanos = reader.int32();
    else giveUp();
  }
  reader.leave(outer);
  return { $typeName, seconds: BigInt(seconds), nanos };
}

function readEntry(reader: Reader, map: Record<string, string>): Record<string, string> {
  let key = "";
  let value = "";
  const outer = reader.enter();
  while (reader.more) {
    const tag = reader.uint32();
    if (tag === bytesTag(1)) key = reader.name();
    else if (tag === bytesTag(2)) value = reader.text();
    else giveUp();
  }
  reader.leave(outer);
  if (key === "__proto__") giveUp();
  const filled = map === noTrace ? {} : map;
  filled[key] = value;
  return filled;
}

function readAck(reader: Reader): ResultAck {
  let leaseToken: Uint8Array = noBytes;
  let status = 0;
  let message = "";
  const outer = reader.enter();
  while (reader.more) {
    const tag = reader.uint32();
    if (tag === bytesTag(1)) leaseToken = reader.view();
    else if (tag === varintTag(2)) status = reader.int32();
    else if (tag === bytesTag(3)) message = reader.name();
    else giveUp();
  }
  reader.leave(outer);
  return { $typeName: "drover.v1.ResultAck", leaseToken, status, message };
}

const writer = new Writer();

/** A WorkRequest: results are written by hand, all else by protobuf-es; to the same bytes. */
export function writeRequest(request: WorkRequest): Buffer {
  const { results } = request;
  if (results.length === 0 || request.hello) return toBuffer(toBinary(WorkRequestSchema, request));
  writer.reset();
  for (const result of results) writeResult(result);
  if (holdsMore(request)) {
    request.results = [];
    writer.raw(toBinary(WorkRequestSchema, request));
    request.results = results;
  }
  return writer.finish();
}

/** A WorkRequest of results alone. */
export const requestOf = (results: TaskResult[]): WorkRequest =>
  new PlainRequest(results) as unknown as WorkRequest;

class PlainRequest {
  readonly $typeName = "drover.v1.WorkRequest";
  results: TaskResult[];

  constructor(results: TaskResult[]) {
    this.results = results;
  }
}
Object.setPrototypeOf(PlainRequest.prototype, create(WorkRequestSchema));

const toBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Whatever a request may carry one day counts, if it is not empty. */
function holdsMore(request: WorkRequest): boolean {
  for (const name in request) {
    if (name === "results" || name === "$typeName") continue;
    const value = request[name as keyof WorkRequest];
    if (Array.isArray(value) ? value.length > 0 : value) return true;
  }
  return false;
}

function writeResult(result: TaskResult): void {
  const entry = writer.begin(2);
  const { leaseToken, outcome } = result;
  if (outcome.case === "success" && !outcome.value.result) {
    if (leaseToken.length > 0) writer.data(1, leaseToken);
    const success = writer.begin(2);
    writeBlob(outcome.value.resultBlob);
    writer.end(success);
  } else writer.raw(toBinary(TaskResultSchema, result));
  writer.end(entry);
}

function writeBlob(blob: Blob | undefined): void {
  if (!blob) return;
  const inner = writer.begin(2);
  if (blob.contentType !== "") writer.text(1, blob.contentType);
  if (blob.data.length > 0) writer.data(2, blob.data);
  writer.end(inner);
}
