import {
  create,
  fromBinary,
  toBinary,
  type DescMessage,
  type MessageInitShape,
} from "@bufbuild/protobuf";
import {
  ErrorSchema,
  SubmitStreamItemSchema,
  TaskService,
  type SubmitStreamItem,
  type SubmitStreamRequest,
  type SubmitTaskRequest,
} from "../../../gen/drover/v1/task_pb.js";
import { AlikeSubmission } from "../../coordinator/alike.js";
import type { Submission, SubmitOutcome } from "../../coordinator/coordinator.js";
import { DroverError } from "../../errors.js";
import type { TaskDraft } from "../../task/draft.js";
import { bytesTag, giveUp, Reader, Unplain, varintTag } from "../../wire/reader.js";
import { Writer } from "../../wire/writer.js";
import { checkSize, decode, mayLoseKeys } from "../codec.js";
import { opaque, opaqueMethod, type Opaque } from "../contract.js";
import { toDraft, toItemError, toSubmitStatus } from "../convert-task.js";
import { Kinds } from "./kinds.js";
import { readDraft } from "./read-draft.js";

/** One frame of SubmitStream: numbers and submissions stand side by side. */
export interface SubmitFrame {
  readonly numbers: number[];
  readonly submissions: Submission[];
  /** What was refused before anybody looked at a store. */
  readonly refused: Answer[];
}

/** What became of one item, by its number. */
export interface Answer {
  readonly number: number;
  readonly outcome: SubmitOutcome;
}

const method = opaqueMethod(TaskService.method.submitStream);
const itemDesc: DescMessage = opaque(SubmitStreamItemSchema);

/** Throws a DroverError for what is no frame. `kinds`: of the frames of this stream before it. */
export function readSubmitFrame(bytes: Buffer, kinds = new Kinds()): SubmitFrame {
  checkSize(method, bytes);
  return (
    plainFrame(bytes, kinds) ?? generalFrame(decode(method, bytes) as Opaque<SubmitStreamRequest>)
  );
}

const emptyFrame = (): SubmitFrame => ({ numbers: [], submissions: [], refused: [] });

function plainFrame(bytes: Buffer, kinds: Kinds): SubmitFrame | undefined {
  if (mayLoseKeys(bytes)) return undefined;
  return ifPlain(() => {
    const frame = emptyFrame();
    const reader = new Reader(bytes);
    kinds.begin();
    while (reader.more) {
      if (reader.uint32() !== bytesTag(1)) giveUp();
      readItem(reader, frame, kinds);
    }
    return frame;
  });
}

/** An item that is not plain is read the general way, and the others stay fast. */
function readItem(reader: Reader, frame: SubmitFrame, kinds: Kinds): void {
  const outer = reader.enter();
  const { at, end } = reader;
  try {
    readPlainItem(reader, frame, kinds);
  } catch (error) {
    if (!(error instanceof Unplain)) throw error;
    addItem(frame, generalItem(reader.bytes.subarray(at, end)));
    reader.at = end;
    reader.end = end;
  }
  reader.leave(outer);
}

function readPlainItem(reader: Reader, frame: SubmitFrame, kinds: Kinds): void {
  let number = 0;
  let requestAt = 0;
  let requestEnd = 0;
  let draft: TaskDraft | undefined;
  while (reader.more) {
    const tag = reader.uint32();
    if (tag === varintTag(1)) number = reader.uint32();
    else if (tag === bytesTag(3) && requestEnd === 0) {
      requestEnd = reader.stop();
      requestAt = reader.at;
      reader.at = requestEnd;
    } else if (tag === bytesTag(2) && draft === undefined) {
      const outer = reader.enter();
      draft = kinds.read(reader);
      reader.leave(outer);
    } else giveUp();
  }
  if (draft === undefined) giveUp();
  frame.numbers.push(number);
  frame.submissions.push(
    kinds.alike
      ? alike(reader, kinds, draft, requestAt, requestEnd)
      : { draft, requestId: reader.textAt(requestAt, requestEnd) },
  );
}

