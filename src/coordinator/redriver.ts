import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import type { TaskDraft } from "../task/draft.js";
import type { TaskFilter } from "../task/filter.js";
import { isFinal, type Payload, type Status, type Task } from "../task/task.js";
import type { BulkOutcome, BulkRequest, Redrive, TaskView } from "./coordinator.js";
import type { Parts } from "./parts.js";
import { notFound, type Reader } from "./reader.js";
import type { Demand } from "./enqueuer.js";
import { laneKey, laneOf } from "./lanes.js";
import { storeTimes } from "./store-times.js";
import type { Submitter } from "./submitter.js";

/** Ended tasks of which one call may begin a new run, or be made anew from. */
const retryable: readonly Status[] = ["failed", "cancelled", "expired"];

/**
 * What becomes of ended tasks when somebody asks: another run, a mended copy, or nothing at all.
 */
export class Redriver {
  readonly #parts: Parts;
  readonly #reader: Reader;
  readonly #submitter: Submitter;
  readonly #demand: Demand;

  constructor(parts: Parts, reader: Reader, submitter: Submitter, demand: Demand) {
    this.#parts = parts;
    this.#reader = reader;
    this.#submitter = submitter;
    this.#demand = demand;
  }

  /** A new run of the same task; with a payload a new task, linked to it. */
  async retry(namespace: string, taskId: string, redrive?: Redrive): Promise<TaskView> {
    const timeOf = await storeTimes(this.#parts.broker, [taskId]);
    const task = await this.#reader.find(namespace, taskId);
    if (!task) throw notFound(taskId);
    if (redrive) return this.#renew(task, redrive);
    if (task.status === "retrying") return this.#reader.view(await this.#skipBackoff(task));
    if (!retryable.includes(task.status)) throw notRetryable(task);
    const { outcomes, marker } = await this.#parts.history.revive(namespace, [taskId]);
    const outcome = outcomes[0]!;
    if (outcome.kind === "unknown") throw notFound(taskId);
    if (outcome.kind !== "revived") throw notRetryable(outcome.task);
    await this.#enqueue([outcome.task], marker, timeOf);
    return this.#reader.view(outcome.task);
  }

  async #skipBackoff(task: Task): Promise<Task> {
    const promoted = await this.#parts.broker.promoteNow(task.id);
    if (!promoted) return task;
    this.#demand.nudge([laneOf(promoted)]);
    return promoted;
  }

