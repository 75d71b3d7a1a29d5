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
  const most = inputBytesMax(method);
  if (bytes.length > most) {
    const message = `${method.name}: expected at most ${most} bytes a message, got ${bytes.length}`;
    throw new DroverError("message_too_large", message);
  }
  if (!withinElements(method.input, bytes)) {
    const message = `${method.name}: expected at most ${elementsMax} fields in a message`;
    throw new DroverError("too_many_items", message);
  }
  return decodeAs(method.input, bytes);
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
