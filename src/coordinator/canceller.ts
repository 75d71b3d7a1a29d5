import type { CancelItem, CancelReply, Transition } from "../broker/broker.js";
import { DroverError } from "../errors.js";
import type { TaskFilter } from "../task/filter.js";
import { refuse } from "../task/rules.js";
import { allStatuses, isFinal, type Status, type Task } from "../task/task.js";
import type { CancelManyOutcome, CancelManyRequest, TaskView } from "./coordinator.js";
import type { Parts } from "./parts.js";
import { notFound, type Reader } from "./reader.js";
import type { Waiters } from "./waiters.js";

/** Tasks of one call of the broker. */
const cancelBatch = 200;

/** Cancels, of tasks that wait and of tasks that run. */
export class Canceller {
  readonly #parts: Parts;
  readonly #reader: Reader;
  readonly #waiters: Waiters;
  /** Called when a running task was asked to stop, so that a local session passes it on at once. */
  onRequested: (task: Task, graceMs: number) => void = () => undefined;
  /** Called when a task was cancelled that waited. */
  onCancelled: (task: Task) => void = () => undefined;

  constructor(parts: Parts, reader: Reader, waiters: Waiters) {
    this.#parts = parts;
    this.#reader = reader;
    this.#waiters = waiters;
  }

  async cancel(item: CancelItem): Promise<TaskView> {
    const [reply] = await this.#parts.broker.cancel([item]);
    return this.#reader.view(await this.#afterCancel(item, reply!));
  }

  /** What one slice of history shows as live; a repeat of the slice does no harm. */
  async cancelMany(namespace: string, request: CancelManyRequest): Promise<CancelManyOutcome> {
    const { limit, pageToken, graceMs, reason } = request;
    const filter = liveFilter(request.filter);
    const query = { ...filter, namespace, pageSize: limit, pageToken };
    const { ids, scanned, nextPageToken } = await this.#parts.history.match(query);
    const counts = { cancelled: 0, requested: 0, ended: 0 };
    for (let at = 0; !request.dryRun && at < ids.length; at += cancelBatch) {
      const items = ids
        .slice(at, at + cancelBatch)
        .map((taskId) => ({ namespace, taskId, graceMs, reason }));
      const replies = await this.#parts.broker.cancel(items);
      const fates = items.map((item, index) => this.#fateOf(item, replies[index]!));
      for (const fate of await Promise.all(fates)) counts[fate] += 1;
    }
    return { matched: ids.length, ...counts, scanned, nextPageToken };
  }

  async #fateOf(
    item: CancelItem,
    reply: CancelReply,
  ): Promise<"cancelled" | "requested" | "ended"> {
    try {
      const { status } = await this.#afterCancel(item, reply);
      if (reply.kind === "final") return "ended";
      return status === "cancelled" ? "cancelled" : "requested";
    } catch (error) {
      const { id } = DroverError.from(error);
      if (id === "task_already_final" || id === "task_not_found") return "ended";
      throw error;
    }
  }

  async #afterCancel(item: CancelItem, reply: CancelReply): Promise<Task> {
    switch (reply.kind) {
      case "cancelled":
        return this.#recordCancel(reply.transition);
      case "requested":
        return this.#requested(item, reply.task, reply.transition);
      case "final":
        return cancelledOr(reply.task);
      case "unknown":
        return this.#cancelStored(item);
    }
  }

  /** OK does not wait for history: the store has it, and pushes it on. */
  #requested(item: CancelItem, task: Task, transition: Transition | undefined): Task {
    this.onRequested(task, item.graceMs);
    if (transition) this.#parts.recorder.keep(transition);
    return task;
  }

  /** P8: OK follows the commit. RELAXED tasks are as safe in the outbox as they ever were. */
  async #recordCancel(transition: Transition): Promise<Task> {
    const { recorder } = this.#parts;
    if (transition.task.durability === "relaxed") recorder.keep(transition);
    else await recorder.record(transition);
    return this.#cancelled(transition.task);
  }

  /**
   * Redis knows nothing of it: committed and not yet enqueued, or ended. The tombstone stands
   * before the row is cancelled, so a late enqueue of this run finds it.
   */
  async #cancelStored(item: CancelItem): Promise<Task> {
    const { namespace, taskId } = item;
    const [before] = await this.#parts.history.get(namespace, [taskId]);
    if (!before) throw notFound(taskId);
    if (before.run > 1 && !isFinal(before.status)) {
      const again = { ...item, run: before.run };
      const [reply] = await this.#parts.broker.cancel([again]);
      if (reply!.kind !== "unknown") return this.#afterCancel(again, reply!);
    }
    const cancelled = await this.#parts.history.cancelLive(namespace, taskId, item.reason);
    if (cancelled) return this.#cancelled(cancelled);
    const [after] = await this.#parts.history.get(namespace, [taskId]);
    return cancelledOr(after ?? before);
  }

  #cancelled(task: Task): Task {
    const { namespace, queue, type, id: taskId, traceContext } = task;
    this.#waiters.changed(taskId);
    this.onCancelled(task);
    this.#parts.events.emit("task.cancelled", { namespace, queue, type, taskId, traceContext });
    return task;
  }
}

/** Never by omission: whoever cancels many names which. */
function liveFilter(filter: TaskFilter): TaskFilter {
  const { statuses = [], ...rest } = filter;
  const ended = statuses.find(isFinal);
  if (ended) refuse("filter.status", "statuses of tasks that have not ended", ended);
  const named = statuses.length > 0 || Object.values(rest).some((value) => value !== undefined);
  if (!named) refuse("filter", "at least one field that says which tasks", "none");
  return statuses.length > 0 ? filter : { ...filter, statuses: liveStatuses };
}

const liveStatuses: readonly Status[] = allStatuses.filter((status) => !isFinal(status));

function cancelledOr(task: Task): Task {
  if (task.status === "cancelled") return task;
  throw new DroverError("task_already_final", `task ${task.id} has ended as ${task.status}`, {
    field: "task_id",
    status: task.status,
  });
}
