import type { SubmitOptions } from "./surface.js";

/** What an option takes: in words, and whether a value is one. */
type Kind = readonly [words: string, is: (value: unknown) => boolean];

const isText = (value: unknown): value is string => typeof value === "string";
const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;

const text: Kind = ["a text", isText];
const isWhole = (value: unknown): boolean => typeof value === "number" && (value | 0) === value;
const whole: Kind = ["a whole number", isWhole];
const ms: Kind = ["a number of ms", Number.isFinite];
const time: Kind = ["a Date", (value) => value instanceof Date && !Number.isNaN(value.getTime())];
const texts: Kind = ["a list of texts", (value) => Array.isArray(value) && value.every(isText)];
const map: Kind = [
  "an object of texts",
  (value) => isObject(value) && !Array.isArray(value) && Object.values(value).every(isText),
];
const object: Kind = ["an object", isObject];

/** Of those of a submission. Their bounds are the coordinator's. */
export const optionKinds: Readonly<Record<keyof SubmitOptions, Kind>> = {
  queue: text,
  priority: ["0 (low) to 3 (critical), as in priorities", isWhole],
  maxRetries: whole,
  retryPolicy: object,
  runAt: time,
  delayMs: ms,
  attemptTimeoutMs: ms,
  heartbeatTimeoutMs: ms,
  expireAt: time,
  deadline: time,
  groupKey: text,
  requiredLabels: map,
  tags: texts,
  idempotencyKey: text,
  uniqueKey: text,
  unique: object,
  batchId: text,
  retentionMs: ms,
  traceContext: map,
  signal: ["an AbortSignal", (value) => isObject(value) && "aborted" in value],
  timeoutMs: ["a number of ms, 0 or more", (value) => typeof value === "number" && value >= 0],
};
