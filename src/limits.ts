/**
 * Every bound of Drover in one place, with the unit last in the name. Start-up asserts the
 * relations between them, so a number changed here cannot silently break a promise that rests on
 * another one.
 */
export const limits = Object.freeze({
  /** A session that is not renewed for this long is dead; its leases are taken back. */
  sessionLeaseMs: 15_000,
  heartbeatMs: 5_000,
  heartbeatJitter: 0.1,
  /** A worker whose heartbeat is unanswered for this long dials again. */
  heartbeatAnswerMs: 3_000,
  /**
   * After a broken stream the session's lease is cut to this, so that a killed worker's tasks move
   * on soon.
   */
  brokenStreamLeaseMs: 5_000,
  /** The SDK aborts its handlers this long after it *sent* the last heartbeat that was renewed. */
  workerAbortMs: 13_500,
  sweepMs: 500,
  /**
   * After a sweep gap this long, a stepped clock or a changed Redis, nothing is reaped for a while.
   */
  sweepGapMs: 2_000,
  reapGraceMs: 15_000,
  timeoutGraceMs: 5_000,
  /**
   * A late promotion of due tasks, a lost wake-up and a lost cancel hint cost at most one sweep.
   */
  redialFirstMs: 250,
  redialMaxMs: 5_000,
  pingIntervalMs: 10_000,
  pingTimeoutMs: 5_000,
  cancelGraceMs: 30_000,
  cancelReasonLength: 1_024,
  attemptTimeoutMs: 900_000,
  heartbeatTimeoutMinMs: 1_000,
  attemptTimeoutMaxMs: 7 * 86_400_000,
  maxRetries: 3,
  maxRetriesMax: 1_000,
  backoffInitialMs: 1_000,
  backoffMaxMs: 600_000,
  backoffMultiplier: 2,
  backoffJitter: 0.2,
  backoffCeilingMs: 30 * 86_400_000,
  /** Delays that a retry policy may list. */
  retryDelays: 100,
  /** The third lease loss of a run ends it FAILED with code `poison`. */
  leaseLossesMax: 3,
  /** From this release in a row on a task waits 1 s, doubling. */
  releasesFree: 2,
  releaseBackoffMs: 1_000,
  releaseBackoffMaxMs: 60_000,
  retentionMs: 7 * 86_400_000,
  retentionMaxMs: 365 * 86_400_000,
  tombstoneMs: 900_000,
  idempotencyKeyMs: 86_400_000,
  /**
   * A submit id's own time is kept only if it is younger than this; the SDK stops retrying before
   * it.
   */
  submitIdAgeMs: 600_000,
  submitRetryMs: 300_000,
  /** Furthest future of run_at and delay. */
  runAtMaxMs: 365 * 86_400_000,
  payloadBytes: 256 * 1024,
  payloadDepth: 64,
  messageBytes: 4 * 1024 * 1024,
  frameBytes: 1024 * 1024,
  submitItems: 1_000,
  nameLength: 128,
  idempotencyKeyLength: 256,
  groupKeyLength: 256,
  labels: 32,
  tags: 32,
  tagLength: 256,
  filterTextLength: 256,
  /** Types of a queue with defaults of their own. */
  queueTypes: 256,
  traceContextLength: 1_024,
  errorMessageLength: 4_096,
  errorStackLength: 16_384,
  pageSize: 50,
  pageSizeMax: 500,
  /** Rows that the search for one page, or one slice of a bulk call, may look at. */
  scanRows: 10_000,
  /** Tasks of one slice of a bulk call. */
  bulkTasks: 1_000,
  /** Ended tasks that begin a new run in one transaction: they come with their payloads. */
  reviveBatch: 100,
  purgeBatch: 500,
  slotsMax: 10_000,
  subscriptionsMax: 256,
  /**
   * So many results of a worker may wait for history, or more of one with many slots: what it ends
   * while its last acks are on their way, at 20,000 a second and 200 ms.
   */
  unackedResultsMin: 4_000,
  unackedResultsPerSlot: 4,
  unackedBytes: 16 * 1024 * 1024,
  outboundBytes: 1024 * 1024,
  outboundFrames: 64,
  outboxEntries: 100_000,
  outboxBytes: 256 * 1024 * 1024,
  /**
   * Transitions a coordinator keeps in memory until Postgres has them; beyond it the outbox is read
   * again.
   */
  unrecordedBytes: 64 * 1024 * 1024,
  /** DURABLE rows per namespace taken while Redis is down. */
  unqueuedRows: 100_000,
  leaseBatch: 200,
  leaseBatchBytes: 1024 * 1024,
  /** Ready tasks past their time that one lease call may find in its way. */
  leaseGhosts: 1_000,
  laneBatch: 64,
  wakeLanes: 128,
  lanesPerQueue: 4_096,
  /** Fewer tasks of one call do not stand together in the store, nor are they leased together. */
  bundleTasks: 8,
  sweepBatch: 200,
  promoteBatch: 1_000,
  outboxIdleMs: 5_000,
  outboxBatch: 500,
  /** Transitions in one transaction; more would keep this process from its streams. */
  recordBatch: 500,
  /** What nobody waits for is gathered so long; the aim is 200 ms until it is in Postgres. */
  recordGatherMs: 100,
  /**
   * So long at most for a task that has not ended, while more than a batch of them wait: about what
   * a Redis that syncs every second may lose as well.
   */
  recordHoldMs: 1_000,
  /** RUNNING is written to history only if it lasts; a short task is one row write. */
  runningRecordDelayMs: 1_000,
  commitMarkerIdleMs: 10_000,
  commitMarkerKeepMs: 120_000,
  restoreBatch: 500,
  restoreStaleMs: 60_000,
  starvationEvery: 16,
  groupStride: 1_000,
  partitionSlots: 4_096,
  waitTaskMs: 60_000,
  /** Changes of a watched task are hinted for this long, unless the watch is renewed. */
  watchMs: 30_000,
  /** Of one attempt. */
  logEntries: 1_000,
  logBytes: 256 * 1024,
  logMessageBytes: 4_096,
  logFieldsBytes: 4_096,
  /** At a coordinator, or unacked at a worker, of all attempts together. */
  logsWaiting: 10_000,
  logBytesWaiting: 8 * 1024 * 1024,
  /** Tasks of one watch. */
  watchTasks: 100,
  watchCursorLength: 16_384,
  /** A watcher that takes no event for so long is closed; its cursor goes on. */
  watchStalledMs: 30_000,
  pendingSubmits: 20_000,
  rebalanceRatio: 1.25,
  drainMs: 25_000,
  storeCommandMs: 2_000,
  schedulesPerNamespace: 10_000,
  scheduleNoteLength: 256,
  cronLength: 256,
  scheduleEveryMinMs: 1_000,
  scheduleEveryMaxMs: 366 * 86_400_000,
  scheduleJitterMaxMs: 86_400_000,
  /**
   * How late a tick is still taken. An hour covers a restart, a failover and most mishaps of a
   * night; a year, as Temporal has it, would bring back a whole holiday's ticks on the day after.
   */
  catchUpMs: 3_600_000,
  catchUpMinMs: 10_000,
  catchUpMaxMs: 365 * 86_400_000,
  /** Ticks of one schedule that may wait for an earlier one's task; Temporal has the same bound. */
  waitingTicks: 1_000,
  waitingLookMs: 1_000,
  waitingLookMaxMs: 15_000,
  /** Ticks of one schedule dealt with in one transaction. */
  ticksAtOnce: 100,
  missedTicksCounted: 1_000,
  schedulesAtOnce: 200,
  /** So long it is remembered which ticks were taken. */
  tickKeepMs: 30 * 86_400_000,
  recentTicks: 10,
  backfillTicks: 1_000,
  previewTicks: 100,
  batchDescriptionLength: 256,
  batchThresholdMax: 1_000_000,
  /** Tasks of batches that ended are gathered so long before their batches are looked at. */
  batchGatherMs: 50,
  batchesAtOnce: 100,
  batchSweep: 500,
  /** A batch that is over is kept so long, and until its tasks are gone. */
  batchKeepMs: 7 * 86_400_000,
});

const relations: readonly [string, boolean][] = [
  ["two heartbeats may be lost", limits.sessionLeaseMs >= 3 * limits.heartbeatMs],
  [
    "a worker aborts before its session can be reaped",
    limits.workerAbortMs < limits.sessionLeaseMs,
  ],
  ["a broken stream shortens a lease", limits.brokenStreamLeaseMs < limits.sessionLeaseMs],
  ["an SDK stops retrying before its tombstone ends", limits.submitRetryMs < limits.tombstoneMs],
  ["a submit id is refused before its tombstone ends", limits.submitIdAgeMs < limits.tombstoneMs],
  ["a re-enqueue is refused before its tombstone ends", limits.restoreStaleMs < limits.tombstoneMs],
  ["one worker's results do not fill the outbox", limits.unackedResultsMin < limits.outboxEntries],
  ["a payload fits a frame", limits.payloadBytes < limits.frameBytes],
  ["a frame fits a message", limits.frameBytes <= limits.messageBytes],
];

for (const [rule, holds] of relations) {
  if (!holds) throw new Error(`limits.ts contradicts itself: ${rule}`);
}
