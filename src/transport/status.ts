import { type DescMessage, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import type { Metadata, StatusObject } from "@grpc/grpc-js";
import type { Error as WireError } from "../../gen/drover/v1/task_pb.js";
import { ErrorInfoSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import { type Status, StatusSchema } from "../../gen/google/rpc/status_pb.js";
import { catalog, Code, type ErrorId } from "../errors.js";
import { durationMs } from "./times.js";

/**
 * What a refusal says, wherever it stood: in the status of a call, or beside one item of an
 * answer.
 */
export interface Refusal {
  readonly code: Code;
  /** Word of Drover's catalog, or the name of the gRPC code where the peer sent none. */
  readonly id: string;
  readonly message: string;
  readonly field: string | undefined;
  readonly hint: string | undefined;
  readonly retryAfterMs: number | undefined;
  /** What the task is instead, e.g. `completed`, where that is why the call was refused. */
  readonly status: string | undefined;
}

const codeNames = new Map<number, string>(
  Object.entries(Code).map(([name, code]) => [
    code,
    name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
  ]),
);

/**
 * The status of a failed call, with the ErrorInfo and RetryInfo of google.rpc where it carries
 * them.
 */
export function refusalOfStatus(status: Partial<StatusObject>): Refusal {
  const details = statusDetails(status.metadata);
  const given = (codeNames.has(status.code ?? 0) ? status.code : Code.unknown) as Code;
  const code = !details && isCutOff(status) ? Code.unavailable : given;
  const info = details && detailOf(details, ErrorInfoSchema)?.metadata;
  const retry = details && detailOf(details, RetryInfoSchema)?.retryDelay;
  const id = info?.["id"] ?? codeNames.get(code)!;
  return {
    code,
    id,
    message: status.details || "the call failed without a reason",
    field: info?.["field"],
    hint: info?.["hint"] ?? (id in catalog ? catalog[id as ErrorId].hint : undefined),
    retryAfterMs: retry && durationMs(retry),
    status: info?.["status"],
  };
}

/**
 * No status came at all: grpc-js says INTERNAL of a stream that its connection took along, if it
 * hears of the stream first.
 */
const isCutOff = ({ code, details }: Partial<StatusObject>): boolean =>
  code === (Code.internal as number) &&
  details?.startsWith("Received RST_STREAM with code") === true;

/** The error beside one item; its word decides the gRPC code. */
export function refusalOfError(error: WireError): Refusal {
  const known = Object.hasOwn(catalog, error.code) ? catalog[error.code as ErrorId] : undefined;
  return {
    code: known?.code ?? Code.unknown,
    id: error.code || "unknown",
    message: error.message,
    field: error.field || undefined,
    hint: error.hint || known?.hint,
    retryAfterMs: error.retryAfter && durationMs(error.retryAfter),
    status: undefined,
  };
}

export function refusal(code: Code, id: string, message: string): Refusal {
  const none = { field: undefined, hint: undefined, retryAfterMs: undefined, status: undefined };
  return { code, id, message, ...none };
}

/** UNAVAILABLE and DEADLINE_EXCEEDED: nobody knows whether it happened. */
export const outcomeUnknown = (code: Code): boolean =>
  code === Code.unavailable || code === Code.deadlineExceeded;

/** A Refusal or anything thrown, in words. */
export function refusalText(error: unknown): string {
  if (typeof error !== "object" || error === null || !("message" in error)) return String(error);
  const hint = "hint" in error && typeof error.hint === "string" ? ` (${error.hint})` : "";
  return `${String(error.message)}${hint}`;
}

/** A proxy may send details of its own kind; the status itself still says enough. */
function statusDetails(metadata: Metadata | undefined): Status | undefined {
  const header = metadata?.get("grpc-status-details-bin")[0];
  if (!(header instanceof Uint8Array)) return undefined;
  try {
    return fromBinary(StatusSchema, header);
  } catch {
    return undefined;
  }
}

function detailOf<D extends DescMessage>(status: Status, schema: D): MessageShape<D> | undefined {
  const found = status.details.find(({ typeUrl }) => typeUrl.endsWith(`/${schema.typeName}`));
  try {
    return found && fromBinary(schema, found.value);
  } catch {
    return undefined;
  }
}
