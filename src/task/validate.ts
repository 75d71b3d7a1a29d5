import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import type { TaskDraft } from "./draft.js";
import { parseTaskId } from "./ids.js";
import { checkRetry, retryTermsOf } from "./retry-policy.js";
import { checkDuration, checkLength, checkName, checkWhole, refuse, shown } from "./rules.js";
import type {
  Payload,
  Priority,
  QueueSettings,
  RetryPolicy,
  TaskSpec,
  TaskTerms,
  UniqueRule,
} from "./task.js";
import { defaultQueue } from "./task.js";
import { inspectValue } from "./value-bytes.js";

export { sameSpec } from "./same-spec.js";

/** Retry settings of a queue that never set any. */
export const defaultRetry: RetryPolicy = Object.freeze({
  initialBackoffMs: limits.backoffInitialMs,
  maxBackoffMs: limits.backoffMaxMs,
  multiplier: limits.backoffMultiplier,
  jitter: limits.backoffJitter,
  nonRetryableCodes: Object.freeze([]),
  backoff: "exponential",
  delaysMs: Object.freeze([]),
});

/** A queue exists from its first use, with these settings. */
export const defaultQueueSettings = (namespace: string, name: string): QueueSettings => ({
  namespace,
  name,
  paused: false,
  durability: "durable",
  maxRetries: limits.maxRetries,
  retry: defaultRetry,
  retentionMs: limits.retentionMs,
  types: {},
  version: 0,
});

/** Where a task is put and what it falls back on. `now` is milliseconds since 1970. */
export interface SpecContext {
  readonly namespace: string;
  readonly queue: QueueSettings;
  readonly now: number;
}

/** Judges a draft and fills in what it leaves open. Throws a DroverError that names the field. */
export function toSpec(draft: TaskDraft, context: SpecContext): TaskSpec {
  checkDraft(draft);
  return fillIn(draft, context);
}

/** As `toSpec`, of a draft that passed `checkDraft` before. */
export function fillIn(draft: TaskDraft, context: SpecContext): TaskSpec {
  const { namespace, queue, now } = context;
  const { maxRetries, retry, timeoutMs } = retryTermsOf(draft, draft.type, queue);
  return {
    namespace,
    queue: draft.queue ?? defaultQueue,
    type: draft.type,
    priority: (draft.priority ?? 1) as Priority,
    payload: draft.payload,
    maxRetries,
    retry,
    runAt: runAtOf(draft, now),
    timeoutMs,
    groupKey: draft.groupKey,
    requiredLabels: draft.requiredLabels,
    tags: draft.tags,
    idempotencyKey: draft.idempotencyKey,
    retentionMs: Math.ceil(draft.retentionMs ?? queue.retentionMs),
    traceContext: draft.traceContext,
    durability: isOfHistory(draft) ? "durable" : queue.durability,
    createdAt: now,
    terms: termsOf(draft, context),
  };
}

/** A unique key is won, and a batch is joined, in history, on whatever queue. */
const isOfHistory = ({ terms }: TaskDraft): boolean =>
  terms?.unique !== undefined || terms?.batchId !== undefined;

const priorities: readonly number[] = [0, 1, 2, 3];

/** The rules that need no settings and no time. */
export function checkDraft(draft: TaskDraft): void {
  checkName("task.type", draft.type);
  if (draft.queue !== undefined) checkName("task.queue", draft.queue);
  if (draft.priority !== undefined && !priorities.includes(draft.priority)) {
    refuse("task.priority", "0 (low), 1 (medium), 2 (high) or 3 (critical)", draft.priority);
  }
  if (draft.maxRetries !== undefined) {
    checkWhole("task.max_retries", draft.maxRetries, 0, limits.maxRetriesMax);
  }
  checkPayload("task.payload", draft.payload);
  if (draft.retry) checkRetry("task.retry_policy", draft.retry);
  checkTimes(draft);
  checkLength("task.group_key", draft.groupKey, 0, limits.groupKeyLength);
  checkLength("task.idempotency_key", draft.idempotencyKey, 0, limits.idempotencyKeyLength);
  checkLabels("task.required_labels", draft.requiredLabels);
  checkTags(draft.tags);
  checkTraceContext(draft.traceContext);
  if (draft.terms) checkTerms(draft.terms);
  if (draft.terms?.unique) checkUnique(draft.terms.unique);
}

