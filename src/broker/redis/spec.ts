import { limits } from "../../limits.js";
import { timeOfId } from "../../task/ids.js";
import {
  type Backoff,
  defaultNamespace,
  defaultQueue,
  type RetryPolicy,
  type Task,
  type TaskTerms,
} from "../../task/task.js";
import { type Packer, Unpacker } from "./bytes.js";

/* What was asked, as it stands in a record: what equals its default takes no bytes. */

/** Which parts of the spec differ from their defaults, and so are written. */
const own = {
  settings: 1,
  runAt: 2,
  retry: 4,
  labels: 8,
  tags: 16,
  key: 32,
  trace: 64,
  names: 128,
} as const;

/** How the payload is described; a fourth kind writes its content type out. */
const contentTypes: readonly (string | undefined)[] = [undefined, "", "application/json"];
/** Beside the kind. */
const withTerms = 128;

export function packSpec(packer: Packer, task: Task): void {
  const flags = ownParts(task);
  const contentType = task.payload?.contentType;
  const kind = contentTypes.indexOf(contentType);
  packer.byte(flags);
  packer.byte((kind < 0 ? contentTypes.length : kind) | (task.terms ? withTerms : 0));
  packAge(packer, task.createdAt, task.id);
  packer.text(task.type);
  if (kind < 0) packer.text(contentType!);
  if (flags & own.names) {
    // Most tasks that have a queue of their own have no namespace.
    const { namespace, queue } = task;
    packTexts(packer, namespace === defaultNamespace ? [queue] : [namespace, queue]);
  }
  if (flags & own.settings) {
    packer.number(task.maxRetries);
    packer.number(task.retentionMs);
  }
  if (task.runAt !== undefined) packer.number(task.runAt);
  if (flags & own.retry) packRetry(packer, task.retry);
  if (flags & own.labels) packPairs(packer, task.requiredLabels);
  if (flags & own.tags) packTexts(packer, task.tags);
  if (flags & own.key) packer.text(task.idempotencyKey);
  if (flags & own.trace) packPairs(packer, task.traceContext);
  // Few tasks have any, and not all of them: written out.
  if (task.terms) packer.text(JSON.stringify(task.terms));
}

/** How much later than its id a task was made. */
export const packAge = (packer: Packer, createdAt: number, id: string): void =>
  packer.number(zigzag(createdAt - timeOfId(id)));

function ownParts(task: Task): number {
  const { maxRetries, retentionMs, namespace, queue } = task;
  const settings = maxRetries !== limits.maxRetries || retentionMs !== limits.retentionMs;
  const names = namespace !== defaultNamespace || queue !== defaultQueue;
  return (
    (settings ? own.settings : 0) |
    (task.runAt === undefined ? 0 : own.runAt) |
    (isDefaultRetry(task.retry) ? 0 : own.retry) |
    (hasAny(task.requiredLabels) ? own.labels : 0) |
    (task.tags.length > 0 ? own.tags : 0) |
    (task.idempotencyKey === "" ? 0 : own.key) |
    (hasAny(task.traceContext) ? own.trace : 0) |
    (names ? own.names : 0)
  );
}

function hasAny(words: Readonly<Record<string, string>>): boolean {
  for (const _ in words) return true;
  return false;
}

/** Small numbers of either sign stay small. */
const zigzag = (value: number): number => (value >= 0 ? value * 2 : -value * 2 - 1);
const unzigzag = (value: number): number => (value % 2 === 0 ? value / 2 : -(value + 1) / 2);

function packTexts(packer: Packer, texts: readonly string[]): void {
  packer.number(texts.length);
  for (const text of texts) packer.text(text);
}

const packPairs = (packer: Packer, words: Readonly<Record<string, string>>): void =>
  packTexts(packer, Object.entries(words).flat());

const defaultRetry: RetryPolicy = Object.freeze({
  initialBackoffMs: limits.backoffInitialMs,
  maxBackoffMs: limits.backoffMaxMs,
  multiplier: limits.backoffMultiplier,
  jitter: limits.backoffJitter,
  nonRetryableCodes: Object.freeze([]),
  backoff: "exponential",
  delaysMs: Object.freeze([]),
});

const backoffs: readonly Backoff[] = ["exponential", "linear", "fixed"];

const isDefaultRetry = (retry: RetryPolicy): boolean =>
  retry.initialBackoffMs === defaultRetry.initialBackoffMs &&
  retry.maxBackoffMs === defaultRetry.maxBackoffMs &&
  retry.multiplier === defaultRetry.multiplier &&
  retry.jitter === defaultRetry.jitter &&
  retry.nonRetryableCodes.length === 0 &&
  retry.backoff === defaultRetry.backoff &&
  retry.delaysMs.length === 0;

function packRetry(packer: Packer, retry: RetryPolicy): void {
  packer.double(retry.initialBackoffMs);
  packer.double(retry.maxBackoffMs);
  packer.double(retry.multiplier);
  packer.double(retry.jitter);
  packTexts(packer, retry.nonRetryableCodes);
  packer.byte(backoffs.indexOf(retry.backoff));
  packer.number(retry.delaysMs.length);
  for (const delayMs of retry.delaysMs) packer.number(delayMs);
}

const none: Readonly<Record<string, string>> = Object.freeze({});
const noTexts: readonly string[] = Object.freeze([]);

