import type { Payload, Task } from "../../task/task.js";
import type { Stretch } from "./bytes.js";
import { at, completedCode, flag, headBytes, runningCode, timeAt } from "./record.js";
import { tailLengths } from "./tail.js";

/**
 * What `unpackTask` would read from the record of a completed task, where the task as it was leased
 * is at hand and nothing but that end has happened since: nothing then has to be read again that
 * cannot have changed, and its payload is there. Undefined: something else has happened as well.
 * `endedAt`: the record is the one before that end, which was then.
 */
export function completedTask(
  leased: Task,
  record: Stretch,
  result: Payload | undefined,
  endedAt: number | undefined,
): Task | undefined {
  const isHere = endedAt === undefined ? isNextOf(leased, record) : isStill(leased, record);
  if (!isHere || !isOfGrant(leased, record) || !hasPlainTail(leased, record)) return undefined;
  return completed(leased, result, endedAt ?? timeAt(record.view, record.from + at.completed));
}

/** The task as it was leased, once it has completed. */
export function completed(
  leased: Task,
  result: Payload | undefined,
  completedAt: number | undefined,
): Task {
  return {
    id: leased.id,
    namespace: leased.namespace,
    queue: leased.queue,
    type: leased.type,
    priority: leased.priority,
    payload: leased.payload,
    maxRetries: leased.maxRetries,
    retry: leased.retry,
    runAt: leased.runAt,
    timeoutMs: leased.timeoutMs,
    groupKey: leased.groupKey,
    requiredLabels: leased.requiredLabels,
    tags: leased.tags,
    idempotencyKey: leased.idempotencyKey,
    retentionMs: leased.retentionMs,
    traceContext: leased.traceContext,
    durability: leased.durability,
    createdAt: leased.createdAt,
    terms: leased.terms,
    status: "completed",
    version: leased.version + 1,
    run: leased.run,
    attempt: leased.attempt,
    retryCount: leased.retryCount,
    leaseLosses: leased.leaseLosses,
    releases: 0,
    fencingToken: leased.fencingToken,
    sessionId: leased.sessionId,
    workerId: leased.workerId,
    readyAt: undefined,
    startedAt: leased.startedAt,
    completedAt,
    cancelRequestedAt: undefined,
    result,
    error: undefined,
    progress: undefined,
    cancellation: undefined,
    checkpoint: undefined,
  };
}

/** Every other change would have raised the version or stands in the tail. */
const isNextOf = (leased: Task, { packed, view, from }: Stretch): boolean =>
  packed[from + at.status] === completedCode &&
  view.getUint32(from + at.version) === leased.version + 1 &&
  view.getUint16(from + at.releases) === 0;

const isStill = (leased: Task, { packed, view, from }: Stretch): boolean =>
  packed[from + at.status] === runningCode && view.getUint32(from + at.version) === leased.version;

const isOfGrant = (leased: Task, { packed, view, from }: Stretch): boolean =>
  (packed[from + at.flags]! & (flag.payloadApart | flag.resultApart)) === 0 &&
  view.getUint32(from + at.attempt) === leased.attempt &&
  view.getFloat64(from + at.token) === leased.fencingToken &&
  view.getUint16(from + at.run) === leased.run &&
  view.getUint16(from + at.retryCount) === leased.retryCount &&
  view.getUint16(from + at.leaseLosses) === leased.leaseLosses &&
  timeAt(view, from + at.started) === leased.startedAt &&
  timeAt(view, from + at.cancel) === undefined &&
  timeAt(view, from + at.ready) === undefined;

/** Session and worker, which are the grant's, and perhaps a result. */
function hasPlainTail({ sessionId, workerId }: Task, { view, from }: Stretch): boolean {
  const tailAt =
    from + headBytes + view.getUint32(from + at.specBytes) + view.getUint16(from + at.payloadBytes);
  const tailBytes = view.getUint32(from + at.tailBytes);
  // Four of the seven parts are empty, and so say only how long they are.
  if (tailBytes < tailLengths) return false;
  const sessionBytes = view.getUint32(tailAt);
  const workerBytes = view.getUint32(tailAt + 4 + sessionBytes);
  // Letters of more bytes than one are left to the way that reads them.
  if (sessionBytes !== sessionId.length || workerBytes !== workerId.length) return false;
  const errorAt = tailAt + 8 + sessionBytes + workerBytes;
  if (view.getUint32(errorAt) !== 0 || view.getUint32(errorAt + 4) !== 0) return false;
  const resultBytes = view.getUint32(errorAt + 8);
  return tailBytes === tailLengths + sessionBytes + workerBytes + resultBytes;
}