function alike(
  reader: Reader,
  { from, to }: Kinds,
  shared: TaskDraft,
  at: number,
  end: number,
): Submission {
  const { bytes } = reader;
  const isShort = end === at || (end - at === uuidLength && isAscii(bytes, at, end));
  const submission = new AlikeSubmission(shared, bytes, from, to, at, end);
  if (isShort) return submission;
  return { draft: submission.draft, requestId: reader.textAt(at, end) };
}

const uuidLength = 36;

function isAscii(bytes: Buffer, from: number, to: number): boolean {
  let seen = 0;
  for (let at = from; at < to; at += 1) seen |= bytes[at]!;
  return seen < 0x80;
}

function generalItem(bytes: Buffer): Opaque<SubmitStreamItem> {
  try {
    return fromBinary(itemDesc, bytes) as unknown as Opaque<SubmitStreamItem>;
  } catch {
    // The whole frame is malformed then, and its error names it.
    return giveUp();
  }
}

function generalFrame({ items }: Opaque<SubmitStreamRequest>): SubmitFrame {
  const frame = emptyFrame();
  for (const item of items) addItem(frame, item);
  return frame;
}

function addItem(frame: SubmitFrame, { number, task, requestId }: Opaque<SubmitStreamItem>): void {
  try {
    const draft = toDraft(task);
    frame.numbers.push(number);
    frame.submissions.push({ draft, requestId });
  } catch (thrown) {
    frame.refused.push({ number, outcome: { kind: "refused", error: DroverError.from(thrown) } });
  }
}

const unary = opaqueMethod(TaskService.method.submitTask);

/** A SubmitTaskRequest. Throws a DroverError for what is none, and for a task that is refused. */
export function readSubmitRequest(bytes: Buffer): Submission {
  checkSize(unary, bytes);
  const plain = mayLoseKeys(bytes) ? undefined : ifPlain(() => readPlainRequest(new Reader(bytes)));
  if (plain) return plain;
  const { task, requestId } = decode(unary, bytes) as Opaque<SubmitTaskRequest>;
  return { draft: toDraft(task), requestId };
}

/** Undefined: it takes the general decoder. */
function ifPlain<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof Unplain) return undefined;
    throw error;
  }
}

function readPlainRequest(reader: Reader): Submission {
  let requestId = "";
  let draft: TaskDraft | undefined;
  while (reader.more) {
    const tag = reader.uint32();
    if (tag === bytesTag(2)) requestId = reader.text();
    else if (tag === bytesTag(1) && draft === undefined) {
      const outer = reader.enter();
      draft = readDraft(reader);
      reader.leave(outer);
    } else giveUp();
  }
  return draft === undefined ? giveUp() : { draft, requestId };
}

const writer = new Writer();

/** A SubmitTaskResponse. */
export function writeSubmitResponse(outcome: Exclude<SubmitOutcome, { kind: "refused" }>): Buffer {
  writer.reset();
  writer.text(1, outcome.taskId);
  writer.varint(2, toSubmitStatus(outcome.kind));
  return writer.finish();
}

/** A SubmitStreamResponse of `answers` from `from` to before `to`. */
export function writeAnswers(answers: readonly Answer[], from: number, to: number): Buffer {
  writer.reset();
  for (let index = from; index < to; index += 1) {
    const { number, outcome } = answers[index]!;
    const entry = writer.begin(1);
    if (number !== 0) writer.varint(1, number);
    const inner = writer.begin(2);
    if (outcome.kind === "refused") {
      const error = create(errorDesc, toItemError(outcome.error) as MessageInitShape<DescMessage>);
      writer.data(3, toBinary(errorDesc, error));
    } else {
      writer.text(1, outcome.taskId);
      writer.varint(2, toSubmitStatus(outcome.kind));
    }
    writer.end(inner);
    writer.end(entry);
  }
  return writer.finish();
}

const errorDesc: DescMessage = opaque(ErrorSchema);
