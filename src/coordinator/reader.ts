import type { SessionInfo } from "../broker/broker.js";
import { DroverError } from "../errors.js";
import type { ListQuery } from "../history/history.js";
import { partitionOfSlot, slotOfId } from "../task/ids.js";
import type { LogEntry } from "../task/log.js";
import { type Attempt, isFinal, type Task } from "../task/task.js";
import type { Page, PendingReason, TaskView, TaskViewPage } from "./coordinator.js";
import { decodePageToken, encodePageToken } from "./page.js";
import type { Parts } from "./parts.js";
import type { QueueBook } from "./queue-book.js";
import type { TaskLoader } from "./task-loader.js";
import type { Waiters } from "./waiters.js";

/** How long a look at sessions and partitions serves for telling why a task waits. */
const freshMs = 1_000;

/** What people see of tasks: Redis first, then the Postgres primary. */
export class Reader {
  readonly #parts: Parts;
  readonly #queues: QueueBook;
  readonly #waiters: Waiters;
  readonly #loader: TaskLoader;
  #sessions: { at: number; found: SessionInfo[] | undefined } | undefined;
  readonly #partitions = new Map<number, { at: number; cold: boolean }>();

  constructor(parts: Parts, queues: QueueBook, waiters: Waiters, loader: TaskLoader) {
    this.#parts = parts;
    this.#queues = queues;
    this.#waiters = waiters;
    this.#loader = loader;
  }

  async get(namespace: string, taskId: string): Promise<TaskView> {
    const task = await this.find(namespace, taskId);
    if (!task) throw notFound(taskId);
    return this.view(task);
  }

  /** The task as it may be shown: a final status only once it can no longer be lost (P13). */
  async find(namespace: string, taskId: string): Promise<Task | undefined> {
    const task = await this.#loader.load(taskId);
    return task?.namespace === namespace ? task : undefined;
  }

  async view(task: Task): Promise<TaskView> {
    return { ...task, pendingReason: await this.#pendingReason(task) };
  }

  async list(query: ListQuery): Promise<TaskViewPage> {
    const { tasks, ...rest } = await this.#parts.history.list(query);
    return { tasks: await Promise.all(tasks.map((task) => this.view(task))), ...rest };
  }

  async attempts(namespace: string, taskId: string): Promise<Attempt[]> {
    const attempts = await this.#parts.history.attempts(namespace, taskId);
    if (attempts.length === 0 && !(await this.find(namespace, taskId))) throw notFound(taskId);
    return attempts;
  }

  async logs(
    namespace: string,
    taskId: string,
    attempt: number | undefined,
    { pageSize, pageToken }: Page,
  ): Promise<{ entries: LogEntry[]; nextPageToken: string }> {
    const list = `logs ${taskId}`;
    const [fencingToken = 0, sequence = 0] = decodePageToken(list, pageToken, /^\d{1,16} \d{1,16}$/)
      .split(" ")
      .map((it) => Number(it) || 0);
    if (!(await this.find(namespace, taskId))) throw notFound(taskId);
    const after = { fencingToken, sequence };
    const limit = pageSize + 1;
    const found = await this.#parts.history.logs({ taskId, after, attempt, limit });
    const entries = found.slice(0, pageSize);
    const last = entries.at(-1);
    const more = last !== undefined && found.length > pageSize;
    const end = more ? encodePageToken(list, `${last.fencingToken} ${last.sequence}`) : "";
    return { entries, nextPageToken: end };
  }

  async wait(
    namespace: string,
    taskId: string,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<{ task: TaskView; finished: boolean }> {
    const done = await this.#waiters.until(taskId, timeoutMs, signal, async () => {
      const task = await this.get(namespace, taskId);
      return isFinal(task.status) ? task : undefined;
    });
    return done
      ? { task: done, finished: true }
      : { task: await this.get(namespace, taskId), finished: false };
  }

  async workers(
    namespace: string,
    page: Page,
  ): Promise<{ workers: SessionInfo[]; nextPageToken: string }> {
    const after = decodePageToken("workers", page.pageToken);
    const found = (await this.#parts.broker.listSessions())
      .filter((session) => session.namespace === namespace)
      .map((session) => ({ session, key: `${session.workerId} ${session.sessionId}` }))
      .filter(({ key }) => key > after)
      .sort((a, b) => (a.key < b.key ? -1 : 1));
    const shown = found.slice(0, page.pageSize);
    const last = shown.at(-1);
    return {
      workers: shown.map(({ session }) => session),
      nextPageToken:
        found.length > shown.length && last ? encodePageToken("workers", last.key) : "",
    };
  }

  async #pendingReason(task: Task): Promise<PendingReason | undefined> {
    if (task.status !== "pending") return undefined;
    const settings = await this.#queues.settings(task.namespace, task.queue).catch(() => undefined);
    if (settings?.paused) return "paused";
    if (await this.#isCold(partitionOfSlot(slotOfId(task.id), this.#parts.broker.partitions))) {
      return "cold";
    }
    const sessions = await this.#connected();
    if (!sessions) return undefined;
    const able = sessions.filter((session) => canRun(session, task));
    if (able.length === 0) return "no_worker";
    return able.every((session) => session.running >= session.slots) ? "no_slot" : undefined;
  }

  /** Nothing is leased from the partition: it is being rebuilt, or its store is away. */
  async #isCold(partition: number): Promise<boolean> {
    const { broker, clock } = this.#parts;
    if (!broker.serves(partition)) return true;
    const now = clock.monotonic();
    const known = this.#partitions.get(partition);
    if (known && now - known.at < freshMs) return known.cold;
    const cold = await broker.status(partition).then(
      (status) => status.cold,
      () => true,
    );
    this.#partitions.set(partition, { at: now, cold });
    return cold;
  }

  /** Undefined: the broker does not say. */
  async #connected(): Promise<SessionInfo[] | undefined> {
    const now = this.#parts.clock.monotonic();
    if (this.#sessions && now - this.#sessions.at < freshMs) return this.#sessions.found;
    const found = await this.#parts.broker.listSessions().catch(() => undefined);
    this.#sessions = { at: now, found };
    return found;
  }
}

export const notFound = (taskId: string): DroverError =>
  new DroverError("task_not_found", `no task ${taskId} is kept here`, { field: "task_id" });

function canRun(session: SessionInfo, task: Task): boolean {
  if (session.namespace !== task.namespace || session.draining) return false;
  const subscribed = session.subscriptions.some(
    (subscription) => subscription.queue === task.queue && subscription.types.includes(task.type),
  );
  return subscribed && carries(session.labels, task.requiredLabels);
}

/** Whether a worker's labels satisfy what a task requires. */
export function carries(
  labels: Readonly<Record<string, string>>,
  required: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(required).every(
    ([name, value]) => Object.hasOwn(labels, name) && labels[name] === value,
  );
}