/** What a record says of a task that many others say as well. */
export interface Spec {
  readonly groupKey: string;
  readonly type: string;
  readonly contentType: string | undefined;
  readonly namespace: string;
  readonly queue: string;
  readonly maxRetries: number;
  readonly retentionMs: number;
  readonly runAt: number | undefined;
  readonly retry: RetryPolicy;
  readonly requiredLabels: Readonly<Record<string, string>>;
  readonly tags: readonly string[];
  readonly idempotencyKey: string;
  readonly traceContext: Readonly<Record<string, string>>;
  readonly terms: TaskTerms | undefined;
}

/** `from` stands at the group key, which comes first because scripts read it. */
function unpackSpec(from: Unpacker, groupBytes: number): Spec {
  const groupKey = from.rawText(groupBytes);
  const flags = from.byte();
  const described = from.byte();
  const kind = described & ~withTerms;
  from.number();
  const type = from.text();
  const contentType = kind < contentTypes.length ? contentTypes[kind] : from.text();
  const named = flags & own.names ? from.number() : 0;
  const namespace = named > 1 ? from.text() : defaultNamespace;
  const queue = named > 0 ? from.text() : defaultQueue;
  const settings = (flags & own.settings) !== 0;
  return {
    groupKey,
    type,
    contentType,
    namespace,
    queue,
    maxRetries: settings ? from.number() : limits.maxRetries,
    retentionMs: settings ? from.number() : limits.retentionMs,
    runAt: flags & own.runAt ? from.number() : undefined,
    retry: flags & own.retry ? unpackRetry(from) : defaultRetry,
    requiredLabels: flags & own.labels ? unpackPairs(from) : none,
    tags: flags & own.tags ? unpackTexts(from) : noTexts,
    idempotencyKey: flags & own.key ? from.text() : "",
    traceContext: flags & own.trace ? unpackPairs(from) : none,
    terms: described & withTerms ? (JSON.parse(from.text()) as TaskTerms) : undefined,
  };
}

interface Known {
  readonly bytes: Uint8Array;
  readonly spec: Spec;
}

/** A power of two. */
const places = 64;
const known: (Known | undefined)[] = Array.from({ length: places }, () => undefined);

/** Longer ones are rare, and no two are alike. */
const knownBytesMax = 256;
/** Of each task alone. */
const neverShared = own.runAt | own.key | own.trace;

/**
 * The spec between two places, which tasks of a kind share: its bytes are compared with those read
 * before. They differ in one number, how much later than its id a task was made (`packSpec`).
 */
export function readSpec(packed: Buffer, from: number, to: number, groupBytes: number): Spec {
  const flagsAt = from + groupBytes;
  const shared = (packed[flagsAt]! & neverShared) === 0 && packed[flagsAt + 1]! < withTerms;
  if (!shared || to - from > knownBytesMax) {
    return unpackSpec(new Unpacker(packed, from), groupBytes);
  }
  const numberEnd = endOfNumber(packed, flagsAt + 2);
  const place = (packed[to - 1]! * 31 + packed[numberEnd + 1]! * 7 + to - numberEnd) & (places - 1);
  const before = known[place];
  if (before && isAlike(before.bytes, packed, from, flagsAt + 2, numberEnd, to)) return before.spec;
  const spec = unpackSpec(new Unpacker(packed, from), groupBytes);
  const bytes = [...packed.subarray(from, flagsAt + 2), ...packed.subarray(numberEnd, to)];
  known[place] = { bytes: Uint8Array.from(bytes), spec };
  return spec;
}

/** Of the number that stands in a spec as `packSpec` writes it. */
export const readCreatedAt = (packed: Buffer, specAt: number, id: string): number =>
  timeOfId(id) + unzigzag(new Unpacker(packed, specAt + 2).number());

/** Where in a spec without a group key the age of its task stands. */
export const ageAt = 2;

/** Behind the number at `at`. */
export function endOfNumber(packed: Buffer, at: number): number {
  let end = at;
  while (packed[end]! > 0x7f) end += 1;
  return end + 1;
}

/** Whether the bytes of both stretches, one after the other, are those. */
function isAlike(
  bytes: Uint8Array,
  packed: Buffer,
  from: number,
  gapFrom: number,
  gapTo: number,
  to: number,
): boolean {
  if (bytes.length !== gapFrom - from + to - gapTo) return false;
  let nth = 0;
  for (let at = from; at < gapFrom; at += 1, nth += 1) if (bytes[nth] !== packed[at]) return false;
  for (let at = gapTo; at < to; at += 1, nth += 1) if (bytes[nth] !== packed[at]) return false;
  return true;
}

function unpackTexts(from: Unpacker): string[] {
  return Array.from({ length: from.number() }, () => from.text());
}

function unpackPairs(from: Unpacker): Record<string, string> {
  const texts = unpackTexts(from);
  const pairs: [string, string][] = [];
  for (let i = 0; i + 1 < texts.length; i += 2) pairs.push([texts[i]!, texts[i + 1]!]);
  // Unlike assignment, this keeps a key such as __proto__ a plain key.
  return Object.fromEntries(pairs);
}

function unpackRetry(from: Unpacker): RetryPolicy {
  return {
    initialBackoffMs: from.double(),
    maxBackoffMs: from.double(),
    multiplier: from.double(),
    jitter: from.double(),
    nonRetryableCodes: unpackTexts(from),
    backoff: backoffs[from.byte()]!,
    delaysMs: Array.from({ length: from.number() }, () => from.number()),
  };
}
