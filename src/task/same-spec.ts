import { isDeepStrictEqual } from "node:util";
import { retryTermsOf } from "./retry-policy.js";
import type { Payload, QueueSettings, RetryPolicy, TaskSpec, TaskTerms } from "./task.js";

/**
 * The JSON value a payload stands for; undefined if it has none (typed bytes, or bytes that do not
 * decode).
 */
export type PayloadDecoder = (payload: Payload) => unknown;

/**
 * Whether a repeated submission (`b`) asks for the same task. Judged on decoded values, never on
 * bytes alone: the order of map entries differs between retries. What a producer cannot hold still
 * is left out: trace context, the queue's durability, and what its queue said for it, which may be
 * something else by now.
 */
export function sameSpec(
  a: TaskSpec,
  b: TaskSpec,
  decode: PayloadDecoder,
  queue: QueueSettings,
): boolean {
  return (
    a.namespace === b.namespace &&
    a.queue === b.queue &&
    a.type === b.type &&
    a.priority === b.priority &&
    a.groupKey === b.groupKey &&
    a.idempotencyKey === b.idempotencyKey &&
    sameTime(a, b) &&
    isDeepStrictEqual(plain(a.terms), plain(b.terms)) &&
    sameButFor(saidByQueue(b.type, queue), a, b) &&
    isDeepStrictEqual({ ...a.requiredLabels }, { ...b.requiredLabels }) &&
    isDeepStrictEqual(a.tags, b.tags) &&
    samePayload(a.payload, b.payload, decode)
  );
}

type Inherited = Pick<TaskSpec, "maxRetries" | "retry" | "timeoutMs" | "retentionMs">;

/** Of a task that says nothing itself. */
const saidByQueue = (type: string, queue: QueueSettings): Inherited => ({
  ...retryTermsOf({}, type, queue),
  retentionMs: Math.ceil(queue.retentionMs),
});

/** Each the same, or what the queue says now: then the repeat said nothing of it, as it seems. */
function sameButFor(said: Inherited, a: Inherited, b: Inherited): boolean {
  const parts = Object.keys(said.retry) as (keyof RetryPolicy)[];
  return (
    (a.maxRetries === b.maxRetries || b.maxRetries === said.maxRetries) &&
    (a.timeoutMs === b.timeoutMs || b.timeoutMs === said.timeoutMs) &&
    (a.retentionMs === b.retentionMs || b.retentionMs === said.retentionMs) &&
    parts.every(
      (part) =>
        isDeepStrictEqual(a.retry[part], b.retry[part]) ||
        isDeepStrictEqual(b.retry[part], said.retry[part]),
    )
  );
}

/** A store leaves out what is undefined. */
const plain = (terms: TaskTerms | undefined): unknown => terms && JSON.parse(JSON.stringify(terms));

/** The same run_at, the same delay, or a run_at that had passed when the later one came. */
function sameTime(a: TaskSpec, b: TaskSpec): boolean {
  if (a.runAt === b.runAt) return true;
  if (a.runAt === undefined) return b.runAt! <= a.createdAt;
  if (b.runAt === undefined) return a.runAt <= b.createdAt;
  return a.runAt - a.createdAt === b.runAt - b.createdAt;
}

export function samePayload(
  a: Payload | undefined,
  b: Payload | undefined,
  decode: PayloadDecoder,
): boolean {
  if (!a || !b) return a === b;
  const sameType = a.contentType === b.contentType;
  if (sameType && Buffer.compare(a.data, b.data) === 0) return true;
  const left = decode(a);
  const right = left === undefined ? undefined : decode(b);
  return left !== undefined && right !== undefined && isDeepStrictEqual(left, right);
}
