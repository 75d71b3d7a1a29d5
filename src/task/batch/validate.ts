import { DroverError } from "../../errors.js";
import { limits } from "../../limits.js";
import { checkLength, checkWhole } from "../rules.js";
import { checkDraft } from "../validate.js";
import { batchEvents, type BatchEvent, type BatchSpec } from "./batch.js";

/** Judges what is asked of a batch. Throws a DroverError that names the field. */
export function checkBatch({ description, callbacks, failureThreshold }: BatchSpec): void {
  checkLength("batch.description", description, 0, limits.batchDescriptionLength);
  checkWhole("batch.failure_threshold", failureThreshold, 1, limits.batchThresholdMax);
  for (const event of batchEvents) {
    const draft = callbacks[event];
    if (draft) withinCallback(event, () => checkDraft(draft));
  }
}

/** Rules for tasks name `task.type`; here it is `batch.on_complete.type`. */
export function withinCallback<T>(event: BatchEvent, judge: () => T): T {
  try {
    return judge();
  } catch (error) {
    if (!(error instanceof DroverError) || !error.field?.startsWith("task")) throw error;
    const { id, hint, cause } = error;
    const here = `batch.on_${event}`;
    const message = error.message.replace(/^task\b/, here);
    throw new DroverError(id, message, { field: error.field.replace(/^task/, here), hint, cause });
  }
}
