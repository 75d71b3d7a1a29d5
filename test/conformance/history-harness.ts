import type { Transition } from "../../src/broker/broker.js";
import { systemRandom } from "../../src/clock.js";
import type { History, ListQuery } from "../../src/history/history.js";
import { isFinal, type Attempt, type Status, type Task } from "../../src/task/task.js";
import { createTaskFactory } from "../support/task-factory.js";

/** What the suite needs of a store besides the two histories on it. */
export interface HistoryHarness {
  /** Two coordinators on one store. */
  readonly histories: readonly [History, History];
  /** Milliseconds since 1970 by the store. */
  now(): number;
  /** Makes all that is stored this much older. */
  age(ms: number): Promise<void>;
  /** Spoils what is stored besides the plain columns of a task. */
  spoil(taskId: string): Promise<void>;
  stop(): Promise<void>;
}

export type MakeHistory = () => Promise<HistoryHarness>;

let namespaces = 0;

/** Tasks of a namespace nobody else uses. */
export function freshTasks(harness: () => HistoryHarness) {
  namespaces += 1;
  const namespace = `tenant-${namespaces}`;
  const factory = createTaskFactory(systemRandom, () => harness().now());
  return {
    namespace,
    task: (change: Partial<Task> = {}): Task => factory.task({ namespace, ...change }),
    tasks: (count: number, change: Partial<Task> = {}): Task[] =>
      Array.from({ length: count }, () => factory.task({ namespace, ...change })),
    query: (change: Partial<ListQuery> = {}): ListQuery => ({
      namespace,
      pageSize: 50,
      pageToken: "",
      ...change,
    }),
  };
}

/**
 * The task after a change, as a broker tells it: a version on, and without the payload that history
 * has.
 */
export function told(
  task: Task,
  change: Partial<Task>,
  rest: Partial<Pick<Transition, "payloadOmitted" | "attempt">> = {},
): Transition {
  const payloadOmitted = rest.payloadOmitted ?? true;
  const next = { ...task, version: task.version + 1, ...change };
  return {
    partition: 0,
    outboxId: "1-0",
    outboxPlace: 0,
    task: payloadOmitted ? { ...next, payload: undefined } : next,
    payloadOmitted,
    attempt: rest.attempt,
  };
}

export const ended = (
  task: Task,
  status: Status,
  change: Partial<Task> = {},
  rest: Partial<Pick<Transition, "payloadOmitted" | "attempt">> = {},
): Transition =>
  told(
    task,
    { status, version: task.version + 2, fencingToken: 7, completedAt: task.createdAt, ...change },
    rest,
  );

export const attemptOf = (task: Task, change: Partial<Attempt> = {}): Attempt => ({
  taskId: task.id,
  fencingToken: 7,
  attempt: 1,
  run: task.run,
  sessionId: "session-1",
  workerId: "worker-1",
  startedAt: task.createdAt,
  endedAt: task.createdAt + 10,
  outcome: "completed",
  error: undefined,
  ...change,
});

/** Every page of a list. */
export async function allPages(history: History, query: ListQuery): Promise<Task[]> {
  const tasks: Task[] = [];
  let pageToken = "";
  do {
    const page = await history.list({ ...query, pageToken });
    tasks.push(...page.tasks);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return tasks;
}

/** What finalCounts should say, by counting. */
export async function countedFinals(history: History, query: ListQuery) {
  const counts = new Map<string, number>();
  for (const { queue, status } of await allPages(history, query)) {
    if (isFinal(status))
      counts.set(`${queue} ${status}`, (counts.get(`${queue} ${status}`) ?? 0) + 1);
  }
  return Object.fromEntries(counts);
}

export const shownCounts = (counts: readonly { queue: string; status: Status; tasks: number }[]) =>
  Object.fromEntries(counts.map(({ queue, status, tasks }) => [`${queue} ${status}`, tasks]));
