import type { TaskTemplate as WireTemplate } from "../../gen/drover/v1/admin_pb.js";
import type { RetryPolicy as WireRetry } from "../../gen/drover/v1/task_pb.js";
import { DroverError } from "../errors.js";
import type { TaskDraft } from "../task/draft.js";
import type { RetryPolicy } from "../task/task.js";
import type { Opaque, OpaqueInit } from "./contract.js";
import { toPayload, toRetry, toWirePayload } from "./convert-task.js";
import { toWireBackoff } from "./convert-terms.js";
import { durationMsIf, toDuration } from "./convert-time.js";

/**
 * What the tasks of schedules and the callbacks of batches are made of, between the wire and the
 * vocabulary.
 */

/** Throws what the wire alone can get wrong, naming `task.` and the field. */
export function toTemplateDraft(template: Opaque<WireTemplate>): TaskDraft {
  const unknown = template.$unknown?.[0];
  if (unknown) {
    const message = `task has field number ${unknown.no}, which a template cannot give its tasks`;
    throw new DroverError("unsupported_field", message, { field: "task" });
  }
  const heartbeatTimeoutMs = durationMsIf(template.heartbeatTimeout, "task.heartbeat_timeout");
  return {
    type: template.type,
    queue: template.queue === "" ? undefined : template.queue,
    priority: template.priority,
    payload: toPayload("task.payload", template.payload, template.payloadBlob),
    maxRetries: template.maxRetries,
    retry: template.retryPolicy && toRetry(template.retryPolicy, "task.retry_policy"),
    runAt: undefined,
    delayMs: durationMsIf(template.delay, "task.delay"),
    timeoutMs: durationMsIf(template.timeout, "task.timeout"),
    groupKey: template.groupKey,
    requiredLabels: template.requiredLabels,
    tags: template.tags,
    idempotencyKey: "",
    retentionMs: durationMsIf(template.retention, "task.retention"),
    traceContext: {},
    terms: heartbeatTimeoutMs === undefined ? undefined : { heartbeatTimeoutMs },
  };
}

/** As it was given: what was left open stays open. */
export function toWireTemplate(draft: TaskDraft): OpaqueInit<WireTemplate> {
  const payload = toWirePayload(draft.payload);
  return {
    type: draft.type,
    queue: draft.queue,
    priority: draft.priority,
    payload: payload.value,
    payloadBlob: payload.blob,
    maxRetries: draft.maxRetries,
    retryPolicy: draft.retry && toWireRetryPart(draft.retry),
    delay: durationIf(draft.delayMs),
    timeout: durationIf(draft.timeoutMs),
    groupKey: draft.groupKey,
    requiredLabels: { ...draft.requiredLabels },
    tags: [...draft.tags],
    retention: durationIf(draft.retentionMs),
    heartbeatTimeout: durationIf(draft.terms?.heartbeatTimeoutMs),
  };
}

const toWireRetryPart = (retry: Partial<RetryPolicy>): OpaqueInit<WireRetry> => ({
  initialBackoff: durationIf(retry.initialBackoffMs),
  maxBackoff: durationIf(retry.maxBackoffMs),
  multiplier: retry.multiplier,
  jitter: retry.jitter,
  nonRetryableCodes: [...(retry.nonRetryableCodes ?? [])],
  backoff: retry.backoff && toWireBackoff(retry.backoff),
  delays: retry.delaysMs?.map(toDuration) ?? [],
});

const durationIf = (ms: number | undefined) => (ms === undefined ? undefined : toDuration(ms));
