import { limits } from "../limits.js";
import { isContent, json } from "../transport/content.js";
import { idLength } from "../transport/ids.js";
import { giveUp, Reader, Unplain } from "../wire/reader.js";
import { Writer } from "../wire/writer.js";
import { encodeAnyTask } from "./convert.js";
import { checkOptions } from "./known-names.js";
import { optionKinds } from "./option-kinds.js";
import type { SubmitOptions } from "./surface.js";
import type { TaskOptions } from "./task.js";

/** Options written here; a task with any other is encoded by protobuf-es. */
const plain: Readonly<Record<string, true>> = {
  queue: true,
  priority: true,
  maxRetries: true,
  runAt: true,
  delayMs: true,
  attemptTimeoutMs: true,
  groupKey: true,
  requiredLabels: true,
  tags: true,
  idempotencyKey: true,
  retentionMs: true,
  traceContext: true,
} satisfies Partial<Record<keyof TaskOptions, true>>;
/** Of the call, not of the task. */
const ofTheCall: Readonly<Record<string, true>> = { signal: true, timeoutMs: true };

const writer = new Writer();

/** Most tasks take two bytes to say their length. */
const lengthBytes = 2;
const noId = "-".repeat(idLength);

/**
 * A task as it goes into a SubmitStreamItem, with its request id behind it, whose letters are still
 * to be written to the end of these bytes. The task is encoded as `encodeAnyTask` does it, which
 * gets whatever is not plain. Throws a DroverClientError for what no coordinator takes.
 */
export function encodeItem(type: string, payload: unknown, options: TaskOptions): Buffer {
  writer.reset();
  try {
    checkPlain(options);
    const task = writer.begin(2, lengthBytes);
    writeTask(type, payload, options);
    writer.end(task, lengthBytes);
  } catch (error) {
    if (!(error instanceof Unplain)) throw error;
    checkOptions(options);
    writer.reset().data(2, encodeAnyTask(type, payload, options));
  }
  writer.text(3, noId);
  return writer.finish();
}

/** What `encodeItem` has encoded. */
export function taskOf(item: Buffer): Buffer {
  const reader = new Reader(item);
  reader.uint32();
  return reader.view();
}

/** What was written behind it. */
export const requestIdOf = (item: Buffer): string =>
  item.toString("latin1", item.length - idLength);

function checkPlain(options: TaskOptions): void {
  for (const name in options) {
    if (plain[name]) continue;
    const value: unknown = options[name as keyof TaskOptions];
    if (value === undefined) continue;
    if (!ofTheCall[name] || !optionKinds[name as keyof SubmitOptions][1](value)) giveUp();
  }
}

/** In the order of the field numbers. */
function writeTask(type: string, payload: unknown, options: TaskOptions): void {
  writeText(2, type);
  writeText(3, options.queue);
  writeWhole(4, options.priority);
  writePayload(payload);
  writeWhole(7, options.maxRetries);
  writeTime(9, options.runAt);
  writeSpan(10, options.delayMs);
  writeSpan(11, options.attemptTimeoutMs);
  writeText(12, options.groupKey);
  writeMap(13, options.requiredLabels);
  writeTexts(14, options.tags);
  writeText(15, options.idempotencyKey);
  writeSpan(16, options.retentionMs);
  writeMap(17, options.traceContext);
}

/** Bytes of UTF-8 are at most three to a character. */
const sureLength = limits.payloadBytes / 3;

function writePayload(payload: unknown): void {
  if (payload === undefined) return;
  if (isContent(payload)) giveUp();
  let text: string | undefined;
  try {
    text = JSON.stringify(payload);
  } catch {
    giveUp();
  }
  if (text === undefined || text.length > sureLength) giveUp();
  const blob = writer.begin(6);
  writer.text(1, json);
  writer.text(2, text);
  writer.end(blob);
}

const checkText = (text: unknown): string => (typeof text === "string" ? text : giveUp());

/** Texts without presence: an empty one is left out. */
function writeText(field: number, text: string | undefined): void {
  if (text !== undefined && checkText(text) !== "") writer.text(field, text);
}

function writeWhole(field: number, value: number | undefined): void {
  if (value === undefined) return;
  if (!Number.isInteger(value) || Math.abs(value) >= 2 ** 31) giveUp();
  writer.varint(field, value);
}

function writeTexts(field: number, texts: readonly string[] | undefined): void {
  if (texts === undefined) return;
  if (!Array.isArray(texts)) giveUp();
  for (const text of texts) writer.text(field, checkText(text));
}

function writeMap(field: number, map: Readonly<Record<string, string>> | undefined): void {
  if (map === undefined) return;
  if (typeof map !== "object" || map === null || Array.isArray(map)) giveUp();
  for (const [name, value] of Object.entries(map)) {
    const entry = writer.begin(field);
    writer.text(1, name);
    writer.text(2, checkText(value));
    writer.end(entry);
  }
}

function writeTime(field: number, time: Date | undefined): void {
  if (time === undefined) return;
  if (!(time instanceof Date)) giveUp();
  const ms = time.getTime();
  const seconds = Math.floor(ms / 1_000);
  writeParts(field, seconds, (ms - seconds * 1_000) * 1_000_000);
}

function writeSpan(field: number, ms: number | undefined): void {
  if (ms === undefined) return;
  if (typeof ms !== "number") giveUp();
  const seconds = Math.trunc(ms / 1_000);
  const nanos = Math.min(999_999_999, Math.round((ms - seconds * 1_000) * 1e6));
  writeParts(field, seconds, nanos);
}

function writeParts(field: number, seconds: number, nanos: number): void {
  if (!Number.isSafeInteger(seconds) || !Number.isSafeInteger(nanos)) giveUp();
  const message = writer.begin(field);
  if (seconds !== 0) writer.varint(1, seconds);
  if (nanos !== 0) writer.varint(2, nanos);
  writer.end(message);
}
