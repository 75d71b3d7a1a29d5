import { create, fromBinary, toBinary, type DescMessage } from "@bufbuild/protobuf";
import {
  TaskResultSchema,
  type WorkRequest,
  WorkRequestSchema,
  type WorkResponse,
  WorkResponseSchema,
} from "../../gen/drover/v1/task_pb.js";
import { json } from "../transport/content.js";
import { opaque } from "../transport/opaque.js";
import { bytesTag, giveUp, Reader, Unplain, varintTag } from "../wire/reader.js";
import { Writer } from "../wire/writer.js";
import { type Grant, grantOf, readGrant, Terms, type WireLease } from "./grant.js";
import { tokenKey } from "./lease-table.js";
import type { Outcome } from "./outcome.js";

/** What a coordinator says, with leases and acks as this worker wants them. */
export interface WorkAnswer {
  readonly leases: readonly Grant[];
  readonly acks: readonly Ack[];
  /** All else, which few frames have. */
  readonly rest: Omit<WorkResponse, "leases" | "acks"> | undefined;
}

const answerDesc: DescMessage = opaque(WorkResponseSchema);

/** A WorkResponse: leases and acks are read by hand, a frame of anything else by protobuf-es. */
export function readAnswer(bytes: Buffer): WorkAnswer {
  try {
    return readPlainAnswer(new Reader(bytes));
  } catch (error) {
    if (!(error instanceof Unplain)) throw error;
    return generalAnswer(fromBinary(answerDesc, bytes) as unknown as GeneralAnswer);
  }
}

/** An answer to one result. */
export interface Ack {
  /** The lease token, see `tokenKey`. */
  readonly key: string;
  readonly status: number;
  readonly message: string;
}

type GeneralAnswer = Omit<WorkResponse, "leases"> & { leases: WireLease[] };

function generalAnswer({ leases, acks, ...rest }: GeneralAnswer): WorkAnswer {
  return {
    leases: leases.map(grantOf).filter((grant) => grant !== undefined),
    acks: acks.map(({ leaseToken, status, message }) => {
      return { key: tokenKey(leaseToken), status, message };
    }),
    rest,
  };
}

function readPlainAnswer(reader: Reader): WorkAnswer {
  const leases: Grant[] = [];
  const acks: Ack[] = [];
  const terms = new Terms();
  while (reader.more) {
    const tag = reader.uint32();
    if (tag === bytesTag(2)) {
      const grant = readGrant(reader, terms);
      if (grant) leases.push(grant);
    } else if (tag === bytesTag(3)) acks.push(readAck(reader));
    else giveUp();
  }
  return { leases, acks, rest: undefined };
}

function readAck(reader: Reader): Ack {
  let key = "";
  let status = 0;
  let message = "";
  const outer = reader.enter();
  while (reader.more) {
    const tag = reader.uint32();
    if (tag === bytesTag(1)) key = reader.key();
    else if (tag === varintTag(2)) status = reader.int32();
    else if (tag === bytesTag(3)) message = reader.name();
    else giveUp();
  }
  reader.leave(outer);
  return { key, status, message };
}

const writer = new Writer();

/** A WorkRequest: outcomes are written by hand, all else by protobuf-es; to the same bytes. */
export function writeRequest({ outcomes, rest }: OutgoingFrame): Buffer {
  if (outcomes.length === 0) return toBuffer(toBinary(WorkRequestSchema, rest ?? nothing));
  writer.reset();
  for (const outcome of outcomes) writeOutcome(outcome);
  if (rest) writer.raw(toBinary(WorkRequestSchema, rest));
  return writer.finish();
}

/** A frame on its way: results, and what else goes with them: never a hello, nor more results. */
export interface OutgoingFrame {
  readonly outcomes: readonly Outcome[];
  readonly rest: WorkRequest | undefined;
}

const nothing = create(WorkRequestSchema);

const toBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function writeOutcome(outcome: Outcome): void {
  const entry = writer.begin(2);
  const { other } = outcome;
  if (other) writer.raw(toBinary(TaskResultSchema, other));
  else {
    if (outcome.key !== "") writer.latin1(1, outcome.key);
    const success = writer.begin(2);
    if (outcome.json !== undefined) {
      const blob = writer.begin(2);
      writer.text(1, json);
      writer.text(2, outcome.json);
      writer.end(blob);
    }
    writer.end(success);
  }
  writer.end(entry);
}
