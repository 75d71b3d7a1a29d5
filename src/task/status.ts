import { isFinal, type Status } from "./task.js";

/*
 * The one transition table. Both brokers move tasks by it, and history refuses what it does not
 * hold.
 *
 *                 unblock                                         complete
 *   BLOCKED ───────────────► PENDING ◄───────────────┐       ┌──────────────► COMPLETED
 *      │ unblockLater         ▲    │ grant, adopt    │       │  fail, poison
 *      ▼          promote     │    ▼                 │       ├──────────────► FAILED ────┐
 *   SCHEDULED ────────────────┤  RUNNING ────────────┤       │  cancel                   │ revive
 *      ▲                      │    │   release, lose │       ├──────────────► CANCELLED ─┤ (rerun)
 *      └──── releaseLater ────┼────┤                 └───────┤  expire                   │
 *                     promote │    │ retry, loseLater        └──────────────► EXPIRED ───┤
 *                         RETRYING ◄                                                     ▼
 *                                                                                     PENDING
 *
 * Cancel leads out of every live status, expire out of every one but RUNNING; outlive leads from
 * SCHEDULED, PENDING and RETRYING to FAILED. A waiting task whose
 * lease was lost may still be completed late, or be adopted by the session that kept running it.
 * COMPLETED is never left.
 */
export type StatusEvent =
  | "unblock"
  | "unblockLater"
  | "promote"
  | "grant"
  /** A session that was taken for dead, or a store that forgot, gets its running task back. */
  | "adopt"
  | "complete"
  /** A success reported after its lease was lost and before the next grant. */
  | "completeLate"
  | "retry"
  | "fail"
  | "release"
  | "releaseLater"
  | "lose"
  | "loseLater"
  | "poison"
  | "cancel"
  | "expire"
  /** Its deadline passed while it waited for another attempt. */
  | "outlive"
  | "revive";

type Row = Partial<Record<StatusEvent, Status>>;

const ended: Row = { revive: "pending" };

const table: Readonly<Record<Status, Row>> = Object.freeze({
  blocked: {
    unblock: "pending",
    unblockLater: "scheduled",
    cancel: "cancelled",
    expire: "expired",
  },
  scheduled: {
    promote: "pending",
    adopt: "running",
    cancel: "cancelled",
    expire: "expired",
    outlive: "failed",
  },
  pending: {
    grant: "running",
    adopt: "running",
    completeLate: "completed",
    cancel: "cancelled",
    expire: "expired",
    outlive: "failed",
  },
  retrying: {
    promote: "pending",
    adopt: "running",
    completeLate: "completed",
    cancel: "cancelled",
    expire: "expired",
    outlive: "failed",
  },
  running: {
    complete: "completed",
    retry: "retrying",
    fail: "failed",
    release: "pending",
    releaseLater: "scheduled",
    lose: "pending",
    loseLater: "retrying",
    poison: "failed",
    cancel: "cancelled",
  },
  completed: {},
  failed: ended,
  cancelled: ended,
  expired: ended,
});

/**
 * The status after `event`, or undefined: the event is not allowed in this status and must change
 * nothing.
 */
export const next = (status: Status, event: StatusEvent): Status | undefined =>
  table[status][event];

/** As `next`, where the caller has checked that the event is allowed; a defect otherwise. */
export function mustNext(status: Status, event: StatusEvent): Status {
  const to = next(status, event);
  if (to === undefined) {
    throw new Error(`status table: ${event} is not allowed for a ${status} task`);
  }
  return to;
}

/**
 * Whether a run that stood in `from` may stand in `to` later, however many events lie between: what
 * is told late or in part is judged by this. A live status may stay; an end is left by no event of
 * its run.
 */
export const mayBecome = (from: Status, to: Status): boolean => later[from].has(to);

const later: Readonly<Record<Status, ReadonlySet<Status>>> = laterStatuses();

function laterStatuses(): Record<Status, Set<Status>> {
  const found = {} as Record<Status, Set<Status>>;
  for (const from of Object.keys(table) as Status[]) {
    const reached = new Set<Status>(isFinal(from) ? [] : [from]);
    for (const status of reached) for (const to of Object.values(table[status])) reached.add(to);
    found[from] = reached;
  }
  return found;
}

/** The status of a task that comes in: it waits for its time only if that is still to come. */
export const firstStatus = (readyAt: number | undefined, now: number): "scheduled" | "pending" =>
  readyAt !== undefined && readyAt > now ? "scheduled" : "pending";
