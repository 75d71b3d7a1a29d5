import {
  fromBinary,
  toBinary,
  type DescMessage,
  type DescMethod,
  type Message,
} from "@bufbuild/protobuf";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { elementsMax, withinElements } from "./scan.js";

/** Bytes to messages and back, with the refusals a peer's bytes can earn. */

/**
 * Largest message of a method a peer may send: frames of a stream are smaller, so that one cannot
 * block the others.
 */
export const inputBytesMax = (method: DescMethod): number =>
  method.methodKind === "bidi_streaming" || method.methodKind === "client_streaming"
    ? limits.frameBytes
    : limits.messageBytes;

export function decode(method: DescMethod, bytes: Uint8Array): Message {
  checkSize(method, bytes);
  const message = decodeAs(method.input, bytes);
  refuseLostKeys(method, bytes, message);
  return message;
}

/** Throws if it is too large, or holds more than can be decoded in a bearable time. */
export function checkSize(method: DescMethod, bytes: Uint8Array): void {
  const most = inputBytesMax(method);
  if (bytes.length > most) {
    const message = `${method.name}: expected at most ${most} bytes a message, got ${bytes.length}`;
    throw new DroverError("message_too_large", message);
  }
  if (!withinElements(method.input, bytes)) {
    const message = `${method.name}: expected at most ${elementsMax} fields in a message`;
    throw new DroverError("too_many_items", message);
  }
}

/** A map key `__proto__` on the wire: protobuf-es would drop the entry without a word. */
const lostKey = Buffer.from("\n\t__proto__");

/** Whether a map may have the key; most bytes hold it nowhere. */
export const mayLoseKeys = (bytes: Buffer): boolean => bytes.includes(lostKey);

/** Inside payloads, which stay bytes, the key is a key like any other. */
function refuseLostKeys(method: DescMethod, bytes: Uint8Array, message: Message): void {
  const keys = occurrences(bytes);
  if (keys === 0 || keys === keptKeys(message)) return;
  throw new DroverError("malformed_message", `${method.name}: a map has the key __proto__`, {
    hint: "Name it otherwise: it cannot be carried.",
  });
}

function occurrences(bytes: Uint8Array): number {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let count = 0;
  for (let at = buffer.indexOf(lostKey); at !== -1; at = buffer.indexOf(lostKey, at + 1))
    count += 1;
  return count;
}

function keptKeys(value: unknown): number {
  if (value instanceof Uint8Array) return occurrences(value);
  if (typeof value !== "object" || value === null) return 0;
  return Object.values(value).reduce<number>((sum, it) => sum + keptKeys(it), 0);
}

function decodeAs(desc: DescMessage, bytes: Uint8Array): Message {
  try {
    return fromBinary(desc, bytes);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new DroverError("malformed_message", `no ${desc.typeName}: ${why}`, { cause });
  }
}

export function encode(method: DescMethod, message: Message): Buffer {
  const bytes = toBinary(method.output, message);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
