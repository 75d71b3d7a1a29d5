import { DroverError } from "../errors.js";
import type { BatchBar } from "../history/history.js";
import type { Task } from "../task/task.js";

/** Why a task could not join its batch. */
export function barred({ terms }: Task, why: BatchBar): DroverError {
  const field = "task.batch_id";
  if (why === "unknown") return noBatch(terms?.batchId ?? "", field);
  return new DroverError("batch_not_open", `batch ${terms?.batchId} is ${why}`, { field });
}

export const noBatch = (id: string, field = "batch_id"): DroverError =>
  new DroverError("batch_not_found", `no batch ${id} is kept here`, { field });
