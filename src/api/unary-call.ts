import type * as grpc from "@grpc/grpc-js";
import type { CallHeaders } from "../auth/open.js";

/** Where a call came from and how long it may take, whichever way its bytes came. */
export interface CallOrigin {
  /** Without what belongs to the transport. */
  readonly metadata: grpc.Metadata;
  readonly host: string;
  /** Milliseconds since 1970, or Infinity. */
  readonly deadline: number;
  /** Its caller is gone, or its deadline has passed. */
  onCancelled(listener: () => void): void;
}

export interface UnaryCall extends CallOrigin {
  readonly request: Buffer;
  /** As in `metadata`, which costs more to make than one or two headers to look up. */
  readonly headers: CallHeaders;
}

export interface UnaryReply {
  readonly bytes: Buffer;
  readonly header?: grpc.Metadata | undefined;
  readonly trailer?: grpc.Metadata | undefined;
}

export interface UnaryMethod {
  /** E.g. `/drover.v1.TaskService/GetTask`. */
  readonly path: string;
  serve(call: UnaryCall): Promise<UnaryReply>;
  /** What `serve` threw as what the caller is told. */
  refusal(thrown: unknown): grpc.ServerErrorResponse;
}

/** The first value of the name. */
export function textOf(metadata: grpc.Metadata, name: string): string | null {
  const [value] = metadata.get(name);
  return value === undefined ? null : asText(value);
}

export const asText = (value: grpc.MetadataValue): string =>
  typeof value === "string" ? value : value.toString("base64");
