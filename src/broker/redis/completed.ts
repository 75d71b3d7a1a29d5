import type { Payload, Task } from "../../task/task.js";
import { at, completedCode, flag, headBytes, runningCode } from "./record.js";

/** Four of the seven parts of a tail are empty, and so say only how long they are. */
const tailLengths = 7 * 4;

/**
 * What `unpackTask` would read from the record of a completed task, where the task as it was leased
 * is at hand and nothing but that end has happened since: nothing then has to be read again that
 * cannot have changed, and its payload is there. Undefined: something else has happened as well.
 * `endedAt`: the record is the one before that end, which was then.
 */
export function completedTask(
  leased: Task,
  record: Buffer,
  result: Payload | undefined,
  endedAt: number | undefined,
): Task | undefined {
  const isHere = endedAt === undefined ? isNextOf(leased, record) : isStill(leased, record);
  if (!isHere || !isOfGrant(leased, record) || !hasPlainTail(leased, record)) return undefined;
  return {
    id: leased.id,
    namespace: leased.namespace,
    queue: leased.queue,
    type: leased.type,
    priority: record[at.priority] as Task["priority"],
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
    completedAt: endedAt ?? record.readUIntBE(at.completed, 6),
    cancelRequestedAt: undefined,
    result,
    error: undefined,
    progress: undefined,
    cancellation: undefined,
    checkpoint: undefined,
  };
}

/** Every other change would have raised the version or stands in the tail. */
const isNextOf = (leased: Task, record: Buffer): boolean =>
  record[at.status] === completedCode &&
  record.readUInt32BE(at.version) === leased.version + 1 &&
  record.readUInt16BE(at.releases) === 0;

const isStill = (leased: Task, record: Buffer): boolean =>
  record[at.status] === runningCode && record.readUInt32BE(at.version) === leased.version;

const isOfGrant = (leased: Task, record: Buffer): boolean =>
  (record[at.flags]! & (flag.payloadApart | flag.resultApart)) === 0 &&
  record.readUInt32BE(at.attempt) === leased.attempt &&
  record.readDoubleBE(at.token) === leased.fencingToken &&
  record.readUInt16BE(at.run) === leased.run &&
  record.readUInt16BE(at.retryCount) === leased.retryCount &&
  record.readUInt16BE(at.leaseLosses) === leased.leaseLosses &&
  record.readUIntBE(at.started, 6) === leased.startedAt &&
  record.readUIntBE(at.cancel, 6) === 0 &&
  record.readUIntBE(at.ready, 6) === 0;

/** Session and worker, which are the grant's, and perhaps a result. */
function hasPlainTail({ sessionId, workerId }: Task, record: Buffer): boolean {
  const tailAt =
    headBytes + record.readUInt32BE(at.specBytes) + record.readUInt16BE(at.payloadBytes);
  const tailBytes = record.readUInt32BE(at.tailBytes);
  if (tailBytes < tailLengths) return false;
  const sessionBytes = record.readUInt32BE(tailAt);
  const workerBytes = record.readUInt32BE(tailAt + 4 + sessionBytes);
  // Letters of more bytes than one are left to the way that reads them.
  if (sessionBytes !== sessionId.length || workerBytes !== workerId.length) return false;
  const errorAt = tailAt + 8 + sessionBytes + workerBytes;
  const noTrouble = record.readUInt32BE(errorAt) === 0 && record.readUInt32BE(errorAt + 4) === 0;
  if (!noTrouble) return false;
  const resultBytes = record.readUInt32BE(errorAt + 8);
  return tailBytes === tailLengths + sessionBytes + workerBytes + resultBytes;
}
