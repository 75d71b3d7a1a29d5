import fc from "fast-check";
import { systemClock, systemRandom } from "../../src/clock.js";
import type { Told } from "../../src/history/history.js";
import type { Attempt, Status, Task } from "../../src/task/task.js";
import { attemptOf } from "../conformance/history-harness.js";
import { createTaskFactory } from "./task-factory.js";

export const factory = createTaskFactory(systemRandom, () => systemClock.now());
export const json = (data: Uint8Array) => ({
  contentType: "application/json",
  data: Buffer.from(data),
});

const names = fc.oneof(
  fc.constantFrom("default", "mail", "a.b-c_d"),
  fc.string({ unit: "binary", maxLength: 40 }),
);
const often = <T>(usual: T, others: fc.Arbitrary<T>): fc.Arbitrary<T> =>
  fc.oneof({ weight: 5, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: others });
const pairs = fc.dictionary(fc.string({ unit: "binary", maxLength: 9 }), names, { maxKeys: 2 });
/** What a task says beside its columns, mostly as nearly all do. */
export const said = {
  maxRetries: often(3, fc.integer({ min: 0, max: 1_000 })),
  retry: often(
    factory.task().retry,
    fc.integer({ min: 1, max: 5_000 }).map((initialBackoffMs) => ({
      ...factory.task().retry,
      initialBackoffMs,
      nonRetryableCodes: ["bad\\\0"],
    })),
  ),
  timeoutMs: often(900_000, fc.integer({ min: 1, max: 2 ** 31 })),
  groupKey: often("", names),
  requiredLabels: often<Record<string, string>>({}, pairs),
  traceContext: often<Record<string, string>>({}, pairs),
};
const times = fc.option(fc.integer({ min: 0, max: 2 ** 45 }), { nil: undefined });
/** Of nearly all kinds that get a row early, and some that must not. */
export const changes = fc.record({
  namespace: names,
  queue: names,
  type: names,
  sessionId: names,
  workerId: names,
  durability: fc.constantFrom("relaxed" as const, "relaxed" as const, "durable" as const),
  priority: fc.constantFrom(0 as const, 1 as const, 2 as const, 3 as const),
  payload: fc.option(fc.uint8Array({ maxLength: 300 }).map(json), { nil: undefined }),
  result: fc.option(fc.uint8Array({ maxLength: 300 }).map(json), { nil: undefined }),
  status: fc.constantFrom<Status>("pending", "scheduled", "completed", "cancelled"),
  version: fc.integer({ min: 1, max: 2 ** 40 }),
  attempt: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
  fencingToken: fc.integer({ min: 1, max: 2 ** 52 }),
  createdAt: fc.integer({ min: 1, max: 2 ** 45 }),
  retentionMs: fc.integer({ min: 0, max: 2 ** 40 }),
  readyAt: times,
  startedAt: times,
  completedAt: times,
  ...said,
  tags: fc.constantFrom<string[]>([], [], [], ["a"]),
  retryCount: fc.constantFrom(0, 0, 0, 1),
});

/** As settling tells of its end, if it completed. */
export const attemptThatTold = (task: Task): Attempt | undefined =>
  task.status !== "completed" || task.startedAt === undefined || task.completedAt === undefined
    ? undefined
    : attemptOf(task, {
        fencingToken: task.fencingToken,
        attempt: task.attempt,
        sessionId: task.sessionId,
        workerId: task.workerId,
        startedAt: task.startedAt,
        endedAt: task.completedAt,
      });

export const toldOf = (task: Task, payloadOmitted = false): Told => ({
  partition: 0,
  outboxId: "1-0",
  outboxPlace: 3,
  task,
  payloadOmitted,
  attempt: attemptThatTold(task),
});

/** Views of a buffer are their bytes. */
export const plain = (task: Task) => ({
  ...task,
  payload: task.payload && {
    ...task.payload,
    data: Buffer.from(task.payload.data).toString("hex"),
  },
  result: task.result && { ...task.result, data: Buffer.from(task.result.data).toString("hex") },
});
