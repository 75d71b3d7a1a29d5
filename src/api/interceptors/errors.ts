import { create } from "@bufbuild/protobuf";
import { ConnectError, type Code as ConnectCode, type Interceptor } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
} from "../../../gen/google/rpc/error_details_pb.js";
import { Code, DroverError, type ErrorId } from "../../errors.js";
import { toDuration } from "../convert-time.js";

/** Metadata (trailer) with the catalog's id of the error, for clients that do not read details. */
const errorIdHeader = "drover-error-id";

/** Called with what is a defect: nothing of it but "internal error" reaches the caller. */
export type OnInternal = (cause: unknown, method: string) => void;

/** An error as gRPC and Connect carry it: ErrorInfo, BadRequest and RetryInfo of google.rpc. */
export function toConnectError(error: DroverError): ConnectError {
  const metadata: Record<string, string> = { [errorIdHeader]: error.id };
  if (error.retryAfterMs !== undefined) {
    metadata["retry-after"] = String(Math.ceil(error.retryAfterMs / 1000));
  }
  const details = [
    {
      desc: ErrorInfoSchema,
      value: create(ErrorInfoSchema, {
        reason: error.id.toUpperCase(),
        domain: "drover",
        metadata: {
          id: error.id,
          hint: error.hint,
          ...(error.field && { field: error.field }),
          ...(error.status && { status: error.status }),
        },
      }),
    },
    ...(error.field === undefined ? [] : [badRequest(error, error.field)]),
    ...(error.retryAfterMs === undefined ? [] : [retryInfo(error.retryAfterMs)]),
  ];
  const code = error.code as number as ConnectCode;
  return new ConnectError(wellFormed(error.message), code, metadata, details, error);
}

/** A message cut inside a surrogate pair cannot be sent: grpc-js would throw on it. */
export const wellFormed = (text: string): string => text.replace(/\p{Surrogate}/gu, "\uFFFD");

function badRequest(error: DroverError, field: string) {
  const violation = { field, description: error.message, reason: error.id.toUpperCase() };
  return {
    desc: BadRequestSchema,
    value: create(BadRequestSchema, { fieldViolations: [violation] }),
  };
}

const retryInfo = (ms: number) => ({
  desc: RetryInfoSchema,
  value: create(RetryInfoSchema, { retryDelay: toDuration(ms) }),
});

const idsByCode: Partial<Record<number, ErrorId>> = {
  [Code.invalidArgument]: "malformed_message",
  [Code.resourceExhausted]: "message_too_large",
  [Code.unimplemented]: "unimplemented",
};

/** The catalog's error behind a ConnectError; those of the libraries get the nearest id. */
export function toDroverError(thrown: unknown): DroverError {
  if (thrown instanceof DroverError) return thrown;
  if (!(thrown instanceof ConnectError)) return DroverError.from(thrown);
  if (thrown.cause instanceof DroverError) return thrown.cause;
  const id = idsByCode[thrown.code];
  return id ? new DroverError(id, thrown.rawMessage) : DroverError.from(thrown);
}

/**
 * What services throw as what doors send. A ConnectError passes: it is a door's or a library's own.
 */
export function toCallError(thrown: unknown, method: string, onInternal: OnInternal): ConnectError {
  if (thrown instanceof ConnectError) return thrown;
  const error = DroverError.from(thrown);
  if (error.id === "internal") onInternal(error.cause ?? error, method);
  return toConnectError(error);
}

/** Maps what calls throw, see `toCallError`. */
export function mapErrors(onInternal: OnInternal): Interceptor {
  const convert = (thrown: unknown, method: string): ConnectError =>
    toCallError(thrown, method, onInternal);
  return (next) => async (request) => {
    const method = `${request.service.typeName}/${request.method.name}`;
    try {
      const response = await next(request);
      if (!response.stream) return response;
      return { ...response, message: mapThrown(response.message, (e) => convert(e, method)) };
    } catch (error) {
      throw convert(error, method);
    }
  };
}

async function* mapThrown<T>(
  source: AsyncIterable<T>,
  convert: (thrown: unknown) => unknown,
): AsyncGenerator<T> {
  try {
    yield* source;
  } catch (error) {
    throw convert(error);
  }
}
