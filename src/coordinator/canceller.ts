import type { CancelItem, CancelReply, Transition } from "../broker/broker.js";
import { DroverError } from "../errors.js";
import { isFinal, type Task } from "../task/task.js";
import type { TaskView } from "./coordinator.js";
import type { Demand } from "./submitter.js";
import { laneOf } from "./submitter.js";
import type { Parts } from "./parts.js";
import { notFound, type Reader } from "./reader.js";
import type { Waiters } from "./waiters.js";

/** What clients change about a task after submission: cancel and retry. */
export class Canceller {
  readonly #parts: Parts;
  readonly #reader: Reader;
  readonly #waiters: Waiters;
  readonly #demand: Demand;
  /** Called when a running task was asked to stop, so that a local session passes it on at once. */
  onRequested: (task: Task, graceMs: number) => void = () => undefined;

  constructor(parts: Parts, reader: Reader, waiters: Waiters, demand: Demand) {
    this.#parts = parts;
    this.#reader = reader;
    this.#waiters = waiters;
    this.#demand = demand;
  }

  async cancel(item: CancelItem): Promise<TaskView> {
    const [reply] = await this.#parts.broker.cancel([item]);
    return this.#reader.view(await this.#afterCancel(item, reply!));
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
    if (transition) void this.#parts.recorder.record(transition).catch(() => undefined);
    return task;
  }

  /** P8: OK follows the commit. RELAXED tasks are as safe in the outbox as they ever were. */
  async #recordCancel(transition: Transition): Promise<Task> {
    const recorded = this.#parts.recorder.record(transition);
    if (transition.task.durability === "relaxed") recorded.catch(() => undefined);
    else await recorded;
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
    this.#parts.events.emit("task.cancelled", { namespace, queue, type, taskId, traceContext });
    return task;
  }

  async retry(namespace: string, taskId: string): Promise<TaskView> {
    const asOf = await this.#parts.broker.now();
    const task = await this.#reader.find(namespace, taskId);
    if (!task) throw notFound(taskId);
    if (task.status === "retrying") return this.#reader.view(await this.#skipBackoff(task));
    if (!isFinal(task.status) || task.status === "completed") throw notRetryable(task);
    const outcome = await this.#parts.history.revive(namespace, taskId);
    if (outcome.kind === "unknown") throw notFound(taskId);
    if (outcome.kind !== "revived") throw notRetryable(outcome.task);
    await this.#parts.broker.enqueue([{ task: outcome.task, origin: "restore", asOf }]);
    await this.#parts.history.clearMarkers([outcome.marker]).catch(() => undefined);
    this.#demand.nudge([laneOf(outcome.task)]);
    return this.#reader.view(outcome.task);
  }

  async #skipBackoff(task: Task): Promise<Task> {
    const promoted = await this.#parts.broker.promoteNow(task.id);
    if (!promoted) return task;
    this.#demand.nudge([laneOf(promoted)]);
    return promoted;
  }
}

function cancelledOr(task: Task): Task {
  if (task.status === "cancelled") return task;
  throw new DroverError("task_already_final", `task ${task.id} has ended as ${task.status}`, {
    field: "task_id",
    status: task.status,
  });
}

function notRetryable(task: Task): DroverError {
  return new DroverError("task_not_retryable", `task ${task.id} is ${task.status}`, {
    field: "task_id",
    status: task.status,
  });
}
