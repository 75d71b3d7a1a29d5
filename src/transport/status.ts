import { fromBinary } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import type { ServiceError, StatusObject } from "@grpc/grpc-js";
import { type Error as WireError, ErrorSchema } from "../../gen/drover/v1/task_pb.js";
import { catalog, Code, type ErrorId } from "../errors.js";
import { durationMs } from "./times.js";

/** What a refusal says, wherever it stood: in the status of a call, or beside one item of an answer. */
export interface Refusal {
  readonly code: Code;
  /** Word of Drover's catalog, or the name of the gRPC code where a peer sent none. */
  readonly id: string;
  readonly message: string;
  readonly field: string | undefined;
  readonly hint: string | undefined;
  readonly retryAfterMs: number | undefined;
}

const codeNames = new Map<number, string>(
  Object.entries(Code).map(([name, code]) => [
    code,
    name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
  ]),
);

/** The status of a failed call. Its details carry a drover.v1.Error where a coordinator refused. */
export function refusalOfStatus(status: Partial<StatusObject> | ServiceError): Refusal {
  const code = (codeNames.has(status.code ?? 0) ? status.code : Code.unknown) as Code;
  const detail = errorDetail(status.metadata?.get("grpc-status-details-bin")[0]);
  const message = status.details ?? "";
  if (detail) return { ...refusalOfError(detail), code, message: message || detail.message };
  return refusal(code, codeNames.get(code)!, message || "the call failed without a reason");
}

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
  };
}

export function refusal(code: Code, id: string, message: string, hint?: string): Refusal {
  return { code, id, message, field: undefined, hint, retryAfterMs: undefined };
}

/** UNAVAILABLE and DEADLINE_EXCEEDED: nobody knows whether it happened. */
export const outcomeUnknown = (code: Code): boolean =>
  code === Code.unavailable || code === Code.deadlineExceeded;

/** Finds the drover.v1.Error among the Any messages of a google.rpc.Status (code = 1, message = 2, details = 3). */
function errorDetail(header: string | Buffer | undefined): WireError | undefined {
  if (!(header instanceof Uint8Array)) return undefined;
  try {
    for (const any of fieldsOf(header, 3)) {
      const name = fieldsOf(any, 1)[0];
      if (!name || !Buffer.from(name).toString("utf8").endsWith("drover.v1.Error")) continue;
      return fromBinary(ErrorSchema, fieldsOf(any, 2)[0] ?? new Uint8Array());
    }
  } catch {
    // A proxy may send details of its own kind; the status itself still says enough.
  }
  return undefined;
}

function fieldsOf(message: Uint8Array, wanted: number): Uint8Array[] {
  const reader = new BinaryReader(message);
  const found: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    if (field === wanted && wire === WireType.LengthDelimited) found.push(reader.bytes());
    else reader.skip(wire, field);
  }
  return found;
}

/** A Refusal or anything thrown, in words. */
export function refusalText(error: unknown): string {
  if (typeof error !== "object" || error === null || !("message" in error)) return String(error);
  const hint = "hint" in error && typeof error.hint === "string" ? ` (${error.hint})` : "";
  return `${String(error.message)}${hint}`;
}
