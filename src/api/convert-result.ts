import type {
  TaskFailure,
  TaskResult,
  TaskRelease,
  TaskSuccess,
} from "../../gen/drover/v1/task_pb.js";
import type { WorkerOutcome, WorkerResult } from "../coordinator/frames.js";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { bytesKey } from "../short-text.js";
import { checkDuration } from "../task/rules.js";
import type { Payload, TaskError } from "../task/task.js";
import { checkPayload } from "../task/validate.js";
import type { Opaque } from "./contract.js";
import { toPayload } from "./convert-task.js";
import { durationMs } from "./convert-time.js";

/** The code of a failure that brought none. */
const unnamedFailure = "error";

/**
 * Never throws: what cannot be accepted as sent becomes `invalid` with its reason, and only that
 * attempt fails.
 */
export function toWorkerResult(result: Opaque<TaskResult>): WorkerResult {
  const key = bytesKey(result.leaseToken);
  try {
    return { key, outcome: toOutcome(result.outcome) };
  } catch (error) {
    return { key, outcome: invalid(error) };
  }
}

/** As `toWorkerResult`, of a success that is read already. */
export function toWorkerSuccess(key: string, result: Payload | undefined): WorkerResult {
  try {
    return { key, outcome: succeeded(result) };
  } catch (error) {
    return { key, outcome: invalid(error) };
  }
}

function invalid(error: unknown): WorkerOutcome {
  if (!(error instanceof DroverError)) throw error;
  return { kind: "invalid", reason: error.message };
}

function toOutcome(outcome: Opaque<TaskResult>["outcome"]): WorkerOutcome {
  switch (outcome.case) {
    case "success":
      return toSuccess(outcome.value);
    case "failure":
      return toFailure(outcome.value);
    case "release":
      return toRelease(outcome.value);
    case "cancelled":
      return { kind: "cancelled" };
    case undefined:
      return { kind: "invalid", reason: "the result has no outcome" };
  }
}

function toSuccess(success: Opaque<TaskSuccess>): WorkerOutcome {
  return succeeded(toPayload("result", success.result, success.resultBlob));
}

function succeeded(result: Payload | undefined): WorkerOutcome {
  checkPayload("result", result);
  return { kind: "success", result };
}

function toFailure(failure: Opaque<TaskFailure>): WorkerOutcome {
  const { code, message, stack } = failure.error ?? { code: "", message: "", stack: "" };
  // Cut rather than refused: a long stack must not turn a retry into the end of the task.
  const error: TaskError = {
    code: code.slice(0, limits.nameLength) || unnamedFailure,
    message: message.slice(0, limits.errorMessageLength),
    ...(stack !== "" && { stack: stack.slice(0, limits.errorStackLength) }),
    retryable: !failure.nonRetryable,
  };
  const after = failure.retryAfter && durationMs(failure.retryAfter, "failure.retry_after");
  if (after !== undefined) {
    checkDuration("failure.retry_after", after, 0, limits.backoffCeilingMs);
  }
  return { kind: "failure", error, retryAfterMs: after && Math.ceil(after) };
}

function toRelease(release: Opaque<TaskRelease>): WorkerOutcome {
  const delay = release.delay ? durationMs(release.delay, "release.delay") : 0;
  checkDuration("release.delay", delay, 0, limits.backoffCeilingMs);
  return { kind: "release", delayMs: Math.ceil(delay) };
}
