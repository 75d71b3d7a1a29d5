import type { TaskDraft } from "../task/draft.js";
import { payloadIn } from "../task/fresh-task.js";
import type { Payload } from "../task/task.js";
import type { Submission } from "./coordinator.js";

/**
 * A submission among many of a frame that differ in payload and request id alone. These stay where
 * they are, as bytes of the frame: who takes the submission in reads what they share once.
 */
export class AlikeSubmission implements Submission {
  /** Of all of them; its payload has the content type, and no data. */
  readonly shared: TaskDraft;
  readonly frame: Buffer;
  /** Where the payload's data stand. */
  readonly from: number;
  readonly to: number;
  /** Where the request id stands, of ASCII: nothing, or 36 letters. */
  readonly requestAt: number;
  readonly requestEnd: number;

  constructor(
    shared: TaskDraft,
    frame: Buffer,
    from: number,
    to: number,
    requestAt: number,
    requestEnd: number,
  ) {
    this.shared = shared;
    this.frame = frame;
    this.from = from;
    this.to = to;
    this.requestAt = requestAt;
    this.requestEnd = requestEnd;
  }

  get payload(): Payload | undefined {
    return payloadIn(this.shared.payload, this.frame, this.from, this.to);
  }

  /** Written out, as an object so wide is not spread. */
  get draft(): TaskDraft {
    const { shared, payload } = this;
    return {
      type: shared.type,
      queue: shared.queue,
      priority: shared.priority,
      payload,
      maxRetries: shared.maxRetries,
      retry: shared.retry,
      runAt: shared.runAt,
      delayMs: shared.delayMs,
      timeoutMs: shared.timeoutMs,
      groupKey: shared.groupKey,
      requiredLabels: shared.requiredLabels,
      tags: shared.tags,
      idempotencyKey: shared.idempotencyKey,
      retentionMs: shared.retentionMs,
      traceContext: shared.traceContext,
      terms: shared.terms,
    };
  }

  get requestId(): string {
    return this.frame.toString("latin1", this.requestAt, this.requestEnd);
  }
}
