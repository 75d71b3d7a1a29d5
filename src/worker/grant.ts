import { fromBinary, type DescMessage } from "@bufbuild/protobuf";
import { type Lease, LeaseSchema } from "../../gen/drover/v1/task_pb.js";
import { decodeSlice } from "../transport/content.js";
import { opaque, type WireTask } from "../transport/opaque.js";
import { durationMs } from "../transport/times.js";
import { noEntries, readEntry, readMs } from "../wire/parts.js";
import { bytesTag, giveUp, type Reader, Unplain, varintTag } from "../wire/reader.js";
import { tokenKey } from "./lease-table.js";

export type WireLease = Omit<Lease, "task"> & { task?: WireTask };

const leaseDesc: DescMessage = opaque(LeaseSchema);
const noTags: readonly string[] = Object.freeze([]);

/** What few leased tasks have; read by protobuf-es. */
type Rare = Pick<
  WireTask,
  "deadline" | "timeout" | "checkpoint" | "checkpointBlob" | "batchId" | "batchCallback"
>;

/** A lease as it came: what a worker wants to know of it, in one object. */
export class Grant {
  /** The lease token, see `tokenKey`. */
  key = "";
  fencingToken = 0;
  /** Of this attempt, in ms; 0: it has no end. */
  timeoutMs = 0;
  taskId = "";
  type = "";
  queue = "";
  attempt = 0;
  retryCount = 0;
  run = 0;
  tags: readonly string[] = noTags;
  traceContext: Readonly<Record<string, string>> = noEntries;
  /** Media type of the payload; undefined: it is a Value. */
  contentType: string | undefined = undefined;
  rare: Rare | undefined = undefined;
  /** The payload's bytes stand in here; undefined: there is none, or it was taken. */
  #frame: Buffer | undefined = undefined;
  #from = 0;
  #to = 0;

  holds(contentType: string | undefined, frame: Buffer, from: number, to: number): void {
    this.contentType = contentType;
    this.#frame = contentType === undefined && from === to ? undefined : frame;
    this.#from = from;
    this.#to = to;
  }

  /** Once: the frame it came in is not kept in memory for it. Throws on what is no JSON. */
  takePayload(): unknown {
    const frame = this.#frame;
    this.#frame = undefined;
    return frame && decodeSlice(this.contentType, frame, this.#from, this.#to);
  }
}

/** Undefined without a task: nothing can be run then. */
export function grantOf({ leaseToken, fencingToken, timeout, task }: WireLease): Grant | undefined {
  if (!task) return undefined;
  const grant = new Grant();
  grant.key = tokenKey(leaseToken);
  grant.fencingToken = Number(fencingToken);
  grant.timeoutMs = timeout ? durationMs(timeout) : 0;
  grant.taskId = task.id;
  grant.type = task.type;
  grant.queue = task.queue;
  grant.attempt = task.attempt;
  grant.retryCount = task.retryCount;
  grant.run = task.run;
  grant.tags = task.tags;
  grant.traceContext = task.traceContext;
  grant.rare = task;
  const { payload, payloadBlob } = task;
  const data = asBuffer(payloadBlob ? payloadBlob.data : payload);
  grant.holds(payloadBlob?.contentType, data, 0, data.length);
  return grant;
}

const asBuffer = ({ buffer, byteOffset, byteLength }: Uint8Array): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength);

/**
 * A lease that is not plain is read by protobuf-es, and the others stay fast. `terms`: of the
 * leases before it in its frame.
 */
export function readGrant(reader: Reader, terms: Terms): Grant | undefined {
  const outer = reader.enter();
  const { at, end } = reader;
  let grant: Grant | undefined;
  try {
    grant = readPlain(reader, terms);
  } catch (error) {
    if (!(error instanceof Unplain)) throw error;
    grant = grantOf(generalLease(reader.bytes.subarray(at, end)));
    reader.at = end;
    reader.end = end;
  }
  reader.leave(outer);
  return grant;
}

function generalLease(bytes: Buffer): WireLease {
  try {
    return fromBinary(leaseDesc, bytes) as unknown as WireLease;
  } catch {
    return giveUp();
  }
}

function readPlain(reader: Reader, terms: Terms): Grant {
  const grant = new Grant();
  let task = false;
  let timeout = false;
  while (reader.more) {
    const tag = reader.uint32();
    if (tag === bytesTag(1)) grant.key = reader.key();
    else if (tag === varintTag(2)) grant.fencingToken = reader.int64();
    else if (tag === bytesTag(3) && !task) {
      task = true;
      readTask(grant, reader, terms);
    } else if (tag === bytesTag(4) && !timeout) {
      timeout = true;
      grant.timeoutMs = readMs(reader);
    } else giveUp();
  }
  return task && timeout ? grant : giveUp();
}

