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

/** Of a RELAXED task that says nothing else: the default of migration 0014. */
export const defaultSpec = '{"durability":"relaxed"}';

/** What tasks of a kind say alike: all but the trace. */
type Said = Pick<
  Task,
  | "maxRetries"
  | "retry"
  | "runAt"
  | "timeoutMs"
  | "groupKey"
  | "requiredLabels"
  | "tags"
  | "durability"
  | "terms"
>;

/** Of the task asked about last: the next one is mostly of its kind. */
let last: { readonly said: Said; readonly text: string } | undefined;

export function specColumn(task: Task): string {
  const { traceContext } = task;
  if (!last || !isSaidAlike(last.said, task)) last = { said: saidOf(task), text: textOf(task) };
  return isEmpty(traceContext) ? last.text : withTrace(last.text, traceContext);
}

const saidOf = (task: Task): Said => ({
  maxRetries: task.maxRetries,
  retry: task.retry,
  runAt: task.runAt,
  timeoutMs: task.timeoutMs,
  groupKey: task.groupKey,
  requiredLabels: task.requiredLabels,
  tags: task.tags,
  durability: task.durability,
  terms: task.terms,
});

/** False says nothing. */
const isSaidAlike = (one: Said, other: Said): boolean =>
  one.maxRetries === other.maxRetries &&
  one.retry === other.retry &&
  one.runAt === other.runAt &&
  one.timeoutMs === other.timeoutMs &&
  one.groupKey === other.groupKey &&
  one.requiredLabels === other.requiredLabels &&
  one.tags === other.tags &&
  one.durability === other.durability &&
  one.terms === other.terms;

function textOf({ requiredLabels, tags, durability, ...said }: Said): string {
  const spec: SpecColumn = {
    maxRetries: said.maxRetries === unsaid.maxRetries ? undefined : said.maxRetries,
    retry: isUnsaid(said.retry) ? undefined : said.retry,
    runAt: said.runAt,
    timeoutMs: said.timeoutMs === unsaid.timeoutMs ? undefined : said.timeoutMs,
    groupKey: said.groupKey || undefined,
    requiredLabels: isEmpty(requiredLabels) ? undefined : requiredLabels,
    tags: tags.length === 0 ? undefined : tags,
    durability: durability === "durable" ? undefined : durability,
    terms: said.terms,
  };
  return JSON.stringify(spec);
}

function withTrace(text: string, traceContext: Task["traceContext"]): string {
  const trace = `{"traceContext":${JSON.stringify(traceContext)}`;
  return text === "{}" ? `${trace}}` : `${trace},${text.slice(1)}`;
}

/** What such a text says; what it does not say is as in `unsaid`. */
export function saidIn(spec: SpecColumn): Said & Pick<Task, "traceContext"> {
  return {
    maxRetries: spec.maxRetries ?? unsaid.maxRetries,
    retry: { ...unsaid.retry, ...objectOr(spec.retry) },
    runAt: spec.runAt,
    timeoutMs: spec.timeoutMs ?? unsaid.timeoutMs,
    groupKey: spec.groupKey ?? "",
    requiredLabels: objectOr(spec.requiredLabels),
    tags: Array.isArray(spec.tags) ? spec.tags : [],
    traceContext: objectOr(spec.traceContext),
    durability: spec.durability ?? "durable",
    terms: spec.terms,
  };
}

const objectOr = <T extends object>(value: T | undefined): T =>
  (typeof value === "object" && value !== null && !Array.isArray(value) ? value : {}) as T;

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
