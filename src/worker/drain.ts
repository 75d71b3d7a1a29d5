import { type Clock, timerMaxMs } from "../clock.js";
import type { LeaseTable } from "./lease-table.js";
import type { Logger } from "./logger.js";
import { type Outcome, released } from "./outcome.js";
import type { UnackedResults } from "./results.js";
import type { Session } from "./session.js";

export interface DrainOptions {
  clock: Clock;
  logger: Logger;
  leases: LeaseTable;
  results: UnackedResults;
  session: Session;
  readonly send: (taskId: string, outcome: Outcome) => void;
  /** Running handlers may take this long. */
  graceMs: number;
  /** Ends the grace at once. */
  hasten: AbortSignal;
}

/**
 * Asked to stop, handlers get this long to end by themselves before their tasks are handed back
 * under them.
 */
const unwindMs = 1_000;
/** Longest wait for acks (less in haste), then for the end of the stream. */
const ackMs = 5_000;
const ackHasteMs = 1_000;
const farewellMs = 1_000;
const message = "the worker stops";

/**
 * The goodbye of a worker: nothing new, the running ends or goes back uncharged, results are
 * acked, the stream ends.
 */
export async function drain(options: DrainOptions): Promise<void> {
  const { leases, logger, results, session, clock } = options;
  session.outbox.leave();
  if (!(await within(clock, options.graceMs, leases.idle(), options.hasten))) {
    logger.warn({ running: leases.held }, "the grace is over; handing back what runs");
    for (const lease of leases.running()) leases.abort(lease, "shutdown", message);
    await within(clock, unwindMs, leases.idle(), options.hasten);
    handBack(options);
  }
  if (!(await within(clock, options.hasten.aborted ? ackHasteMs : ackMs, results.empty()))) {
    logger.warn({ unacked: results.size }, "left without acks for some results");
  }
  await session.close(farewellMs);
}

/**
 * Handlers that ignore their signal go on until the process ends; their tasks need not wait for
 * that.
 */
function handBack({ leases, send }: DrainOptions): void {
  for (const lease of leases.running()) {
    const held = lease.standing === "held";
    leases.abort(lease, "shutdown", message, "over");
    if (held) send(lease.taskId, released(lease.key));
  }
}

/** True if `done` came in time, and before the signal. */
async function within(
  clock: Clock,
  ms: number,
  done: Promise<void>,
  signal?: AbortSignal,
): Promise<boolean> {
  const enough = new AbortController();
  const either = signal ? AbortSignal.any([signal, enough.signal]) : enough.signal;
  // A grace may well be Infinity.
  const tooLate = clock.sleep(Math.min(ms, timerMaxMs), either).then(
    () => false,
    () => false,
  );
  const inTime = await Promise.race([done.then(() => true), tooLate]);
  enough.abort();
  return inTime;
}
