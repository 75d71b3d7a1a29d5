import { DroverError } from "../errors.js";
import type { BatchLook, BatchTasks } from "../history/history.js";
import { type Batch, type BatchEvent, dueEvents, isOver } from "../task/batch/batch.js";
import type { Task } from "../task/task.js";
import type { BatchWork } from "./batches.js";
import type { Canceller } from "./canceller.js";
import type { Parts } from "./parts.js";
import type { Submitter } from "./submitter.js";
import type { TaskMaker } from "./task-maker.js";

export interface BatchDeskParts {
  readonly tasks: TaskMaker;
  readonly submitter: Submitter;
  readonly canceller: Canceller;
}

/** Tasks cancelled at a time. */
const cancelSlice = 1_000;

/**
 * Calls callbacks. Leaderless: every coordinator checks what it hears of, and the lock of the
 * batch's row lets one call. What nobody heard of, as its coordinator died, sweeps find.
 */
export class BatchDesk implements BatchWork {
  onEnded: (batchId: string) => void = () => undefined;
  /** Called when a batch was seen to be over. */
  onCompleted: (batchId: string) => void = () => undefined;
  readonly #parts: Parts;
  readonly #own: BatchDeskParts;

  constructor(parts: Parts, own: BatchDeskParts) {
    this.#parts = parts;
    this.#own = own;
  }

  /** A task ended, and history knows. */
  ended({ terms }: Task): void {
    if (terms?.batchId !== undefined) this.onEnded(terms.batchId);
  }

  async check(ids: readonly string[]): Promise<void> {
    const looks = await this.#parts.history.batches.look(ids);
    await this.#each(looks, (look) => this.#settle(look));
  }

  async sweep(aboveId: string, limit: number): Promise<string> {
    const { broker, history } = this.#parts;
    const { batches } = history;
    const ids = await batches.watched(aboveId, limit);
    const looks = ids.length > 0 ? await batches.look(ids) : [];
    await this.#each(looks, async (look) => {
      if (isCancelling(look) && broker.available) await this.cancelTasks(look.batch);
      await this.#settle(look);
    });
    return ids.length < limit ? "" : ids.at(-1)!;
  }

  /** A repeat does no harm. */
  async cancelTasks({ id, namespace, cancelled }: Batch): Promise<void> {
    if (!cancelled) return;
    const { graceMs, reason } = cancelled;
    let pageToken = "";
    do {
      const slice = { filter: { batchId: id }, limit: cancelSlice, dryRun: false, pageToken };
      const request = { ...slice, graceMs, reason };
      pageToken = (await this.#own.canceller.cancelMany(namespace, request)).nextPageToken;
    } while (pageToken !== "");
  }

  /** What one of them cannot do must not stop the others; a sweep tries again. */
  async #each(looks: readonly BatchLook[], act: (look: BatchLook) => Promise<void>): Promise<void> {
    for (const look of looks) {
      try {
        await act(look);
      } catch (error) {
        if (DroverError.from(error).id === "history_unavailable") throw error;
        this.#parts.events.emit("loop.failed", { loop: "batches", error });
      }
    }
  }

  async #settle({ batch, facts, watched }: BatchLook): Promise<void> {
    const due = dueEvents(batch, facts);
    if (due.length === 0 && !(watched && isOver(batch, facts))) return;
    const tasks = await this.#tasksOf(batch, due);
    const { called, marker, completed } = await this.#parts.history.batches.call(batch.id, tasks);
    const born = called.map(({ task }) => task);
    this.#own.submitter.enqueueTaken(born, marker);
    const { id: batchId, namespace } = batch;
    for (const { event, task } of called) {
      this.#parts.events.emit("batch.called", { namespace, batchId, event, taskId: task.id });
    }
    if (completed) this.onCompleted(batchId);
  }

  /**
   * Made before it is decided whether they are needed: nothing is asked while the row is locked.
   */
  async #tasksOf({ id, namespace }: Batch, due: readonly BatchEvent[]): Promise<BatchTasks> {
    const tasks: Partial<Record<BatchEvent, Task>> = {};
    if (due.length === 0) return tasks;
    const { batches } = this.#parts.history;
    const [whole, counts] = await Promise.all([batches.get(namespace, id), batches.counts(id)]);
    for (const event of due) {
      const draft = whole?.callbacks[event];
      const batchCallback = { batchId: id, event, counts };
      if (draft) tasks[event] = await this.#own.tasks.make(namespace, draft, { batchCallback });
    }
    return tasks;
  }
}

/** Until it is over: what is retried later is meant to run. */
const isCancelling = ({ batch, facts }: BatchLook): boolean =>
  facts.live && batch.cancelled !== undefined && batch.completedAt === undefined;
