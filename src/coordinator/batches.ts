import type { Batch, BatchCancel, BatchCounts, BatchSpec } from "../task/batch/batch.js";
import type { Page } from "./coordinator.js";

/** What people do with batches. Like the rest of the coordinator, never beyond the namespace. */
export interface Batches {
  /** A repeat of the same request id gives the same batch. */
  create(namespace: string, wanted: BatchSpec, requestId: string): Promise<BatchView>;
  get(namespace: string, id: string): Promise<BatchView>;
  /** Newest first, without counts. */
  list(namespace: string, page: Page): Promise<{ batches: BatchView[]; nextPageToken: string }>;
  close(namespace: string, id: string): Promise<BatchView>;
  /** Closes it; returns once no task of it that waited can start any more. */
  cancel(namespace: string, id: string, how: CancelHow): Promise<BatchView>;
  wait(
    namespace: string,
    id: string,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<{ batch: BatchView; finished: boolean }>;
}

export type CancelHow = Omit<BatchCancel, "requestedAt">;

export interface BatchView extends Batch {
  readonly counts: BatchCounts | undefined;
}

/** Where the loops that mind batches bring them, see maintenance/batch-keeper.ts. */
export interface BatchWork {
  /** Called with the batch of a task that ended. */
  onEnded: (batchId: string) => void;
  /** Calls what is due of these. */
  check(ids: readonly string[]): Promise<void>;
  /**
   * The same of a page of all batches that may have something to come, and cancels on where that
   * was broken off. Returns the id to go on above; "": that was the last page.
   */
  sweep(aboveId: string, limit: number): Promise<string>;
}
