import type {
  Cancellation,
  Durability,
  Payload,
  RetryPolicy,
  Task,
  TaskTerms,
} from "../../task/task.js";

/**
 * Asked for, and never filtered by; what is not said is as in `unsaid`. Tags stand here as they
 * came; their column is for the index.
 */
export interface SpecColumn {
  maxRetries?: number | undefined;
  retry?: RetryPolicy | undefined;
  runAt?: number | undefined;
  timeoutMs?: number | undefined;
  groupKey?: string | undefined;
  requiredLabels?: Readonly<Record<string, string>> | undefined;
  tags?: readonly string[] | undefined;
  traceContext?: Readonly<Record<string, string>> | undefined;
  durability?: Durability | undefined;
  terms?: TaskTerms | undefined;
}

/** Never changed, whatever the defaults of Drover become: stored rows rest on it. */
export const unsaid = {
  maxRetries: 3,
  retry: {
    initialBackoffMs: 1_000,
    maxBackoffMs: 600_000,
    multiplier: 2,
    jitter: 0.2,
    nonRetryableCodes: [],
    backoff: "exponential",
    delaysMs: [],
  },
  timeoutMs: 900_000,
} as const;

/**
 * Of a task that says nothing but its durability; migration 0014 has one of them as the default.
 */
export const plainSpecs = { durable: "{}", relaxed: '{"durability":"relaxed"}' } as const;

export function specColumn(task: Task): string {
  const { requiredLabels, tags, traceContext, durability, terms } = task;
  const retry = isUnsaid(task.retry) ? undefined : task.retry;
  const plain =
    task.maxRetries === unsaid.maxRetries &&
    retry === undefined &&
    task.runAt === undefined &&
    task.timeoutMs === unsaid.timeoutMs &&
    task.groupKey === "" &&
    tags.length === 0 &&
    terms === undefined;
  if (plain && isEmpty(requiredLabels) && isEmpty(traceContext)) {
    return plainSpecs[durability];
  }
  const spec: SpecColumn = {
    maxRetries: task.maxRetries === unsaid.maxRetries ? undefined : task.maxRetries,
    retry,
    runAt: task.runAt,
    timeoutMs: task.timeoutMs === unsaid.timeoutMs ? undefined : task.timeoutMs,
    groupKey: task.groupKey || undefined,
    requiredLabels: isEmpty(requiredLabels) ? undefined : requiredLabels,
    tags: tags.length === 0 ? undefined : tags,
    traceContext: isEmpty(traceContext) ? undefined : traceContext,
    durability: durability === "durable" ? undefined : durability,
    terms,
  };
  return JSON.stringify(spec);
}

const isUnsaid = (retry: RetryPolicy): boolean =>
  retry.initialBackoffMs === unsaid.retry.initialBackoffMs &&
  retry.maxBackoffMs === unsaid.retry.maxBackoffMs &&
  retry.multiplier === unsaid.retry.multiplier &&
  retry.jitter === unsaid.retry.jitter &&
  retry.nonRetryableCodes.length === 0 &&
  retry.backoff === unsaid.retry.backoff &&
  retry.delaysMs.length === 0;

function isEmpty(words: Readonly<Record<string, string>>): boolean {
  for (const _ in words) return false;
  return true;
}

/** Bytes in base64: few tasks have any. */
export interface ExtraColumn {
  cancellation?: Cancellation | undefined;
  checkpoint?: { contentType: string; data: string } | undefined;
}

export function extraColumn({ cancellation, checkpoint }: Task): string | undefined {
  if (!cancellation && !checkpoint) return undefined;
  const extra: ExtraColumn = {
    cancellation,
    checkpoint: checkpoint && {
      contentType: checkpoint.contentType,
      data: Buffer.from(checkpoint.data).toString("base64"),
    },
  };
  return JSON.stringify(extra);
}

export const checkpointOf = (extra: ExtraColumn | undefined): Payload | undefined =>
  extra?.checkpoint && {
    contentType: extra.checkpoint.contentType,
    data: Buffer.from(extra.checkpoint.data, "base64"),
  };
