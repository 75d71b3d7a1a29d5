import { fromBinary, type DescMessage } from "@bufbuild/protobuf";
import {
  TaskResultSchema,
  WorkerService,
  type TaskResult,
  type WorkRequest,
} from "../../../gen/drover/v1/task_pb.js";
import type { WorkerFrame, WorkerResult } from "../../coordinator/frames.js";
import type { Payload } from "../../task/task.js";
import { bytesTag, fixed64Tag, giveUp, Reader, Unplain } from "../../wire/reader.js";
import { checkSize, decode, mayLoseKeys } from "../codec.js";
import { opaque, opaqueMethod, type Opaque } from "../contract.js";
import { toProgress } from "../convert-frames.js";
import { toWorkerResult, toWorkerSuccess } from "../convert-result.js";
import { readBlob } from "./read-draft.js";

const method = opaqueMethod(WorkerService.method.work);
const resultDesc: DescMessage = opaque(TaskResultSchema);

/** One frame as it came. Throws a DroverError for what is no frame. */
export function readGeneralFrame(bytes: Buffer): Opaque<WorkRequest> {
  checkSize(method, bytes);
  return decode(method, bytes) as Opaque<WorkRequest>;
}

/**
 * A frame of results and progress, which is what comes by the thousand; undefined: it holds more,
 * or takes the general decoder to say what is wrong with it.
 */
export function readPlainFrame(bytes: Buffer): WorkerFrame | undefined {
  checkSize(method, bytes);
  if (mayLoseKeys(bytes)) return undefined;
  const results: WorkerResult[] = [];
  const progress: WorkerFrame["progress"][number][] = [];
  try {
    const reader = new Reader(bytes);
    while (reader.more) {
      const tag = reader.uint32();
      if (tag === bytesTag(2)) results.push(readResult(reader));
      else if (tag === bytesTag(3)) progress.push(readProgress(reader));
      else return undefined;
    }
  } catch (error) {
    if (error instanceof Unplain) return undefined;
    throw error;
  }
  return { results, progress, offer: undefined, heartbeat: undefined, leaving: false };
}

/** Successes here; the others one by one the general way. */
function readResult(reader: Reader): WorkerResult {
  const outer = reader.enter();
  const { at, end } = reader;
  let result: WorkerResult;
  try {
    result = readSuccess(reader);
  } catch (error) {
    if (!(error instanceof Unplain)) throw error;
    result = generalResult(reader.bytes.subarray(at, end));
    reader.at = end;
    reader.end = end;
  }
  reader.leave(outer);
  return result;
}

function generalResult(bytes: Buffer): WorkerResult {
  let result: Opaque<TaskResult>;
  try {
    result = fromBinary(resultDesc, bytes) as unknown as Opaque<TaskResult>;
  } catch {
    // The whole frame is malformed then, and its error names it.
    return giveUp();
  }
  return toWorkerResult(result);
}

function readSuccess(reader: Reader): WorkerResult {
  let key: string | undefined;
  let payload: Payload | undefined;
  let succeeded = false;
  while (reader.more) {
    const tag = reader.uint32();
    if (tag === bytesTag(1)) key = reader.key();
    else if (tag === bytesTag(2) && !succeeded) {
      payload = readReturned(reader);
      succeeded = true;
    } else giveUp();
  }
  return succeeded && key !== undefined ? toWorkerSuccess(key, payload) : giveUp();
}

/** A TaskSuccess. */
function readReturned(reader: Reader): Payload | undefined {
  let payload: Payload | undefined;
  const outer = reader.enter();
  while (reader.more) {
    const tag = reader.uint32();
    if (payload !== undefined) giveUp();
    if (tag === bytesTag(1)) payload = { contentType: "", data: reader.view() };
    else if (tag === bytesTag(2)) payload = readBlob(reader, undefined);
    else giveUp();
    if (payload.contentType === "" && payload.data.length === 0) giveUp();
  }
  reader.leave(outer);
  return payload;
}

function readProgress(reader: Reader): WorkerFrame["progress"][number] {
  let leaseToken: Uint8Array = noBytes;
  let fraction = 0;
  let message = "";
  const outer = reader.enter();
  while (reader.more) {
    const tag = reader.uint32();
    if (tag === bytesTag(1)) leaseToken = reader.view();
    else if (tag === fixed64Tag(2)) fraction = reader.double();
    else if (tag === bytesTag(3)) message = reader.text();
    else giveUp();
  }
  reader.leave(outer);
  return toProgress({ leaseToken, fraction, message });
}

const noBytes = new Uint8Array(0);
