import { addCount, type Batch } from "../../task/batch/batch.js";
import type { Status, Task } from "../../task/task.js";

/** What is kept of one batch. */
export interface StoredBatch {
  batch: Batch;
  watched: boolean;
  /** Its tasks by status as stored, those that were removed among them. */
  readonly counts: Partial<Record<Status, number>>;
  /** Ids of its tasks that wait for a time, and may read as pending. */
  readonly timed: Set<string>;
  /** How many of its tasks stand. */
  standing: number;
}

/**
 * With every write of a task. One that is removed (`after` undefined) is counted on as it ended.
 */
export function countTask(
  batches: ReadonlyMap<string, StoredBatch>,
  before: Task | undefined,
  after: Task | undefined,
): void {
  const id = (before ?? after)?.terms?.batchId;
  const stored = id === undefined ? undefined : batches.get(id);
  if (!stored) return;
  const { counts, timed } = stored;
  if (!after) {
    stored.standing -= 1;
    return;
  }
  if (before) addCount(counts, before.status, -1);
  else stored.standing += 1;
  addCount(counts, after.status, 1);
  if (after.status === "scheduled" || after.status === "retrying") timed.add(after.id);
  else timed.delete(after.id);
}
