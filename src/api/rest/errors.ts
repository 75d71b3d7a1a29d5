import { Code, type DroverError } from "../../errors.js";

/**
 * HTTP statuses of the catalog's codes. A precondition that fails is a conflict with what stands:
 * 409.
 */
const statuses: Readonly<Record<Code, number>> = {
  [Code.cancelled]: 499,
  [Code.unknown]: 500,
  [Code.invalidArgument]: 400,
  [Code.deadlineExceeded]: 504,
  [Code.notFound]: 404,
  [Code.alreadyExists]: 409,
  [Code.permissionDenied]: 403,
  [Code.resourceExhausted]: 429,
  [Code.failedPrecondition]: 409,
  [Code.aborted]: 409,
  [Code.outOfRange]: 400,
  [Code.unimplemented]: 501,
  [Code.internal]: 500,
  [Code.unavailable]: 503,
  [Code.dataLoss]: 500,
  [Code.unauthenticated]: 401,
};

export const httpStatus = (error: DroverError): number =>
  error.id === "message_too_large" ? 413 : statuses[error.code];

export interface Reply {
  readonly status: number;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A stream of Server-Sent Events, each text a whole event. */
export interface EventReply {
  readonly events: AsyncIterable<string>;
  /** The caller goes on after a cursor. */
  readonly resumed: boolean;
}

export interface ErrorBody {
  readonly code: string;
  readonly message: string;
  readonly field?: string | undefined;
  readonly hint?: string | undefined;
  readonly status?: string | undefined;
}

export const errorText = (error: ErrorBody): string => JSON.stringify({ error });

export function errorReply(error: DroverError): Reply {
  const { id, message, field, hint, status, retryAfterMs } = error;
  const headers =
    retryAfterMs === undefined ? {} : { "retry-after": String(Math.ceil(retryAfterMs / 1000)) };
  return {
    status: httpStatus(error),
    body: errorText({ code: id, message, field, hint, status }),
    headers,
  };
}
