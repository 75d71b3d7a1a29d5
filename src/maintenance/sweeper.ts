import type {
  Broker,
  Lease,
  OverdueLease,
  Settlement,
  SettleReply,
  SweepReply,
} from "../broker/broker.js";
import type { Clock, Random } from "../clock.js";
import type { SettleDesk } from "../coordinator/settle-desk.js";
import { limits } from "../limits.js";
import { createLoop, type Loop } from "../service.js";
import { afterFailure, afterLoss, afterRelease } from "../task/retry.js";
import type { Task, TaskError } from "../task/task.js";
import type { OverdueCause } from "../task/times.js";
import type { Events } from "../telemetry/events.js";

export interface SweeperOptions {
  readonly partition: number;
  readonly broker: Broker;
  readonly desk: SettleDesk;
  readonly events: Events;
  readonly clock: Clock;
  readonly random: Random;
  /** Told of the oldest outbox entry after each sweep: somebody may have left it. */
  onOutbox(partition: number, oldestMs: number): void;
}

/** The store may be polled this often at most, however soon the next delayed task is due. */
const soonestMs = 5;
/**
 * A sweeper that pauses longer than limits.sweepGapMs would make every sweep after a failure a
 * cautious one.
 */
const failurePauseMs = 1_000;

/**
 * Ends what must end by time alone, in one partition: leases of dead sessions, attempts over their
 * timeout, cancels over their grace; and promotes what is due. Any number of coordinators may do it
 * at once: the token decides, so one wins.
 */
export function createSweeper(options: SweeperOptions): Loop {
  const { broker, partition, clock, events } = options;
  let outboxSeen = 0;
  return createLoop({
    name: `sweeper-${partition}`,
    clock,
    everyMs: limits.sweepMs,
    failureMaxMs: failurePauseMs,
    onError: (error, loop) => events.emit("loop.failed", { loop, error }),
    async run() {
      if (!broker.serves(partition)) return undefined;
      const sweep = await broker.sweep(partition);
      if (sweep.outboxEntries > 0 || outboxSeen > 0) {
        const { outboxEntries: entries, oldestOutboxMs: oldestMs } = sweep;
        events.emit("outbox.seen", { partition, entries, oldestMs });
      }
      outboxSeen = sweep.outboxEntries;
      if (sweep.outboxEntries > 0) options.onOutbox(partition, sweep.oldestOutboxMs);
      options.desk.ended(sweep.ended);
      const ended = await settleOffered(options, sweep);
      return pauseAfter(sweep, ended);
    },
  });
}

/** Returns how many leases it ended. */
async function settleOffered(options: SweeperOptions, sweep: SweepReply): Promise<number> {
  const { desk, events } = options;
  const chance = () => options.random.next();
  const lost = sweep.lost.map((lease) => lossOf(lease, chance));
  const settlements = [
    ...lost,
    ...sweep.left.map(releaseOf),
    ...sweep.timedOut.map((lease) => timeoutOf(lease, chance)),
    ...sweep.cancelOverdue.map((lease): Settlement => ({ ...own(lease), kind: "cancel" })),
  ];
  if (settlements.length === 0) return 0;
  const replies = await desk.settle(settlements);
  for (const [sessionId, leases] of acceptedBySession(sweep.lost, replies)) {
    events.emit("session.lost", { sessionId, leases });
  }
  return replies.filter((reply) => reply.verdict === "accepted").length;
}

/**
 * A full slice means there is more; one that another sweeper settled first does not hurry this one.
 */
function pauseAfter(sweep: SweepReply, ended: number): number {
  const offered = [sweep.lost, sweep.left, sweep.timedOut, sweep.cancelOverdue];
  const full = offered.some((leases) => leases.length >= limits.sweepBatch) && ended > 0;
  if (full || sweep.promoted >= limits.promoteBatch) return 0;
  if (sweep.ended.length >= limits.sweepBatch) return 0;
  const { promoted, nextDueInMs, nextEndInMs = 0 } = sweep;
  const soon: number[] = [limits.sweepMs];
  // Due and yet not promoted: the outbox is full, and hurry would not help.
  if (nextDueInMs !== undefined && (nextDueInMs > 0 || promoted > 0)) soon.push(nextDueInMs);
  // A dead session's tasks need not wait for the next beat as well.
  if (nextEndInMs > 0) soon.push(nextEndInMs);
  return Math.max(soonestMs, Math.min(...soon));
}

const own = (lease: Lease) => ({ token: lease.token, sessionId: undefined });

const lossOf = (lease: Lease, chance: () => number): Settlement => ({
  ...own(lease),
  kind: "lose",
  ...afterLoss(lease.task, chance),
});

const releaseOf = (lease: Lease): Settlement => ({
  ...own(lease),
  kind: "release",
  delayMs: afterRelease(lease.task.releases),
});

function timeoutOf(lease: OverdueLease, chance: () => number): Settlement {
  const error = overdueError(lease.task, lease.cause);
  const retryInMs = afterFailure(lease.task, error, undefined, chance);
  return { ...own(lease), kind: "fail", cause: "timeout", error, retryInMs };
}

function overdueError(task: Task, cause: OverdueCause): TaskError {
  const said = `attempt ${task.attempt}`;
  const messages: Record<OverdueCause, string> = {
    timeout: `${said} ran longer than its timeout of ${task.timeoutMs} ms`,
    heartbeat_timeout: `${said} said nothing for ${task.terms?.heartbeatTimeoutMs} ms`,
    deadline: `${said} had not ended by the task's deadline`,
  };
  return { code: cause, message: messages[cause], retryable: cause !== "deadline" };
}

/** `lost` are the first of the replies. */
function acceptedBySession(
  lost: readonly Lease[],
  replies: readonly SettleReply[],
): Map<string, number> {
  const leases = new Map<string, number>();
  for (const [index, { sessionId }] of lost.entries()) {
    if (replies[index]?.verdict !== "accepted") continue;
    leases.set(sessionId, (leases.get(sessionId) ?? 0) + 1);
  }
  return leases;
}
