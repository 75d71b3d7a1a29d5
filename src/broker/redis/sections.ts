import type { Cancellation, Payload, Progress, TaskError } from "../../task/task.js";
import { Packer, Unpacker } from "./bytes.js";

/* Error, progress and result, as they stand in a record's tail. Empty: there is none. */

const packer = new Packer();
export const noBytes: Buffer = Buffer.alloc(0);

export function packError(error: TaskError | undefined): Buffer {
  if (!error) return noBytes;
  appendError(packer.reset(), error);
  return packer.take();
}

/** Behind what a packer holds already. */
export function appendError(to: Packer, error: TaskError): void {
  to.byte((error.retryable ? 1 : 0) | (error.stack === undefined ? 0 : 2));
  to.text(error.code);
  to.text(error.message);
  if (error.stack !== undefined) to.text(error.stack);
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

/* Each time in 6 bytes, 0 for none; then the reason. Scripts change the times in place. */
export function packCancellation(cancellation: Cancellation | undefined): Buffer {
  if (!cancellation) return noBytes;
  const { deliveredAt, acknowledgedAt, forcedAt } = cancellation;
  packer.reset();
  for (const time of [deliveredAt, acknowledgedAt, forcedAt]) packer.uint48(time ?? 0);
  packer.rawText(cancellation.reason);
  return packer.take();
}

export function unpackCancellation(block: Buffer): Cancellation | undefined {
  if (block.length < 18) return undefined;
  return {
    reason: block.toString("utf8", 18),
    deliveredAt: block.readUIntBE(0, 6) || undefined,
    acknowledgedAt: block.readUIntBE(6, 6) || undefined,
    forcedAt: block.readUIntBE(12, 6) || undefined,
  };
}

export function packResult(result: Payload | undefined): Buffer {
  if (!result) return noBytes;
  appendResult(packer.reset(), result);
  return packer.take();
}

/** Behind what a packer holds already. */
export function appendResult(to: Packer, result: Payload | undefined): void {
  if (!result) return;
  to.text(result.contentType);
  to.raw(result.data);
}

export function unpackResult(block: Buffer | null | undefined): Payload | undefined {
  if (!block || block.length === 0) return undefined;
  const from = new Unpacker(block);
  return { contentType: from.text(), data: from.rest() };
}
