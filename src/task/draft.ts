import type { Payload, RetryPolicy, TaskTerms } from "./task.js";

/**
 * A task as a producer gave it, read from the wire but not yet judged. Undefined means: not given.
 */
export interface TaskDraft {
  readonly type: string;
  readonly queue: string | undefined;
  readonly priority: number | undefined;
  readonly payload: Payload | undefined;
  readonly maxRetries: number | undefined;
  readonly retry: Partial<RetryPolicy> | undefined;
  readonly runAt: number | undefined;
  readonly delayMs: number | undefined;
  readonly timeoutMs: number | undefined;
  readonly groupKey: string;
  readonly requiredLabels: Readonly<Record<string, string>>;
  readonly tags: readonly string[];
  readonly idempotencyKey: string;
  readonly retentionMs: number | undefined;
  readonly traceContext: Readonly<Record<string, string>>;
  readonly terms: TaskTerms | undefined;
}
