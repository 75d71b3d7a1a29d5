import type { IncomingMessage } from "node:http";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";

/**
 * What is still read, and thrown away, of a body that is too large, so that its sender gets to see
 * the answer.
 */
const drainedBytes = 16 * 1024 * 1024;

/** At most 4 MiB; message_too_large beyond. */
export function readBody(request: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const refuse = () => {
      chunks.length = 0;
      const message = `expected a body of at most ${limits.messageBytes} bytes, got more`;
      reject(new DroverError("message_too_large", message));
    };
    if (Number(request.headers["content-length"] ?? 0) > limits.messageBytes) refuse();
    request.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= limits.messageBytes) chunks.push(chunk);
      else if (bytes <= limits.messageBytes + drainedBytes) refuse();
      else request.destroy();
    });
    request.once("end", () => resolve(Buffer.concat(chunks)));
    request.once("error", reject);
    // Breaks that come without an error would leave the caller waiting.
    request.once("close", () => reject(new DroverError("malformed_message", "the body broke off")));
  });
}
