import type { BatchCounts } from "../transport/batch.js";
import type { AnyTasks, TaskMap } from "../transport/task-map.js";
import type { CancelOptions } from "./bulk.js";
import type { CallOptions } from "./calls.js";
import type { Page, PageOptions } from "./pages.js";
import type { TaskTemplate } from "./schedule.js";
import type { SubmitPlan } from "./submitter.js";
import type { NewTask, Receipt, SubmitOptions, SubmitOutcome, WaitOptions } from "./surface.js";

/** A batch as it is to be. */
export interface NewBatch {
  /** For people. */
  description?: string;
  /** Task to be made once it is closed and all its tasks have ended. */
  onComplete?: TaskTemplate;
  /** Task to be made once it is closed and all its tasks are completed. */
  onSuccess?: TaskTemplate;
  /** Task to be made as soon as so many of its tasks failed or expired. */
  onFailure?: TaskTemplate;
  /** With onFailure. Default 1. */
  failureThreshold?: number;
}

export type BatchStatus = "open" | "closed" | "completed";

/** A batch as it stands. */
export interface Batch {
  readonly id: string;
  readonly description: string;
  /** `completed`: it was closed and all its tasks had ended, however they did. */
  readonly status: BatchStatus;
  /** Undefined in lists. */
  readonly counts: BatchCounts | undefined;
  readonly onComplete: Readonly<TaskTemplate> | undefined;
  readonly onSuccess: Readonly<TaskTemplate> | undefined;
  readonly onFailure: Readonly<TaskTemplate> | undefined;
  readonly failureThreshold: number | undefined;
  readonly createdAt: Date | undefined;
  readonly closedAt: Date | undefined;
  readonly completedAt: Date | undefined;
  readonly cancelRequestedAt: Date | undefined;
  readonly cancelReason: string;
  /** Callbacks, once they are made; give them to `wait` and the others. */
  readonly completeTaskId: string | undefined;
  readonly successTaskId: string | undefined;
  readonly failureTaskId: string | undefined;
}

export interface Batches<Tasks extends TaskMap<Tasks> = AnyTasks> {
  /** A new, open batch. A repeat after a lost answer makes no second one. */
  create(wanted?: NewBatch, options?: CallOptions): Promise<BatchHandle<Tasks>>;
  /** Of a batch that stands; nothing is asked yet. */
  handle(id: string): BatchHandle<Tasks>;
  get(id: string, options?: CallOptions): Promise<Batch>;
  /** Newest first, fetched page by page. */
  list(options?: PageOptions): AsyncGenerator<Batch>;
  listPage(options?: PageOptions): Promise<Page<Batch>>;
  /** Nothing joins from now on. */
  close(id: string, options?: CallOptions): Promise<Batch>;
  /** Closes it and cancels all its tasks that have not ended. */
  cancel(id: string, options?: CancelOptions): Promise<Batch>;
  /** Waits until it is complete, over as many long polls as it takes. */
  wait(id: string, options?: WaitOptions): Promise<Batch>;
}

/** One batch, to put tasks into and to ask about. */
export interface BatchHandle<Tasks extends TaskMap<Tasks> = AnyTasks> {
  readonly id: string;
  /** As `client.submit`, into the batch. */
  submit<Type extends keyof Tasks & string>(
    type: Type,
    payload: Tasks[Type]["payload"],
    options?: Omit<SubmitOptions, "batchId">,
  ): Promise<Receipt<Type>>;
  /** As `client.submitMany`, into the batch. */
  submitMany(
    tasks: readonly NewTask<Tasks>[],
    plan?: SubmitPlan,
  ): Promise<SubmitOutcome<keyof Tasks & string>[]>;
  get(options?: CallOptions): Promise<Batch>;
  close(options?: CallOptions): Promise<Batch>;
  cancel(options?: CancelOptions): Promise<Batch>;
  wait(options?: WaitOptions): Promise<Batch>;
}
