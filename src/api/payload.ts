import { limits } from "../limits.js";
import type { Payload } from "../task/task.js";
import { decodeValue } from "./value-json.js";

export const isJsonType = (contentType: string): boolean =>
  /^application\/(?:[a-z0-9.+-]+\+)?json\s*(?:;|$)/i.test(contentType);

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The text of a JSON blob as it was sent, or undefined if it is no JSON of at most 64 levels. */
export function jsonText(data: Uint8Array): string | undefined {
  try {
    const text = utf8.decode(data);
    return levels(JSON.parse(text), 0) <= limits.payloadDepth ? text : undefined;
  } catch {
    return undefined;
  }
}

function levels(json: unknown, depth: number): number {
  if (typeof json !== "object" || json === null || depth > limits.payloadDepth) return depth;
  let deepest = depth + 1;
  for (const value of Object.values(json)) {
    deepest = Math.max(deepest, levels(value, depth + 1));
  }
  return deepest;
}

/** The JSON value a payload stands for; undefined if it has none. For `sameSpec`. */
export function decodePayload({ contentType, data }: Payload): unknown {
  if (contentType === "") return decodeValue(data);
  const text = isJsonType(contentType) ? jsonText(data) : undefined;
  return text === undefined ? undefined : (JSON.parse(text) as unknown);
}
