import type { TaskDraft } from "../../task/draft.js";
import { isName } from "../../task/rules.js";
import type { Payload } from "../../task/task.js";
import { noEntries, readEntry, readMs } from "../../wire/parts.js";
import { bytesTag, giveUp, type Reader, varintTag } from "../../wire/reader.js";

/** What most submitted tasks have; texts and lists that are not given share one object. */
export class Draft implements TaskDraft {
  type = "";
  queue: string | undefined = undefined;
  priority: number | undefined = undefined;
  payload: Payload | undefined = undefined;
  maxRetries: number | undefined = undefined;
  readonly retry = undefined;
  runAt: number | undefined = undefined;
  delayMs: number | undefined = undefined;
  timeoutMs: number | undefined = undefined;
  groupKey = "";
  requiredLabels: Readonly<Record<string, string>> = noEntries;
  tags: readonly string[] = noTags;
  idempotencyKey = "";
  retentionMs: number | undefined = undefined;
  traceContext: Readonly<Record<string, string>> = noEntries;
  readonly terms = undefined;
}

const noTags: readonly string[] = Object.freeze([]);

type Field = (draft: Draft, reader: Reader) => void;

/**
 * The fields of Task that are read here, by tag. All others, and whatever a draft is refused for,
 * are left to the general decoder and `toDraft`: a field that a feature adds works without an entry
 * here, and gets one when it is hot.
 */
const fields: readonly (Field | undefined)[] = Object.assign<Field[], Record<number, Field>>([], {
  [bytesTag(2)]: (draft, reader) => void (draft.type = reader.name()),
  [bytesTag(3)]: (draft, reader) => void (draft.queue = queueOf(reader.name())),
  [varintTag(4)]: (draft, reader) => void (draft.priority = reader.int32()),
  [bytesTag(5)]: (draft, reader) => void (draft.payload = readValue(reader, draft.payload)),
  [bytesTag(6)]: (draft, reader) => void (draft.payload = readBlob(reader, draft.payload)),
  [varintTag(7)]: (draft, reader) => void (draft.maxRetries = reader.int32()),
  [bytesTag(9)]: (draft, reader) => void (draft.runAt = onceMs(reader, draft.runAt, Math.ceil)),
  [bytesTag(10)]: (draft, reader) => void (draft.delayMs = onceMs(reader, draft.delayMs)),
  [bytesTag(11)]: (draft, reader) => void (draft.timeoutMs = onceMs(reader, draft.timeoutMs)),
  [bytesTag(12)]: (draft, reader) => void (draft.groupKey = reader.name()),
  [bytesTag(13)]: (draft, reader) =>
    void (draft.requiredLabels = readEntry(reader, draft.requiredLabels)),
  [bytesTag(14)]: (draft, reader) => {
    draft.tags = draft.tags === noTags ? [reader.name()] : [...draft.tags, reader.name()];
  },
  [bytesTag(15)]: (draft, reader) => void (draft.idempotencyKey = reader.text()),
  [bytesTag(16)]: (draft, reader) => void (draft.retentionMs = onceMs(reader, draft.retentionMs)),
  [bytesTag(17)]: (draft, reader) =>
    void (draft.traceContext = readEntry(reader, draft.traceContext)),
});

/** A Task, up to the end of the reader's message, straight into a draft. */
export function readDraft(reader: Reader): Draft {
  const draft = new Draft();
  while (reader.more) {
    const field = fields[reader.uint32()];
    if (field === undefined) giveUp();
    field(draft, reader);
  }
  return draft;
}

/** "" is none. */
function queueOf(name: string): string | undefined {
  if (name === "") return undefined;
  return isName(name) ? name : giveUp();
}

/** A Value; one that is empty counts as none. */
function readValue(reader: Reader, before: Payload | undefined): Payload {
  if (before) giveUp();
  const data = reader.view();
  return data.length > 0 ? { contentType: "", data } : giveUp();
}

/** Instead of a Value, never beside it. */
export function readBlob(reader: Reader, before: Payload | undefined): Payload {
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
  return contentType === "" ? giveUp() : { contentType, data };
}

const noBytes = new Uint8Array(0);

/** Parts of a message that comes twice add up: left to the general way. */
const onceMs = (
  reader: Reader,
  before: number | undefined,
  round?: (ms: number) => number,
): number => (before === undefined ? readMs(reader, round) : giveUp());
