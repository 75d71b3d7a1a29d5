import { fromBinary, toJson } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import type { Blob } from "../../gen/drover/v1/task_pb.js";
import { limits } from "../limits.js";

/** Data that is not JSON: how payloads and results of other media types are given and taken. */
export interface Content {
  /** Media type, e.g. image/png. At most 128 characters. */
  contentType: string;
  /** At most 256 KiB. */
  data: Uint8Array;
}

export const json = "application/json";
const utf8 = new TextDecoder("utf-8", { fatal: true });
/** Each level of a Value is two messages. */
const valueRecursion = 2 * limits.payloadDepth + 4;

export function isContent(value: unknown): value is Content {
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
    return { $typeName: "drover.v1.Blob", contentType: value.contentType, data: value.data };
  }
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) return undefined;
  return { $typeName: "drover.v1.Blob", contentType: json, data: Buffer.from(text, "utf8") };
}

/**
 * Either of the two forms on the wire as plain JavaScript, other media types as Content. Throws
 * on what is no JSON.
 */
export function decodeContent(value: Uint8Array, blob: Blob | undefined): unknown {
  if (blob) {
    if (blob.contentType !== json && !isJson(blob.contentType))
      return { contentType: blob.contentType, data: blob.data };
    return JSON.parse(textOf(blob.data)) as unknown;
  }
  if (value.length === 0) return undefined;
  const decoded = fromBinary(ValueSchema, value, { recursionLimit: valueRecursion });
  return toJson(ValueSchema, decoded);
}

/** Throws on bytes that are no text. */
function textOf(data: Uint8Array): string {
  const text = Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("utf8");
  // Cheaper than the decoder, which knows whether such a character was there or stands for damage.
  return text.includes("\uFFFD") || text.startsWith("\uFEFF") ? utf8.decode(data) : text;
}

function isJson(contentType: string): boolean {
  const type = contentType.split(";", 1)[0]!.trim().toLowerCase();
  return type === json || type.endsWith("+json");
}