  async #renew(task: Task, { payload, requestId }: Redrive): Promise<TaskView> {
    if (!retryable.includes(task.status)) throw notRetryable(task);
    const submission = { draft: draftOf(task, payload), requestId };
    const [outcome] = await this.#submitter.submit(task.namespace, [submission]);
    if (outcome!.kind === "refused") throw outcome!.error;
    return this.#reader.get(task.namespace, outcome!.taskId);
  }

  /**
   * One slice of the dead letters (or of what else ended and may run again) that fit. A repeat of
   * the same page takes only those that are still, or again, as the filter says.
   */
  async retryMany(namespace: string, request: BulkRequest): Promise<BulkOutcome> {
    const filter = retryFilter(request.filter);
    const page = await this.#match(namespace, filter, request);
    let done = 0;
    if (!request.dryRun) {
      const oldestFirst = page.ids.toReversed();
      for (let at = 0; at < oldestFirst.length; at += limits.reviveBatch) {
        done += await this.#revive(namespace, oldestFirst.slice(at, at + limits.reviveBatch));
      }
    }
    return outcomeOf(page, done);
  }

  async #revive(namespace: string, ids: readonly string[]): Promise<number> {
    const timeOf = await storeTimes(this.#parts.broker, ids);
    const { outcomes, marker } = await this.#parts.history.revive(namespace, ids);
    const tasks = outcomes.flatMap((it) => (it.kind === "revived" ? [it.task] : []));
    if (tasks.length > 0) await this.#enqueue(tasks, marker, timeOf);
    return tasks.length;
  }

  /**
   * The marker stands until the broker has them: should this process die, or have stood still for
   * so long that they are refused as too old, another one enqueues them.
   */
  async #enqueue(
    tasks: readonly Task[],
    marker: string | undefined,
    timeOf: (taskId: string) => number,
  ): Promise<void> {
    const { outcomes } = await this.#parts.broker.enqueue(
      tasks.map((task) => ({ task, origin: "restore" as const, asOf: timeOf(task.id) })),
    );
    const refused = outcomes.some(({ kind }) => kind === "too_old" || kind === "outbox_full");
    if (marker && !refused) await this.#parts.history.clearMarkers([marker]).catch(() => undefined);
    const lanes = new Map(tasks.map((task) => [laneKey(laneOf(task)), laneOf(task)]));
    this.#demand.nudge([...lanes.values()]);
  }

  /** One slice of the ended tasks that fit: they go, with their attempts, before their time. */
  async purgeMany(namespace: string, request: BulkRequest): Promise<BulkOutcome> {
    const page = await this.#match(namespace, purgeFilter(request.filter), request);
    let done = 0;
    for (let at = 0; !request.dryRun && at < page.ids.length; at += limits.purgeBatch) {
      const ids = page.ids.slice(at, at + limits.purgeBatch);
      done += await this.#parts.history.purge(namespace, ids);
    }
    return outcomeOf(page, done);
  }

  #match(namespace: string, filter: TaskFilter, { limit, pageToken }: BulkRequest) {
    return this.#parts.history.match({ ...filter, namespace, pageSize: limit, pageToken });
  }
}

const outcomeOf = (
  page: { readonly ids: readonly string[]; scanned: number; nextPageToken: string },
  done: number,
): BulkOutcome => ({
  matched: page.ids.length,
  done,
  scanned: page.scanned,
  nextPageToken: page.nextPageToken,
});

/** Dead letters, unless other statuses are named. */
function retryFilter(filter: TaskFilter): TaskFilter {
  const { statuses = [] } = filter;
  const other = statuses.find((status) => !retryable.includes(status));
  if (other) throw wrongStatus("failed, cancelled or expired", other);
  return statuses.length > 0 ? filter : { ...filter, statuses: ["failed"] };
}

/** Never by omission: whoever purges names what. */
function purgeFilter(filter: TaskFilter): TaskFilter {
  const { statuses = [] } = filter;
  const live = statuses.find((status) => !isFinal(status));
  if (live || statuses.length === 0) {
    throw wrongStatus("completed, failed, cancelled or expired", live ?? "none");
  }
  return filter;
}

const wrongStatus = (expected: string, came: string): DroverError =>
  new DroverError("invalid_field", `filter.status: expected ${expected}, got ${came}`, {
    field: "filter.status",
  });

/**
 * The same request again with another payload. What belonged to its time (run_at, expire_at,
 * deadline, schedule), to its batch or to its submission (idempotency key) stays with the old one.
 */
function draftOf(task: Task, payload: Payload | undefined): TaskDraft {
  return {
    type: task.type,
    queue: task.queue,
    priority: task.priority,
    payload,
    maxRetries: task.maxRetries,
    retry: task.retry,
    runAt: undefined,
    delayMs: undefined,
    timeoutMs: task.timeoutMs,
    groupKey: task.groupKey,
    requiredLabels: task.requiredLabels,
    tags: task.tags,
    idempotencyKey: "",
    retentionMs: task.retentionMs,
    traceContext: task.traceContext,
    terms: {
      unique: task.terms?.unique,
      heartbeatTimeoutMs: task.terms?.heartbeatTimeoutMs,
      redrivenFrom: task.id,
    },
  };
}

function notRetryable(task: Task): DroverError {
  return new DroverError("task_not_retryable", `task ${task.id} is ${task.status}`, {
    field: "task_id",
    status: task.status,
  });
}
