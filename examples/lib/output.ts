import { createHash } from "node:crypto";
import { mkdir, open, rename, rm } from "node:fs/promises";
import * as path from "node:path";
import { permanent, type TaskContext } from "./sdk.js";

export interface Output {
  path: string;
  bytes: number;
  /** Lower-case hex. */
  sha256: string;
}

/**
 * Where handlers put their files: DROVER_OUTPUT_DIR, by default `.drover/output` of the working
 * directory.
 */
export const outputFolder = (): string =>
  path.resolve(process.env["DROVER_OUTPUT_DIR"] ?? path.join(".drover", "output"));

/**
 * Writes the one file of a task, named by its id: the same task run again replaces its own file,
 * and nobody ever sees half of one. Two attempts at once, one of them overtaken, write to files of
 * their own until the rename.
 */
export async function writeOutput(
  folder: string,
  extension: string,
  chunks: AsyncIterable<Uint8Array | string> | Iterable<Uint8Array | string>,
  context: TaskContext,
): Promise<Output> {
  if (!/^[\w-]{1,64}$/.test(context.taskId)) {
    throw permanent("invalid_task_id", "a task id of letters, digits, _ and - was expected");
  }
  const target = path.join(folder, `${context.taskId}.${extension}`);
  const part = `${target}.${context.fencingToken}.part`;
  await mkdir(folder, { recursive: true });
  try {
    const written = await writeAll(part, chunks, context.signal);
    await rename(part, target);
    return { path: target, ...written };
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
}

async function writeAll(
  file: string,
  chunks: AsyncIterable<Uint8Array | string> | Iterable<Uint8Array | string>,
  signal: AbortSignal,
): Promise<Omit<Output, "path">> {
  const hash = createHash("sha256");
  let bytes = 0;
  const handle = await open(file, "w");
  try {
    for await (const chunk of chunks) {
      signal.throwIfAborted();
      const data = typeof chunk === "string" ? Buffer.from(chunk, "utf8") : chunk;
      hash.update(data);
      bytes += data.length;
      await handle.writeFile(data);
    }
    signal.throwIfAborted();
    // The result is about to say that the file is there: it has to be, after a power cut too.
    await handle.sync();
  } finally {
    await handle.close();
  }
  return { bytes, sha256: hash.digest("hex") };
}
