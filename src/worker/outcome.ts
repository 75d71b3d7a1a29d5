import { inspect } from "node:util";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  BlobSchema,
  type TaskResult,
  TaskResultSchema,
  TaskSuccessSchema,
} from "../../gen/drover/v1/task_pb.js";
import { limits } from "../limits.js";
import { isContent, json } from "../transport/content.js";
import { toDuration } from "../transport/times.js";
import { ReleaseError, TaskFailedError } from "./errors.js";
import { type RunningLease, tokenBytes } from "./lease-table.js";

/** A result for the coordinator. */
export interface Outcome {
  /** The lease token, see `tokenKey`. */
  readonly key: string;
  /** Rough size on the wire. */
  readonly bytes: number;
  /** What nearly all are: a success with this JSON, or without a value. */
  readonly json: string | undefined;
  /** Anything else. */
  readonly other: TaskResult | undefined;
}

/** The whole message. */
export function resultOf({ key, json: text, other }: Outcome): TaskResult {
  if (other) return other;
  const value = create(TaskSuccessSchema);
  if (text !== undefined) {
    value.resultBlob = create(BlobSchema, { contentType: json, data: Buffer.from(text) });
  }
  return create(TaskResultSchema, {
    leaseToken: tokenBytes(key),
    outcome: { case: "success", value },
  });
}

/** Token, tags and lengths around what was measured. */
const frameOverhead = 64;

type WireOutcome = NonNullable<MessageInitShape<typeof TaskResultSchema>["outcome"]>;

const outcomeOf = (key: string, outcome: WireOutcome, bytes: number): Outcome => ({
  key,
  bytes: bytes + frameOverhead,
  json: undefined,
  other: create(TaskResultSchema, { leaseToken: tokenBytes(key), outcome }),
});

interface Failure {
  readonly code: string;
  readonly message: string;
  readonly stack?: string;
  readonly retryable?: boolean;
  readonly retryAfterMs?: number | undefined;
}

export function failed(key: string, failure: Failure): Outcome {
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
  return outcomeOf(key, { case: "failure", value }, message.length + stack.length);
}

export function released(key: string, delayMs = 0): Outcome {
  const value = delayMs > 0 ? { delay: toDuration(delayMs) } : {};
  return outcomeOf(key, { case: "release", value }, 0);
}

function cancelled(key: string): Outcome {
  return outcomeOf(key, { case: "cancelled", value: {} }, 0);
}

/**
 * What the handler returned, as the lease's result; what cannot be carried fails the task for
 * good.
 */
export function succeeded(key: string, returned: unknown): Outcome {
  try {
    return carried(key, returned);
  } catch (error) {
    return failed(key, {
      code: "result_unencodable",
      message: `the result cannot be written as JSON: ${messageOf(error)}`,
      retryable: false,
    });
  }
}

function carried(key: string, returned: unknown): Outcome {
  if (returned === undefined) {
    return { key, bytes: frameOverhead, json: undefined, other: undefined };
  }
  if (isContent(returned)) {
    const { contentType, data } = returned;
    if (data.length > limits.payloadBytes) return tooLarge(key, data.length);
    const resultBlob = { contentType, data };
    return outcomeOf(key, { case: "success", value: { resultBlob } }, data.length);
  }
  const text = JSON.stringify(returned) as string | undefined;
  const bytes = text === undefined ? 0 : Buffer.byteLength(text);
  if (bytes > limits.payloadBytes) return tooLarge(key, bytes);
  return { key, bytes: bytes + frameOverhead, json: text, other: undefined };
}

const tooLarge = (key: string, bytes: number): Outcome =>
  failed(key, {
    code: "result_too_large",
    message:
      `the result has ${bytes} bytes, at most ${limits.payloadBytes} are carried: ` +
      "store it elsewhere and return a reference to it",
    retryable: false,
  });

/**
 * What a handler that threw means for its lease; undefined if nobody waits for an answer any
 * more.
 */
export function thrown(lease: RunningLease, error: unknown): Outcome | undefined {
  try {
    return meantBy(lease, error);
  } catch {
    // Its parts throw as well. One task's error must not end the others.
    return failed(lease.key, { code: "handler_error", message: unreadable });
  }
}

const unreadable = "the handler threw what cannot be read";

function meantBy(lease: RunningLease, error: unknown): Outcome | undefined {
  const { key } = lease;
  if (lease.standing === "unknown") return undefined;
  switch (lease.abortCause) {
    case "cancelled":
      return cancelled(key);
    case "timeout":
      return failed(key, { ...failureOf(error), code: "timeout", retryable: true });
    case "deadline":
      return failed(key, { ...failureOf(error), code: "deadline", retryable: false });
    case "shutdown":
    case "lease_lost":
      return released(key);
    case undefined:
  }
  if (error instanceof ReleaseError) return released(key, error.delayMs);
  return failed(key, failureOf(error));
}

function failureOf(error: unknown): Failure {
  const failure = { code: codeOf(error), message: messageOf(error), stack: stackOf(error) };
  if (!(error instanceof TaskFailedError)) return failure;
  const { code, retryable, retryAfterMs } = error;
  return { ...failure, code: String(code), retryable, retryAfterMs };
}

/** Libraries put into an error whatever a service answered: of its parts any may be no text. */
function stackOf(error: unknown): string {
  const stack: unknown = error instanceof Error ? error.stack : undefined;
  return typeof stack === "string" ? stack : "";
}

const codePattern = /^[A-Za-z0-9._-]{1,128}$/;

/** Words such as ECONNREFUSED are worth keeping: a retry policy may name them. */
function codeOf(error: unknown): string {
  const code = typeof error === "object" && error !== null && "code" in error ? error.code : "";
  return typeof code === "string" && codePattern.test(code) ? code : "handler_error";
}

export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) {
    return typeof error === "string" ? error : `the handler threw ${inspect(error, { depth: 2 })}`;
  }
  const message: unknown = error.message;
  if (typeof message === "string") return message || String(error.name);
  return inspect(message, { depth: 2 });
}
