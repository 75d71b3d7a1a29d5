import type { Blob } from "../../gen/drover/v1/task_pb.js";
import { limits } from "../limits.js";
import { readValue } from "../wire/value.js";

/** Data that is not JSON: how payloads and results of other media types are given and taken. */
export interface Content {
  /** Media type, e.g. image/png. At most 128 characters. */
  contentType: string;
  /** At most 256 KiB. */
  data: Uint8Array;
}

export const json = "application/json";
const utf8 = new TextDecoder("utf-8", { fatal: true });
/** Of a Value, the outermost and the innermost counted. */
const levels = limits.payloadDepth + 2;

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
  const { buffer, byteOffset, byteLength } = blob ? blob.data : value;
  if (!blob && byteLength === 0) return undefined;
  const bytes = Buffer.from(buffer, byteOffset, byteLength);
  return decodeSlice(blob?.contentType, bytes, 0, byteLength);
}

/** As `decodeContent`, of bytes inside a frame. `contentType` undefined: they are a Value. */
export function decodeSlice(
  contentType: string | undefined,
  frame: Buffer,
  from: number,
  to: number,
): unknown {
  if (contentType === json || (contentType !== undefined && isJson(contentType))) {
    return JSON.parse(textOf(frame, from, to)) as unknown;
  }
  const data = frame.subarray(from, to);
  if (contentType !== undefined) return { contentType, data };
  return readValue(data, levels);
}

/** Throws on bytes that are no text. */
function textOf(frame: Buffer, from: number, to: number): string {
  const text = frame.toString("utf8", from, to);
  // Cheaper than the decoder, which knows whether such a character was there or stands for damage.
  const doubtful = text.includes("\uFFFD") || text.startsWith("\uFEFF");
  return doubtful ? utf8.decode(frame.subarray(from, to)) : text;
}

function isJson(contentType: string): boolean {
  const type = contentType.split(";", 1)[0]!.trim().toLowerCase();
  return type === json || type.endsWith("+json");
}
