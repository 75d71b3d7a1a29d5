import { inspect } from "node:util";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type TaskResult,
  TaskResultSchema,
  type TaskSuccess,
} from "../../gen/drover/v1/task_pb.js";
import { limits } from "../limits.js";
import { encodeContent } from "../transport/content.js";
import { toDuration } from "../transport/times.js";
import { ReleaseError, TaskFailedError } from "./errors.js";
import type { RunningLease } from "./lease-table.js";

/** A result for the coordinator, with its rough size on the wire. */
export interface Outcome {
  readonly result: TaskResult;
  readonly bytes: number;
}

/** Token, tags and lengths around what was measured. */
const frameOverhead = 64;

type WireOutcome = NonNullable<MessageInitShape<typeof TaskResultSchema>["outcome"]>;

const outcomeOf = (token: Uint8Array, outcome: WireOutcome, bytes: number): Outcome => ({
  result: create(TaskResultSchema, { leaseToken: token, outcome }),
  bytes: bytes + frameOverhead,
});

interface Failure {
  readonly code: string;
  readonly message: string;
  readonly stack?: string;
  readonly retryable?: boolean;
  readonly retryAfterMs?: number | undefined;
}

export function failed(token: Uint8Array, failure: Failure): Outcome {
  const message = failure.message.slice(0, limits.errorMessageLength);
  const stack = (failure.stack ?? "").slice(0, limits.errorStackLength);
  const value = {
    error: {
      code: failure.code.slice(0, limits.nameLength),
      message,
      stack,
    },
    nonRetryable: failure.retryable === false,
    ...(failure.retryAfterMs === undefined ? {} : { retryAfter: toDuration(failure.retryAfterMs) }),
  };
  return outcomeOf(token, { case: "failure", value }, message.length + stack.length);
}

export function released(token: Uint8Array, delayMs = 0): Outcome {
  const value = delayMs > 0 ? { delay: toDuration(delayMs) } : {};
  return outcomeOf(token, { case: "release", value }, 0);
}

function cancelled(token: Uint8Array): Outcome {
  return outcomeOf(token, { case: "cancelled", value: {} }, 0);
}

/**
 * What the handler returned, as the lease's result; what cannot be carried fails the task for
 * good.
 */
export function succeeded(token: Uint8Array, returned: unknown): Outcome {
  let blob;
  try {
    blob = encodeContent(returned);
  } catch (error) {
    return failed(token, {
      code: "result_unencodable",
      message: `the result cannot be written as JSON: ${messageOf(error)}`,
      retryable: false,
    });
  }
  const bytes = blob?.data.length ?? 0;
  if (bytes > limits.payloadBytes) {
    return failed(token, {
      code: "result_too_large",
      message:
        `the result has ${bytes} bytes, at most ${limits.payloadBytes} are carried: ` +
        "store it elsewhere and return a reference to it",
      retryable: false,
    });
  }
  // By hand: `create` looks at every field there is, for the one outcome that nearly all have.
  const value: TaskSuccess = { $typeName: "drover.v1.TaskSuccess" };
  if (blob) value.resultBlob = blob;
  const outcome = { case: "success", value } as const;
  const result: TaskResult = { $typeName: "drover.v1.TaskResult", leaseToken: token, outcome };
  return { result, bytes: bytes + frameOverhead };
}

/**
 * What a handler that threw means for its lease; undefined if nobody waits for an answer any
 * more.
 */
export function thrown(lease: RunningLease, error: unknown): Outcome | undefined {
  const { token } = lease;
  if (lease.standing === "unknown") return undefined;
  switch (lease.abortCause) {
    case "cancelled":
      return cancelled(token);
    case "timeout":
      return failed(token, { ...failureOf(error), code: "timeout", retryable: true });
    case "deadline":
      return failed(token, { ...failureOf(error), code: "deadline", retryable: false });
    case "shutdown":
    case "lease_lost":
      return released(token);
    case undefined:
  }
  if (error instanceof ReleaseError) return released(token, error.delayMs);
  return failed(token, failureOf(error));
}

function failureOf(error: unknown): Failure {
  if (error instanceof TaskFailedError) {
    const { code, message, retryable, retryAfterMs } = error;
    return { code, message, stack: error.stack ?? "", retryable, retryAfterMs };
  }
  return {
    code: codeOf(error),
    message: messageOf(error),
    stack: error instanceof Error ? (error.stack ?? "") : "",
  };
}

const codePattern = /^[A-Za-z0-9._-]{1,128}$/;

/** Words such as ECONNREFUSED are worth keeping: a retry policy may name them. */
function codeOf(error: unknown): string {
  const code = typeof error === "object" && error !== null && "code" in error ? error.code : "";
  return typeof code === "string" && codePattern.test(code) ? code : "handler_error";
}

export function messageOf(error: unknown): string {
  if (error instanceof Error) return error.message || error.name;
  return typeof error === "string" ? error : `the handler threw ${inspect(error, { depth: 2 })}`;
}
