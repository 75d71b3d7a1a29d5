import type { Payload, Progress, TaskError } from "../../task/task.js";
import { Packer, Unpacker } from "./bytes.js";

/* Error, progress and result, as they stand in a record's tail. Empty: there is none. */

const packer = new Packer();
export const noBytes: Buffer = Buffer.alloc(0);

export function packError(error: TaskError | undefined): Buffer {
  if (!error) return noBytes;
  packer.reset().byte((error.retryable ? 1 : 0) | (error.stack === undefined ? 0 : 2));
  packer.text(error.code);
  packer.text(error.message);
  if (error.stack !== undefined) packer.text(error.stack);
  return packer.take();
}

export function unpackError(block: Buffer): TaskError | undefined {
  if (block.length === 0) return undefined;
  const from = new Unpacker(block);
  const flags = from.byte();
  const code = from.text();
  const message = from.text();
  const retryable = (flags & 1) !== 0;
  if ((flags & 2) === 0) return { code, message, retryable };
  return { code, message, stack: from.text(), retryable };
}

export function packProgress(progress: Progress | undefined): Buffer {
  if (!progress) return noBytes;
  packer.reset().double(progress.fraction);
  packer.text(progress.message);
  return packer.take();
}

export function unpackProgress(block: Buffer): Progress | undefined {
  if (block.length === 0) return undefined;
  const from = new Unpacker(block);
  return { fraction: from.double(), message: from.text() };
}

export function packResult(result: Payload | undefined): Buffer {
  if (!result) return noBytes;
  packer.reset().text(result.contentType);
  packer.raw(result.data);
  return packer.take();
}

export function unpackResult(block: Buffer): Payload | undefined {
  if (block.length === 0) return undefined;
  const from = new Unpacker(block);
  return { contentType: from.text(), data: from.rest() };
}
