import type { Lane, SessionInfo } from "../../src/broker/broker.js";
import type { Random } from "../../src/clock.js";
import { limits } from "../../src/limits.js";
import { formTaskId, slotOfQueue } from "../../src/task/ids.js";
import { firstStatus } from "../../src/task/status.js";
import type { Task } from "../../src/task/task.js";

export interface TaskFactory {
  /** A whole task as submitted at `now`; a row of a test names only what differs. */
  readonly task: (change?: Partial<Task>) => Task;
}

/** Of tasks of a queue made one behind another, so many are of one millisecond, as in a bulk. */
const perMs = 16;

/** Ids rise with every task, whatever `now` says. */
export function createTaskFactory(random: Random, now: () => number): TaskFactory {
  let made = 0;
  let ms = -1;
  let last = -1;
  return {
    task(change = {}) {
      const namespace = change.namespace ?? "default";
      const queue = change.queue ?? "default";
      const createdAt = change.createdAt ?? now();
      const readyAt = change.readyAt ?? change.runAt;
      const slot = slotOfQueue(namespace, queue);
      if (slot !== last || made === perMs) {
        ms += 1;
        made = 0;
        last = slot;
      }
      const bytes = random.bytes(8);
      bytes[0] = (made << 2) | (bytes[0]! & 3);
      const id = formTaskId(createdAt + ms, slot, bytes);
      made += 1;
      return {
        ...blank,
        id,
        createdAt,
        status: firstStatus(readyAt, createdAt),
        ...change,
        namespace,
        queue,
        readyAt,
      };
    },
  };
}

const blank: Omit<Task, "id" | "createdAt" | "status" | "readyAt"> = Object.freeze({
  namespace: "default",
  queue: "default",
  type: "send_email",
  priority: 1,
  payload: { contentType: "application/json", data: Buffer.from('{"n":1}') },
  maxRetries: limits.maxRetries,
  retry: Object.freeze({
    initialBackoffMs: limits.backoffInitialMs,
    maxBackoffMs: limits.backoffMaxMs,
    multiplier: limits.backoffMultiplier,
    jitter: limits.backoffJitter,
    nonRetryableCodes: [],
    backoff: "exponential",
    delaysMs: [],
  }),
  runAt: undefined,
  timeoutMs: limits.attemptTimeoutMs,
  groupKey: "",
  requiredLabels: Object.freeze({}),
  tags: [],
  idempotencyKey: "",
  retentionMs: limits.retentionMs,
  traceContext: Object.freeze({}),
  terms: undefined,
  durability: "durable",
  version: 1,
  run: 1,
  attempt: 0,
  retryCount: 0,
  leaseLosses: 0,
  releases: 0,
  fencingToken: 0,
  sessionId: "",
  workerId: "",
  startedAt: undefined,
  completedAt: undefined,
  cancelRequestedAt: undefined,
  result: undefined,
  error: undefined,
  progress: undefined,
  cancellation: undefined,
  checkpoint: undefined,
});

export const laneOf = (
  task: Pick<Task, "namespace" | "queue" | "type" | "requiredLabels">,
): Lane => ({
  namespace: task.namespace,
  queue: task.queue,
  type: task.type,
  requiredLabels: task.requiredLabels,
});

export const sessionInfo = (change: Partial<SessionInfo> = {}): SessionInfo => ({
  sessionId: "session-1",
  namespace: "default",
  workerId: "worker-1",
  coordinatorId: "coordinator-1",
  host: "localhost",
  sdk: "drover-ts/0.1.0",
  subscriptions: [{ queue: "default", types: ["send_email"], weight: 1 }],
  labels: {},
  slots: 10,
  running: 0,
  draining: false,
  connectedAt: 0,
  lastHeartbeatAt: 0,
  eventLoopDelayMs: 0,
  cpu: 0,
  ...change,
});
