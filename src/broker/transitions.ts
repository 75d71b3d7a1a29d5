import type { Attempt, Payload, Task, TaskError } from "../task/task.js";
import type { OverdueCause } from "../task/times.js";
import type { Lease, LeaseReply } from "./leases.js";

interface SettlementBase {
  readonly token: Uint8Array;
  /**
   * Of the session that reports; undefined for the coordinator's own (timeout, grace over, lost).
   */
  readonly sessionId: string | undefined;
}
export type Settlement = SettlementBase &
  (
    | {
        readonly kind: "complete";
        readonly result: Payload | undefined;
        /** The task as it was leased, if it is at hand: spares the broker reading it again. */
        readonly leased?: Task | undefined;
      }
    | {
        readonly kind: "fail";
        readonly cause: "handler" | "timeout";
        readonly error: TaskError;
        /** undefined: no retry, the task ends FAILED. */
        readonly retryInMs: number | undefined;
      }
    | {
        readonly kind: "release";
        readonly delayMs: number;
        /** No worker has seen it: it goes back at once, and does not count among the releases. */
        readonly unsent?: boolean;
      }
    | { readonly kind: "cancel" }
    /** The session died. Applies only while it is dead (or unknown). */
    | {
        readonly kind: "lose";
        readonly then: "pending" | "quarantine" | "poison";
        readonly delayMs: number;
      }
  );

export interface SettleReply {
  readonly verdict: "accepted" | "duplicate" | "stale";
  /** The transition, when accepted. A duplicate of a finished task says whether history has it. */
  readonly transition: Transition | undefined;
  readonly recorded: boolean;
}

/** What was granted saw what was settled: tasks that came back, limits that were lifted. */
export interface SettledLeased {
  readonly replies: SettleReply[];
  readonly leased: LeaseReply;
}

/** A change that history must learn. */
export interface Transition {
  readonly partition: number;
  /** The entry of the outbox that tells of it; undefined for changes that need none (grants). */
  readonly outboxId: string | undefined;
  /** Among the transitions that the entry tells of. Most share theirs with others. */
  readonly outboxPlace: number;
  /**
   * After the change. Payload may be missing where history already has the row: see
   * `payloadOmitted`. One that is there all the same is the task's.
   */
  readonly task: Task;
  readonly payloadOmitted: boolean;
  /** The attempt that ended by it, if one did. */
  readonly attempt: Attempt | undefined;
  /** Takes the place of this task, which ended for it: history holds both or neither. */
  readonly successor?: Task;
}

export interface SweepReply {
  /** Leases of dead sessions: settle as lost. */
  readonly lost: Lease[];
  /** Leases of sessions that said goodbye: settle as released. */
  readonly left: Lease[];
  /** Past their time: settle as timed out. */
  readonly timedOut: OverdueLease[];
  /** Cancel grace is over: settle as cancelled. */
  readonly cancelOverdue: Lease[];
  /** Past their time while they waited: the sweep itself has ended them. */
  readonly ended: Transition[];
  readonly promoted: number;
  /** Milliseconds until the next delayed task, undefined if there is none. */
  readonly nextDueInMs: number | undefined;
  /** Milliseconds until the first session's lease ends, undefined if there is none. */
  readonly nextEndInMs: number | undefined;
  readonly outboxEntries: number;
  readonly oldestOutboxMs: number;
}

export interface OverdueLease extends Lease {
  readonly cause: OverdueCause;
}

export interface RecordedItem {
  readonly partition: number;
  readonly outboxId: string;
  readonly outboxPlace: number;
  readonly taskId: string;
  readonly version: number;
}
