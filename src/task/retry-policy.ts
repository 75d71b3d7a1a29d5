import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { checkDuration, checkLength, checkName, checkNumber, checkWhole, refuse } from "./rules.js";
import type { QueueSettings, RetryPolicy, TypeSettings } from "./task.js";

/** What is known of retries before the queue's defaults: of a task, or of its type. */
interface RetryTerms {
  readonly maxRetries?: number | undefined;
  readonly retry?: Partial<RetryPolicy> | undefined;
  readonly timeoutMs?: number | undefined;
}

/** The task's own words first, then its type's, then the queue's. */
export function retryTermsOf(
  given: RetryTerms,
  type: string,
  queue: Pick<QueueSettings, "maxRetries" | "retry" | "types">,
): { maxRetries: number; retry: RetryPolicy; timeoutMs: number } {
  const ofType: RetryTerms = Object.hasOwn(queue.types, type) ? queue.types[type]! : {};
  const inherited = ofType.retry ? refined(queue.retry, ofType.retry) : queue.retry;
  return {
    maxRetries: given.maxRetries ?? ofType.maxRetries ?? queue.maxRetries,
    retry: given.retry ? refined(inherited, rounded(given.retry)) : inherited,
    timeoutMs: Math.ceil(given.timeoutMs ?? ofType.timeoutMs ?? limits.attemptTimeoutMs),
  };
}

/**
 * The policy with what a nearer one says. A list of delays stands instead of a backoff: whoever
 * names one of them is not to inherit the other.
 */
function refined(policy: RetryPolicy, nearer: Partial<RetryPolicy>): RetryPolicy {
  const { backoff, initialBackoffMs, multiplier, delaysMs } = nearer;
  const grows = backoff ?? initialBackoffMs ?? multiplier;
  const delays = delaysMs ?? (grows === undefined ? policy.delaysMs : []);
  return { ...policy, ...nearer, delaysMs: delays };
}

/** Fractions of a millisecond round up: a delay is never shorter than asked. */
function rounded(retry: Partial<RetryPolicy>): Partial<RetryPolicy> {
  const { initialBackoffMs, maxBackoffMs, delaysMs } = retry;
  return {
    ...retry,
    ...(delaysMs && { delaysMs: delaysMs.map(Math.ceil) }),
    ...(initialBackoffMs !== undefined && { initialBackoffMs: Math.ceil(initialBackoffMs) }),
    ...(maxBackoffMs !== undefined && { maxBackoffMs: Math.ceil(maxBackoffMs) }),
  };
}

/** `field`: path of the policy. */
export function checkRetry(field: string, retry: Partial<RetryPolicy>): void {
  const { initialBackoffMs, maxBackoffMs, multiplier, jitter, nonRetryableCodes } = retry;
  const ceiling = limits.backoffCeilingMs;
  const delays = retry.delaysMs ?? [];
  if (delays.length > limits.retryDelays) {
    refuse(`${field}.delays`, `at most ${limits.retryDelays}`, delays.length);
  }
  for (const [n, delay] of delays.entries()) {
    checkDuration(`${field}.delays[${n}]`, delay, 0, ceiling);
  }
  if (initialBackoffMs !== undefined) {
    checkDuration(`${field}.initial_backoff`, initialBackoffMs, 0, ceiling);
  }
  if (maxBackoffMs !== undefined) checkDuration(`${field}.max_backoff`, maxBackoffMs, 0, ceiling);
  if (multiplier !== undefined) checkNumber(`${field}.multiplier`, multiplier, 1, 10);
  if (jitter !== undefined) checkNumber(`${field}.jitter`, jitter, 0, 1);
  const codes = nonRetryableCodes ?? [];
  if (codes.length > 32) refuse(`${field}.non_retryable_codes`, "at most 32", codes.length);
  for (const [index, code] of codes.entries()) {
    checkLength(`${field}.non_retryable_codes[${index}]`, code, 1, limits.nameLength);
  }
}

/** Judges the settings of a queue's types; `field` is their path. Durations come back whole. */
export function toTypeSettings(
  types: Readonly<Record<string, TypeSettings>>,
  field: string,
): Readonly<Record<string, TypeSettings>> {
  const entries = Object.entries(types);
  if (entries.length > limits.queueTypes) {
    const message = `${field}: expected at most ${limits.queueTypes} types, got ${entries.length}`;
    throw new DroverError("too_many_items", message, { field });
  }
  // Without a prototype, so that no name of a type means anything but itself.
  const judged: Record<string, TypeSettings> = Object.create(null) as Record<string, TypeSettings>;
  for (const [type, settings] of entries) {
    checkName(`${field} key`, type);
    judged[type] = toTypeSetting(settings, `${field}[${type}]`);
  }
  return judged;
}

function toTypeSetting({ maxRetries, retry, timeoutMs }: TypeSettings, at: string): TypeSettings {
  if (maxRetries !== undefined) {
    checkWhole(`${at}.max_retries`, maxRetries, 0, limits.maxRetriesMax);
  }
  if (retry) checkRetry(`${at}.retry_policy`, retry);
  if (timeoutMs !== undefined) {
    checkDuration(`${at}.timeout`, timeoutMs, 1, limits.attemptTimeoutMaxMs);
  }
  return {
    ...(maxRetries !== undefined && { maxRetries }),
    ...(retry && { retry: rounded(retry) }),
    ...(timeoutMs !== undefined && { timeoutMs: Math.ceil(timeoutMs) }),
  };
}
