import type {
  Batch,
  BatchCancel,
  BatchCounts,
  BatchEvent,
  BatchFacts,
  BatchSpec,
} from "../task/batch/batch.js";
import type { Task } from "../task/task.js";

/**
 * Batches, a part of history:
 *
 * - H8 A task joins a batch in the transaction that inserts it, and only while the batch is open:
 *      once `close` has returned, whoever inserts late is refused. A callback is called once: its
 *      task, a commit marker and the note that it was called commit together, decided under a lock
 *      on the batch's row. Counts are read from the tasks, never kept beside them; only those whose
 *      rows are removed are counted on, in the transaction that removes them.
 *
 * Times are by the store's clock.
 */
export interface BatchHistory {
  /** With an id that stands already, the batch that has it, whatever is asked now. */
  create(batch: NewBatch): Promise<{ batch: Batch; existing: boolean }>;
  get(namespace: string, id: string): Promise<Batch | undefined>;
  counts(id: string): Promise<BatchCounts>;
  /** Newest first, below the id given; callbacks come without their payloads. */
  list(namespace: string, belowId: string, limit: number): Promise<Batch[]>;
  /** Changes nothing once it is closed. Undefined: unknown. */
  close(namespace: string, id: string): Promise<Batch | undefined>;
  /** Closes it as well. Changes nothing once it is cancelled or completed. Undefined: unknown. */
  cancel(
    namespace: string,
    id: string,
    how: Omit<BatchCancel, "requestedAt">,
  ): Promise<Batch | undefined>;

  /** How they stand, without a lock; those that are unknown are left out. */
  look(ids: readonly string[]): Promise<BatchLook[]>;
  /**
   * Calls the callbacks that are due of those whose tasks are given, notes that the batch is over
   * if it is, and no longer watches it then.
   */
  call(id: string, tasks: BatchTasks): Promise<CallReply>;
  /** Ids of batches that may have something to come, above the id given ("": all). */
  watched(aboveId: string, limit: number): Promise<string[]>;
  /** Removes batches that are over for so long and have no task left; returns how many. */
  prune(olderThanMs: number, limit: number): Promise<number>;
}

export type NewBatch = BatchSpec & Pick<Batch, "id" | "namespace">;

export interface BatchLook {
  readonly batch: Batch;
  readonly facts: BatchFacts;
  /** It is, or will be, looked at again. */
  readonly watched: boolean;
}

export type BatchTasks = Readonly<Partial<Record<BatchEvent, Task>>>;

export interface CallReply {
  /** Those that were called now. */
  readonly called: readonly { readonly event: BatchEvent; readonly task: Task }[];
  /** Of their rows. */
  readonly marker: string | undefined;
  /** It was noted now that the batch is over. */
  readonly completed: boolean;
}

/** Why a task could not join. */
export type BatchBar = "unknown" | "closed" | "cancelled";