/** Sizes, and for a Value that every protobuf library can read it. `field` without `_blob`. */
export function checkPayload(field: string, payload: Payload | undefined): void {
  if (!payload) return;
  const { contentType, data } = payload;
  // Every task comes here, and what is wrong with few of them is spelled out below only.
  if (data.length <= limits.payloadBytes && isPlainType(contentType)) return;
  const path = contentType === "" ? field : `${field}_blob`;
  if (data.length > limits.payloadBytes) {
    const expected = `expected at most ${limits.payloadBytes} bytes`;
    const message = `${path}: ${expected}, got ${payload.data.length}`;
    throw new DroverError("payload_too_large", message, { field: path });
  }
  if (payload.contentType !== "") {
    return checkLength(`${path}.content_type`, payload.contentType, 1, limits.nameLength);
  }
  checkValue(path, payload.data);
}

/** The one that SDKs send. */
const isPlainType = (contentType: string): boolean => contentType === "application/json";

function checkValue(path: string, data: Uint8Array): void {
  const verdict = inspectValue(data);
  if (verdict === "ok") return;
  if (verdict === "not_finite") refuse(path, "finite numbers", "NaN or Infinity");
  if (verdict === "too_deep") {
    const levels = Math.floor(limits.payloadDepth / 2);
    const message = `${path}: nested too deep for protobuf (about ${levels} levels)`;
    const hint = `Flatten it, or send it as ${path}_blob with content type application/json.`;
    throw new DroverError("invalid_field", message, { field: path, hint });
  }
  refuse(path, "a google.protobuf.Value with its kind set", shown(data));
}

function checkTimes(draft: TaskDraft): void {
  const { delayMs, runAt, timeoutMs, retentionMs } = draft;
  if (delayMs !== undefined && runAt !== undefined) {
    refuse("task.delay", "either run_at or delay", "both");
  }
  if (delayMs !== undefined) checkDuration("task.delay", delayMs, 0, limits.runAtMaxMs);
  if (timeoutMs !== undefined) {
    checkDuration("task.timeout", timeoutMs, 1, limits.attemptTimeoutMaxMs);
  }
  if (retentionMs !== undefined) {
    checkDuration("task.retention", retentionMs, 0, limits.retentionMaxMs);
  }
}

const termFields: Readonly<Partial<Record<keyof TaskTerms, string>>> = {
  schedule: "task.schedule",
  scheduledFor: "task.scheduled_for",
  batchCallback: "task.batch_callback",
};

function checkTerms(terms: TaskTerms): void {
  const { batchId } = terms;
  if (batchId !== undefined && !parseTaskId(batchId)) {
    refuse("task.batch_id", "the id of a batch, a UUID", batchId);
  }
  // Never accepted and ignored.
  for (const [key, field] of Object.entries(termFields)) {
    if (terms[key as keyof TaskTerms] === undefined) continue;
    notBuilt(field);
  }
}

function notBuilt(field: string): never {
  throw new DroverError("unsupported_field", `${field} is not built yet`, { field });
}

function checkLabels(field: string, labels: Readonly<Record<string, string>>): void {
  if (isEmpty(labels)) return;
  const entries = Object.entries(labels);
  if (entries.length > limits.labels) refuse(field, `at most ${limits.labels}`, entries.length);
  for (const [name, value] of entries) {
    checkName(`${field}[${shown(name)}]`, name);
    checkName(`${field}[${shown(name)}]`, value);
  }
}

function isEmpty(map: object): boolean {
  for (const _ in map) return false;
  return true;
}

function checkTags(tags: readonly string[]): void {
  if (tags.length === 0) return;
  if (tags.length > limits.tags) refuse("task.tags", `at most ${limits.tags}`, tags.length);
  for (const [index, tag] of tags.entries()) {
    checkLength(`task.tags[${index}]`, tag, 1, limits.tagLength);
  }
}

function checkTraceContext(context: Readonly<Record<string, string>>): void {
  if (isEmpty(context)) return;
  const field = "task.trace_context";
  const entries = Object.entries(context);
  if (entries.length > 8) refuse(field, "at most 8 entries", entries.length);
  let total = 0;
  for (const [name, value] of entries) {
    checkLength(`${field}[${shown(name)}]`, name, 1, limits.nameLength);
    checkLength(`${field}[${shown(name)}]`, value, 0, limits.traceContextLength);
    total += name.length + value.length;
  }
  if (total > limits.traceContextLength) {
    refuse(field, `at most ${limits.traceContextLength} characters together`, total);
  }
}

