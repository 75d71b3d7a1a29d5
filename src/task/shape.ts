import type { Task } from "./task.js";

/*
 * V8 gives all objects that are written out with the same members one shape, which knows of each
 * member what kind of value it holds. A kind that comes later (a fraction or time where small
 * numbers were, a number where there was nothing) makes the shape obsolete; but optimized code that
 * was made before goes on making objects of the obsolete one, and each of them is rebuilt when it
 * is first read: 2 us a task, at every place that makes tasks. So the shape of tasks is told all
 * kinds before the first one is made. Whoever writes out a task has its members in this order.
 */
const ofEach = (value: unknown): Record<keyof Task, unknown> => ({
  id: value,
  namespace: value,
  queue: value,
  type: value,
  priority: value,
  payload: value,
  maxRetries: value,
  retry: value,
  runAt: value,
  timeoutMs: value,
  groupKey: value,
  requiredLabels: value,
  tags: value,
  idempotencyKey: value,
  retentionMs: value,
  traceContext: value,
  durability: value,
  createdAt: value,
  terms: value,
  status: value,
  version: value,
  run: value,
  attempt: value,
  retryCount: value,
  leaseLosses: value,
  releases: value,
  fencingToken: value,
  sessionId: value,
  workerId: value,
  readyAt: value,
  startedAt: value,
  completedAt: value,
  cancelRequestedAt: value,
  result: value,
  error: value,
  progress: value,
  cancellation: value,
  checkpoint: value,
});

/** Kept, because V8 forgets a shape that no object has. */
export const taskShapes: readonly object[] = [undefined, 0.5, "", 1].map(ofEach);
