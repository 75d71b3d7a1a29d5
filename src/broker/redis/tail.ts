import { isAt } from "../../short-text.js";
import type { Payload, Task } from "../../task/task.js";
import { type Packer, Unpacker } from "./bytes.js";
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

/* The tail of a record: what its grants, and what became of them, have left. */

/** What stands in keys of its own beside a record. */
export interface Apart {
  readonly payload?: Buffer | null | undefined;
  readonly result?: Payload | undefined;
  readonly checkpoint?: Payload | undefined;
}

export function packTail(packer: Packer, task: Task): void {
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

type Tail = Pick<
  Task,
  "sessionId" | "workerId" | "result" | "error" | "progress" | "cancellation" | "checkpoint"
>;

const noTail: Tail = {
  sessionId: "",
  workerId: "",
  result: undefined,
  error: undefined,
  progress: undefined,
  cancellation: undefined,
  checkpoint: undefined,
};

/** One byte that begins no checkpoint stands for one in a key of its own. */
const isApart = (block: Buffer): boolean => block.length === 1 && block[0] === 0xff;

/** Seven sections, each behind its length. */
export const tailLengths = 7 * 4;

interface KnownTail {
  readonly bytes: Uint8Array;
  readonly tail: Tail;
}

/** Of the last tasks that were granted, by the last letter of their session. */
const knownTails: (KnownTail | undefined)[] = Array.from({ length: 128 }, () => undefined);

/** `resultApart`: the result stands in a key of its own. */
export function readTail(
  packed: Buffer,
  start: number,
  length: number,
  resultApart: boolean,
  apart: Apart,
): Tail {
  if (length === 0) return noTail;
  const sessionBytes = packed[start + 3]!;
  const workerBytes = packed[start + 7 + sessionBytes]!;
  // Session and worker alone: a grant, of which there are many by each.
  if (length !== tailLengths + sessionBytes + workerBytes || resultApart) {
    return unpackTail(packed, start, resultApart, apart);
  }
  const place = packed[start + 3 + sessionBytes]! & (knownTails.length - 1);
  const before = knownTails[place];
  if (before && isAt(before.bytes, packed, start, length)) return before.tail;
  const tail = unpackTail(packed, start, resultApart, apart);
  knownTails[place] = { bytes: Uint8Array.from(packed.subarray(start, start + length)), tail };
  return tail;
}

function unpackTail(packed: Buffer, start: number, resultApart: boolean, apart: Apart): Tail {
  const from = new Unpacker(packed, start);
  const sessionId = from.blockText();
  const workerId = from.blockText();
  const error = from.block(unpackError);
  const progress = from.block(unpackProgress);
  const inline = from.block(unpackResult);
  return {
    sessionId,
    workerId,
    result: resultApart ? apart.result : inline,
    error,
    progress,
    cancellation: from.block(unpackCancellation),
    checkpoint: from.block((block) => (isApart(block) ? apart.checkpoint : unpackResult(block))),
  };
}
