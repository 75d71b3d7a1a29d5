import { fromBinary } from "@bufbuild/protobuf";
import {
  type Error as WireError,
  SubmitStatus as WireStatus,
  SubmitStreamResponseSchema,
} from "../../gen/drover/v1/task_pb.js";
import { bytesTag, giveUp, Reader, Unplain, varintTag } from "../wire/reader.js";
import { widthOf, Writer } from "../wire/writer.js";
import { requestIdOf, taskOf } from "./encode-task.js";
import type { Submission } from "./submissions.js";
import type { SubmitStatus } from "./surface.js";

/** What became of one submission of a frame. */
export interface SubmitAnswer {
  readonly number: number;
  readonly taskId: string;
  readonly status: SubmitStatus;
  /** Set if it was refused. */
  readonly error: WireError | undefined;
}

const writer = new Writer();

/** A SubmitStreamRequest; the numbers are those of the submissions, in order from `first`. */
export function streamFrame(submissions: readonly Submission[], first: number): Buffer {
  writer.reset();
  let number = first;
  for (const { item } of submissions) {
    writer.lead(1, 1 + widthOf(number) + item.length);
    writer.varint(1, number);
    writer.raw(item);
    number = (number + 1) >>> 0;
  }
  return writer.finish();
}

/** A SubmitTasksRequest. */
export function unaryRequest(submissions: readonly Submission[]): Buffer {
  writer.reset();
  for (const { item } of submissions) writer.data(1, taskOf(item));
  for (const { item } of submissions) writer.text(2, requestIdOf(item));
  return writer.finish();
}

const statuses: Readonly<Partial<Record<WireStatus, SubmitStatus>>> = {
  [WireStatus.EXISTING]: "existing",
  [WireStatus.REPLACED]: "replaced",
  [WireStatus.DEBOUNCED]: "debounced",
};

export const toSubmitStatus = (status: WireStatus): SubmitStatus => statuses[status] ?? "submitted";

/** A SubmitStreamResponse. Throws for what is none. */
export function readAnswers(bytes: Buffer): SubmitAnswer[] {
  try {
    return readPlainAnswers(new Reader(bytes));
  } catch (error) {
    if (!(error instanceof Unplain)) throw error;
    return generalAnswers(bytes);
  }
}

function generalAnswers(bytes: Buffer): SubmitAnswer[] {
  return fromBinary(SubmitStreamResponseSchema, bytes).outcomes.flatMap(({ number, outcome }) =>
    outcome
      ? [
          {
            number,
            taskId: outcome.taskId,
            status: toSubmitStatus(outcome.status),
            error: outcome.error,
          },
        ]
      : [],
  );
}

/** None refused, as nearly always. */
function readPlainAnswers(reader: Reader): SubmitAnswer[] {
  const answers: SubmitAnswer[] = [];
  while (reader.more) {
    if (reader.uint32() !== bytesTag(1)) giveUp();
    const outer = reader.enter();
    answers.push(readAnswer(reader));
    reader.leave(outer);
  }
  return answers;
}

function readAnswer(reader: Reader): SubmitAnswer {
  let number = 0;
  let taskId = "";
  let status = 0;
  let answered = false;
  while (reader.more) {
    const tag = reader.uint32();
    if (tag === varintTag(1)) number = reader.uint32();
    else if (tag === bytesTag(2) && !answered) {
      answered = true;
      const outer = reader.enter();
      while (reader.more) {
        const inner = reader.uint32();
        if (inner === bytesTag(1)) taskId = reader.text();
        else if (inner === varintTag(2)) status = reader.int32();
        else giveUp();
      }
      reader.leave(outer);
    } else giveUp();
  }
  if (!answered) giveUp();
  return { number, taskId, status: toSubmitStatus(status), error: undefined };
}