type Field = (grant: Grant, reader: Reader) => void;

/** By tag. A field without an entry makes the whole lease one for protobuf-es. */
const fields: readonly (Field | undefined)[] = Object.assign<Field[], Record<number, Field>>([], {
  [bytesTag(1)]: (grant, reader) => void (grant.taskId = reader.text()),
  [bytesTag(2)]: (grant, reader) => void (grant.type = reader.name()),
  [bytesTag(3)]: (grant, reader) => void (grant.queue = reader.name()),
  [bytesTag(5)]: readValue,
  [bytesTag(14)]: (grant, reader) => void (grant.tags = [...grant.tags, reader.name()]),
  [bytesTag(17)]: (grant, reader) =>
    void (grant.traceContext = readEntry(reader, grant.traceContext)),
  // group_key and idempotency_key are nothing to a handler.
  [bytesTag(12)]: (_grant, reader) => void reader.name(),
  [bytesTag(15)]: (_grant, reader) => void reader.text(),
});

/** The same, of what tells few tasks of a frame apart. */
const termFields: typeof fields = Object.assign<Field[], Record<number, Field>>([], {
  [varintTag(32)]: (grant, reader) => void (grant.retryCount = reader.int32()),
  [varintTag(33)]: (grant, reader) => void (grant.attempt = reader.int32()),
  [varintTag(42)]: (grant, reader) => void (grant.run = reader.int32()),
  // Nothing to a handler: priority, max_retries and lease_losses,
  [varintTag(4)]: (_grant, reader) => void reader.int32(),
  [varintTag(7)]: (_grant, reader) => void reader.int32(),
  [varintTag(43)]: (_grant, reader) => void reader.int32(),
  // run_at, timeout, created_at and started_at.
  [bytesTag(9)]: (_grant, reader) => void readMs(reader),
  [bytesTag(11)]: (_grant, reader) => void readMs(reader),
  [bytesTag(34)]: (_grant, reader) => void readMs(reader),
  [bytesTag(35)]: (_grant, reader) => void readMs(reader),
});

/**
 * What neighbours in a frame mostly share, byte for byte: all that stands behind the payload. It is
 * read once, and compared from then on.
 */
export class Terms {
  /** Where those stand that were read last. */
  #from = 0;
  #to = 0;
  #retryCount = 0;
  #attempt = 0;
  #run = 0;

  /** Up to the end of the task, or to the first field that is none of them. */
  read(grant: Grant, reader: Reader): void {
    // Some came before the payload: these bytes do not say all then.
    if (grant.retryCount > 0 || grant.attempt > 0 || grant.run > 0) return;
    const { at, end } = reader;
    if (this.#standsAt(reader)) {
      grant.retryCount = this.#retryCount;
      grant.attempt = this.#attempt;
      grant.run = this.#run;
      reader.at = end;
      return;
    }
    while (reader.more) {
      const tagAt = reader.at;
      const field = termFields[reader.uint32()];
      if (field === undefined) {
        reader.at = tagAt;
        return;
      }
      field(grant, reader);
    }
    this.#from = at;
    this.#to = end;
    this.#retryCount = grant.retryCount;
    this.#attempt = grant.attempt;
    this.#run = grant.run;
  }

  #standsAt({ bytes, at, end }: Reader): boolean {
    const length = end - at;
    if (this.#to - this.#from !== length) return false;
    for (let nth = 0; nth < length; nth += 1) {
      if (bytes[this.#from + nth] !== bytes[at + nth]) return false;
    }
    return true;
  }
}

function readTask(grant: Grant, reader: Reader, terms: Terms): void {
  const outer = reader.enter();
  while (reader.more) {
    const tag = reader.uint32();
    if (tag === bytesTag(6)) {
      readBlob(grant, reader);
      terms.read(grant, reader);
    } else (fields[tag] ?? termFields[tag] ?? giveUp())(grant, reader);
  }
  reader.leave(outer);
}

function readValue(grant: Grant, reader: Reader): void {
  const to = reader.stop();
  const from = reader.at;
  reader.at = to;
  // A blob beside it comes first.
  if (grant.contentType === undefined) grant.holds(undefined, reader.bytes, from, to);
}

function readBlob(grant: Grant, reader: Reader): void {
  if (grant.contentType !== undefined) giveUp();
  let contentType = "";
  let from = 0;
  let to = 0;
  const outer = reader.enter();
  while (reader.more) {
    const tag = reader.uint32();
    if (tag === bytesTag(1)) contentType = reader.name();
    else if (tag === bytesTag(2)) {
      to = reader.stop();
      from = reader.at;
      reader.at = to;
    } else giveUp();
  }
  reader.leave(outer);
  grant.holds(contentType, reader.bytes, from, to);
}