/** Whole milliseconds; the times may have passed: then the task ends at once, and says so. */
function termsOf(draft: TaskDraft, { now, queue }: SpecContext): TaskTerms | undefined {
  const { terms } = draft;
  if (!terms) return undefined;
  if (terms.batchId !== undefined) checkJoin(draft, queue);
  const runAt = runAtOf(draft, now) ?? -Infinity;
  const { heartbeatTimeoutMs } = terms;
  if (heartbeatTimeoutMs !== undefined) {
    const { heartbeatTimeoutMinMs: min, attemptTimeoutMaxMs: max } = limits;
    checkDuration("task.heartbeat_timeout", heartbeatTimeoutMs, min, max);
  }
  return {
    ...terms,
    unique: roundUnique(terms.unique),
    expireAt: endOf("task.expire_at", terms.expireAt, runAt, now),
    deadline: endOf("task.deadline", terms.deadline, runAt, now),
    heartbeatTimeoutMs: heartbeatTimeoutMs && Math.ceil(heartbeatTimeoutMs),
  };
}

const roundUnique = (unique: UniqueRule | undefined): UniqueRule | undefined =>
  unique && { ...unique, windowMs: unique.windowMs && Math.ceil(unique.windowMs) };

function checkUnique({ key, scope, windowMs, onConflict }: UniqueRule): void {
  checkLength("task.unique_key", key, 1, limits.idempotencyKeyLength);
  const field = "task.unique.window";
  const why = onConflict === "debounce" ? "on_conflict is debounce" : "the scope is for_time";
  if (scope === "for_time" || onConflict === "debounce") {
    if (windowMs === undefined) refuse(field, `a duration, as ${why}`, "none");
    checkDuration(field, windowMs, 1_000, limits.runAtMaxMs);
  } else if (windowMs !== undefined) {
    const expected = "none unless the scope is for_time or on_conflict is debounce";
    refuse(field, expected, `one with ${scope} and ${onConflict}`);
  }
}

/**
 * Tasks of a batch stand in history before they are acknowledged, so that all that joined is known
 * there; idempotency keys of a RELAXED queue are the broker's, which is not asked then. And whoever
 * takes the place of another task comes into history by another way.
 */
function checkJoin({ terms, idempotencyKey }: TaskDraft, queue: QueueSettings): void {
  const conflict = terms?.unique?.onConflict;
  if (conflict === "replace" || conflict === "debounce") {
    refuseBeside("task.unique.on_conflict", conflict);
  }
  if (queue.durability === "relaxed" && idempotencyKey !== "") {
    refuseBeside("task.idempotency_key", "one, on a RELAXED queue");
  }
}

function refuseBeside(field: string, came: string): never {
  const message = `${field}: expected none beside batch_id, got ${came}`;
  throw new DroverError("unsupported_field", message, { field });
}

function endOf(
  field: string,
  given: number | undefined,
  runAt: number,
  now: number,
): number | undefined {
  if (given === undefined) return undefined;
  const at = Math.max(1, Math.ceil(given));
  // Written so that NaN fails.
  if (!(at <= now + limits.runAtMaxMs)) {
    refuse(field, "a time at most 365 days ahead", shownTime(at));
  }
  if (at <= runAt) refuse(field, `a time after run_at, ${shownTime(runAt)}`, shownTime(at));
  return at;
}

/**
 * A time in the past means now; then nothing is to be waited for. What is debounced waits at least
 * for its window.
 */
function runAtOf(draft: TaskDraft, now: number): number | undefined {
  const { delayMs, runAt, terms } = draft;
  const { onConflict, windowMs = 0 } = terms?.unique ?? {};
  const quietMs = onConflict === "debounce" ? windowMs : 0;
  const given = delayMs !== undefined ? now + delayMs : (runAt ?? now);
  const at = Math.ceil(Math.max(given, now + quietMs));
  if (Number.isNaN(at) || at > now + limits.runAtMaxMs) {
    refuse("task.run_at", "a time at most 365 days ahead", shownTime(at));
  }
  return at > now ? at : undefined;
}

const shownTime = (at: number): string =>
  Math.abs(at) <= 8.64e15 ? new Date(at).toISOString() : String(at);
