import { limits } from "../limits.js";
import type { RetryPolicy, Task, TaskError } from "./task.js";

/** Chance in [0, 1), given from outside: this part is pure. */
export type Chance = () => number;

/**
 * Milliseconds before retry `retryNumber` (from 1): what the policy's delays or its backoff say of
 * it, at most its max, then +-jitter. Never above limits.backoffCeilingMs; whole milliseconds.
 */
export function retryDelayMs(policy: RetryPolicy, retryNumber: number, random: Chance): number {
  const listed = policy.delaysMs[Math.min(retryNumber, policy.delaysMs.length) - 1];
  const grown = listed ?? Math.min(policy.maxBackoffMs, grownMs(policy, retryNumber));
  const base = Math.min(grown, limits.backoffCeilingMs);
  const spread = base * policy.jitter * (2 * random() - 1);
  return clampDelay(base + spread);
}

function grownMs({ backoff, initialBackoffMs, multiplier }: RetryPolicy, retry: number): number {
  if (backoff === "fixed") return initialBackoffMs;
  if (backoff === "linear") return initialBackoffMs * Math.max(1, retry);
  return initialBackoffMs * multiplier ** Math.max(0, retry - 1);
}

/**
 * What follows a handler failure or a timeout: milliseconds until the retry, or undefined when the
 * task ends FAILED because the error is not retryable, its code is excluded by the policy, or the
 * retries are used up. `retryAfterMs` is the handler's own wish; it replaces the backoff, not the
 * budget.
 */
export function afterFailure(
  task: Pick<Task, "retry" | "retryCount" | "maxRetries">,
  error: Pick<TaskError, "code" | "retryable">,
  retryAfterMs: number | undefined,
  random: Chance,
): number | undefined {
  if (!error.retryable || task.retry.nonRetryableCodes.includes(error.code)) return undefined;
  if (task.retryCount >= task.maxRetries) return undefined;
  if (retryAfterMs !== undefined) return clampDelay(retryAfterMs);
  return retryDelayMs(task.retry, task.retryCount + 1, random);
}

export interface AfterLoss {
  readonly then: "pending" | "quarantine" | "poison";
  readonly delayMs: number;
}

const lossBackoff: RetryPolicy = {
  initialBackoffMs: limits.backoffInitialMs,
  maxBackoffMs: limits.backoffMaxMs,
  multiplier: limits.backoffMultiplier,
  // Wide, so that the bystanders of one crash do not come back together.
  jitter: 0.5,
  nonRetryableCodes: [],
  backoff: "exponential",
  delaysMs: [],
};

/**
 * What follows a lost lease; `task.leaseLosses` are those before this one. The first costs nothing
 * but the attempt.
 */
export function afterLoss(task: Pick<Task, "leaseLosses">, random: Chance): AfterLoss {
  const losses = task.leaseLosses + 1;
  if (losses >= limits.leaseLossesMax) return { then: "poison", delayMs: 0 };
  if (losses === 1) return { then: "pending", delayMs: 0 };
  return { then: "quarantine", delayMs: retryDelayMs(lossBackoff, losses - 1, random) };
}

/**
 * Milliseconds a released task waits; `releasesBefore` are those in a row before this one. 0 for
 * the first two.
 */
export function afterRelease(releasesBefore: number): number {
  const charged = releasesBefore - limits.releasesFree;
  if (charged < 0) return 0;
  return Math.min(limits.releaseBackoffMaxMs, limits.releaseBackoffMs * 2 ** charged);
}

function clampDelay(ms: number): number {
  if (Number.isNaN(ms)) return 0;
  return Math.round(Math.min(limits.backoffCeilingMs, Math.max(0, ms)));
}
