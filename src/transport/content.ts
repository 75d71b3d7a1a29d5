import { create, fromBinary, toJson } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { BlobSchema, type Blob } from "../../gen/drover/v1/task_pb.js";
import { limits } from "../limits.js";

/** Data that is not JSON: how payloads and results of other media types are given and taken. */
export interface Content {
  /** Media type, e.g. image/png. At most 128 characters. */
  contentType: string;
  /** At most 256 KiB. */
  data: Uint8Array;
}

const json = "application/json";
const utf8 = new TextDecoder("utf-8", { fatal: true });
/** Each level of a Value is two messages. */
const valueRecursion = 2 * limits.payloadDepth + 4;

function isContent(value: unknown): value is Content {
  if (typeof value !== "object" || value === null) return false;
  const { contentType, data } = value as Partial<Content>;
  return typeof contentType === "string" && data instanceof Uint8Array;
}

/**
 * Plain JavaScript as JSON bytes, Content as it is; undefined stays away. Throws what
 * JSON.stringify throws.
 */
export function encodeContent(value: unknown): Blob | undefined {
  if (isContent(value)) {
    return create(BlobSchema, { contentType: value.contentType, data: value.data });
  }
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) return undefined;
  return create(BlobSchema, { contentType: json, data: Buffer.from(text, "utf8") });
}

/**
 * Either of the two forms on the wire as plain JavaScript, other media types as Content. Throws
 * on what is no JSON.
 */
export function decodeContent(value: Uint8Array, blob: Blob | undefined): unknown {
  if (blob) {
    if (!isJson(blob.contentType)) return { contentType: blob.contentType, data: blob.data };
    return JSON.parse(utf8.decode(blob.data)) as unknown;
  }
  if (value.length === 0) return undefined;
  const decoded = fromBinary(ValueSchema, value, { recursionLimit: valueRecursion });
  return toJson(ValueSchema, decoded);
}

function isJson(contentType: string): boolean {
  const type = contentType.split(";", 1)[0]!.trim().toLowerCase();
  return type === json || type.endsWith("+json");
}
