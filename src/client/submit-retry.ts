import { Code } from "../errors.js";
import { outcomeUnknown, type Refusal, refusal } from "../transport/status.js";
import { DroverClientError } from "./errors.js";
import type { Submission } from "./submissions.js";

/** Errors that blame nobody: another coordinator, or this one later, may take the task. */
const strange = new Set<number>([Code.unknown, Code.internal, Code.cancelled, Code.aborted]);
const strangeErrorsMax = 5;

/** Whether sending it once more is of use. It is always safe: the request id stays the same. */
export function repeatable(submission: Submission, { code, retryAfterMs }: Refusal): boolean {
  if (outcomeUnknown(code)) return true;
  if (code === Code.resourceExhausted) return retryAfterMs !== undefined;
  return strange.has(code) && submission.sends < strangeErrorsMax;
}

/** The end of its patience, with what is known then. */
export function tooLate({ sends }: Pick<Submission, "sends">, why?: Refusal): DroverClientError {
  const stored = sends > 0 ? "whether the task was stored is unknown" : "the task was not stored";
  const last = why ? ` (last: ${why.message})` : "";
  const code = why?.code ?? Code.deadlineExceeded;
  const id = why?.id ?? "deadline_exceeded";
  return new DroverClientError(refusal(code, id, `no answer in time; ${stored}${last}`));
}
