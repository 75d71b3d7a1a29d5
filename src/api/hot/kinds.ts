import type { Payload } from "../../task/task.js";
import { isAt } from "../../short-text.js";
import { bytesTag, type Reader } from "../../wire/reader.js";
import { type Draft, readDraft } from "./read-draft.js";

/** What tasks of a frame that differ in the data of their payload alone have in common. */
interface Kind {
  /** Fields before the payload, and behind it; all of them, where there is none. */
  readonly before: Uint8Array;
  readonly after: Uint8Array;
  readonly shared: Draft;
}

/** The payload of SDKs: a blob that begins so, and ends with its data. */
const json = "application/json";
const blobTag = bytesTag(6);
const blobStart = Buffer.from([bytesTag(1), json.length, ...Buffer.from(json), bytesTag(2)]);
const noBytes = new Uint8Array(0);

/** Beyond so many in a frame, tasks are rather all different. */
const kindsMax = 16;
/** What kinds that outlive their frame may take together. */
const keptBytes = 4 * 1024;

/**
 * Reads the tasks of a stream, frame by frame. Most are like one before but for the data of their
 * payload, and need not be taken apart again.
 */
export class Kinds {
  /** Learned last stand last. */
  #known: Kind[] = [];
  #learned = 0;
  #bytes = 0;
  /** Of the task read last: whether others may share its draft, and where its own data stand. */
  alike = false;
  from = 0;
  to = 0;

  /** Call before each frame. */
  begin(): void {
    this.#learned = 0;
    if (this.#bytes <= keptBytes) return;
    this.#known = [];
    this.#bytes = 0;
  }

  /** A task, up to the end of the reader's message. Its draft has no data if it is `alike`. */
  read(reader: Reader): Draft {
    const known = this.#find(reader);
    this.alike = known !== undefined;
    if (known) {
      reader.at = reader.end;
      return known.shared;
    }
    const { at } = reader;
    const draft = readDraft(reader);
    if (this.#learned < kindsMax) this.#learn(reader, at, draft);
    return draft;
  }

  #find(reader: Reader): Kind | undefined {
    for (const kind of this.#known) if (this.#is(kind, reader)) return kind;
    return undefined;
  }

  #is({ before, after, shared }: Kind, { bytes, at, end }: Reader): boolean {
    if (end - at < before.length + after.length) return false;
    if (!isAt(before, bytes, at, before.length)) return false;
    let next = at + before.length;
    if (shared.payload) {
      next = this.#blobEnd(bytes, next, end);
      if (next === 0) return false;
    } else this.from = this.to = at;
    return end - next === after.length && isAt(after, bytes, next, after.length);
  }

  /** Behind a payload that starts at `at`, which is noted then; 0 if there is none of that form. */
  #blobEnd(bytes: Buffer, at: number, end: number): number {
    if (bytes[at] !== blobTag) return 0;
    const length = lengthAt(bytes, at + 1);
    const start = at + 1 + widthAt(bytes, at + 1);
    if (length < blobStart.length || start + length > end) return 0;
    if (!isAt(blobStart, bytes, start, blobStart.length)) return 0;
    const lengthOf = start + blobStart.length;
    this.from = lengthOf + widthAt(bytes, lengthOf);
    this.to = this.from + lengthAt(bytes, lengthOf);
    return this.to === start + length ? this.to : 0;
  }

  #learn(reader: Reader, at: number, draft: Draft): void {
    const { bytes, end } = reader;
    const { payload } = draft;
    if (payload && payload.contentType !== json) return;
    const blobAt = payload ? findBlob(reader, at) : end;
    const next = payload ? this.#blobEnd(bytes, blobAt, end) : end;
    if (next === 0) return;
    if (!payload) this.from = this.to = at;
    const before = Uint8Array.from(bytes.subarray(at, blobAt));
    const after = Uint8Array.from(bytes.subarray(next, end));
    draft.payload = payload && ofNoData;
    this.#keep({ before, after, shared: draft });
    this.alike = true;
  }

  #keep(kind: Kind): void {
    this.#learned += 1;
    this.#bytes += sizeOf(kind);
    this.#known.push(kind);
    if (this.#known.length > kindsMax) this.#bytes -= sizeOf(this.#known.shift()!);
  }
}

const sizeOf = ({ before, after }: Kind): number => before.length + after.length;

const ofNoData: Payload = Object.freeze({ contentType: json, data: noBytes });

/** Of a task that has one; its fields have been read once, so they are in order. */
function findBlob(reader: Reader, from: number): number {
  const { end } = reader;
  reader.at = from;
  let at = from;
  for (;;) {
    const tag = reader.uint32();
    if (tag === blobTag) break;
    reader.skip(tag);
    at = reader.at;
  }
  reader.at = end;
  return at;
}

/**
 * A length of at most three bytes, which a task that fits a message has; else one that fits none.
 */
function lengthAt(bytes: Buffer, at: number): number {
  const first = bytes[at]!;
  if (first < 0x80) return first;
  const second = bytes[at + 1]!;
  if (second < 0x80) return (first & 0x7f) | (second << 7);
  const third = bytes[at + 2]!;
  if (third < 0x80) return (first & 0x7f) | ((second & 0x7f) << 7) | (third << 14);
  return Number.POSITIVE_INFINITY;
}

function widthAt(bytes: Buffer, at: number): number {
  if (bytes[at]! < 0x80) return 1;
  return bytes[at + 1]! < 0x80 ? 2 : 3;
}
