import type { Transition } from "../broker/broker.js";
import { mayBecome, mustNext } from "../task/status.js";
import {
  type Attempt,
  isFinal,
  type Payload,
  type Status,
  type Task,
  type UniqueRule,
} from "../task/task.js";
import type { RecordOutcome, Told } from "./history.js";

/** All transitions of one task, with their places in the request. */
export interface TaskTransitions {
  readonly id: string;
  readonly transitions: readonly Told[];
  readonly places: readonly number[];
}

/** The only transition of its task in a request, as nearly all are: costs no lists. */
export class LoneTransition implements TaskTransitions {
  readonly id: string;
  readonly told: Told;
  readonly place: number;

  constructor(told: Told, place: number) {
    this.id = told.taskId ?? told.task.id;
    this.told = told;
    this.place = place;
  }

  get transitions(): readonly Told[] {
    return [this.told];
  }

  get places(): readonly number[] {
    return [this.place];
  }
}

/** In the order of their ids. */
export function groupByTask(transitions: readonly Told[]): TaskTransitions[] {
  const lone: LoneTransition[] = [];
  let sorted = true;
  let before = "";
  for (let place = 0; place < transitions.length; place += 1) {
    const one = new LoneTransition(transitions[place]!, place);
    if (one.id < before) sorted = false;
    before = one.id;
    lone.push(one);
  }
  if (!sorted) lone.sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : a.place - b.place));
  return united(lone);
}

/** Neighbours of one task become one. */
function united(lone: readonly LoneTransition[]): TaskTransitions[] {
  const groups: TaskTransitions[] = [];
  for (let from = 0; from < lone.length;) {
    const { id } = lone[from]!;
    let to = from + 1;
    while (to < lone.length && lone[to]!.id === id) to += 1;
    groups.push(to === from + 1 ? lone[from]! : groupOf(lone.slice(from, to)));
    from = to;
  }
  return groups;
}

const groupOf = (lone: readonly LoneTransition[]): TaskTransitions => ({
  id: lone[0]!.id,
  transitions: lone.map(({ told }) => told),
  places: lone.map(({ place }) => place),
});

/**
 * What the guard compares: the columns of a stored task that decide whether a transition may be
 * written.
 */
export interface Guarded {
  readonly version: number;
  readonly run: number;
  readonly status: Status;
  readonly fencingToken: number;
}

/**
 * What becomes of a row: the outcome of each transition given, in their order, and what to write,
 * if anything.
 */
export interface Decision {
  readonly outcomes: RecordOutcome[];
  readonly write: Write | undefined;
  /** Takes the place of the task: to be inserted with this write. */
  readonly successor: Task | undefined;
}

/** The payload is apart from its task, because copies of wide objects are dear. */
export interface Write {
  readonly kind: "insert" | "update";
  readonly task: Task;
  /** Of an insert; an update leaves what was asked as it stands. */
  readonly payload: Payload | undefined;
}

/**
 * Both histories decide here, so that replays and reordering mean the same in each (H2, H3).
 * Transitions of one task are applied in the order of their versions, whatever order they came in.
 */
export function decide(row: Guarded | undefined, transitions: readonly Transition[]): Decision {
  const outcomes: RecordOutcome[] = Array.from({ length: transitions.length }, () => "missing");
  let state = row;
  let task: Task | undefined;
  let payload: Payload | undefined;
  let successor: Task | undefined;
  for (const index of byAge(transitions)) {
    const transition = transitions[index]!;
    const outcome = judge(state, transition);
    outcomes[index] = outcome;
    if (outcome !== "applied") continue;
    if (!transition.payloadOmitted) payload = transition.task.payload;
    task = state = transition.task;
    successor = transition.successor ?? successor;
  }
  // One that found no row is behind a later one that brought the whole task.
  if (state) {
    for (const [index, outcome] of outcomes.entries()) {
      if (outcome === "missing") outcomes[index] = "superseded";
    }
  }
  const write: Write | undefined = task && { kind: row ? "update" : "insert", task, payload };
  return { outcomes, write, successor };
}

/** Places of the transitions, the oldest first. */
export function byAge(transitions: readonly Transition[]): number[] {
  const order = transitions.map((_, index) => index);
  if (order.length < 2) return order;
  return order.sort((a, b) => older(transitions[a]!.task, transitions[b]!.task));
}

/**
 * The row of a task that completed says all there is to know of its last attempt, so that this one
 * needs no row of its own.
 */
export const isToldByTask = (attempt: Attempt, task: Task): boolean =>
  attempt.outcome === "completed" &&
  task.status === "completed" &&
  attempt.error === undefined &&
  attempt.endedAt !== undefined &&
  attempt.attempt >= 1 &&
  attempt.endedAt === task.completedAt &&
  attempt.startedAt === task.startedAt &&
  isOfGrant(attempt, task);

/** The attempt is the last grant of the task, in all that identifies it. */
export const isOfGrant = (attempt: Attempt, task: Task): boolean =>
  attempt.fencingToken === task.fencingToken &&
  attempt.fencingToken >= 1 &&
  attempt.attempt === task.attempt &&
  attempt.run === task.run &&
  attempt.sessionId === task.sessionId &&
  attempt.workerId === task.workerId;

const older = (a: Task, b: Task): number => a.run - b.run || a.version - b.version;

function judge(row: Guarded | undefined, { task, payloadOmitted }: Transition): RecordOutcome {
  if (!row) return payloadOmitted ? "missing" : "applied";
  if (row.run === task.run && !mayBecome(row.status, task.status)) {
    // The same settlement told again is a replay; any other end of this run is a second one.
    if (task.status === row.status && task.fencingToken === row.fencingToken) return "superseded";
    return isFinal(task.status) || task.version > row.version ? "refused" : "superseded";
  }
  return task.run >= row.run && task.version > row.version ? "applied" : "superseded";
}

/**
 * Promotions are not written to history: a row that waits for a time that has come reads as
 * pending.
 */
export function asRead(task: Task, now: number): Task {
  const waits = task.status === "scheduled" || task.status === "retrying";
  if (!waits || task.readyAt === undefined || task.readyAt > now) return task;
  return { ...task, status: "pending" };
}

/** Whether its insert has to win a unique key: only the first run holds one. */
export const claimsUnique = ({ terms, run }: Task): boolean =>
  terms?.unique !== undefined && run === 1;

/** When its unique key ends though its holder lives on; undefined: it ends with it. */
export const uniqueWindowMs = ({ scope, windowMs }: UniqueRule): number | undefined =>
  scope === "for_time" ? windowMs : undefined;

/** A new run: budgets are reset, grants and versions go on. */
export const revived = (task: Task): Task => ({
  ...task,
  status: mustNext(task.status, "revive"),
  version: task.version + 1,
  run: task.run + 1,
  retryCount: 0,
  leaseLosses: 0,
  releases: 0,
  readyAt: undefined,
  startedAt: undefined,
  completedAt: undefined,
  cancelRequestedAt: undefined,
  result: undefined,
  error: undefined,
  progress: undefined,
  cancellation: undefined,
  checkpoint: undefined,
});

export const cancelled = (task: Task, now: number, reason = ""): Task => ({
  ...task,
  status: mustNext(task.status, "cancel"),
  version: task.version + 1,
  readyAt: undefined,
  completedAt: now,
  cancelRequestedAt: now,
  cancellation: {
    reason,
    deliveredAt: undefined,
    acknowledgedAt: undefined,
    forcedAt: undefined,
  },
});

/**
 * An attempt that ended stays as it ended, except that a lost one may still turn out completed
 * (P4).
 */
export const attemptMayChange = (stored: Attempt | undefined, next: Attempt): boolean =>
  stored?.outcome === undefined || (stored.outcome === "lost" && next.outcome === "completed");

/**
 * Where a page of queues starts: across namespaces the cursor is `namespace/name`, which no name
 * contains.
 */
export function cursorOf(
  namespace: string | undefined,
  afterName: string,
): { namespace: string; name: string } {
  if (namespace !== undefined) return { namespace, name: afterName };
  const slash = afterName.indexOf("/");
  if (slash < 0) return { namespace: "", name: afterName };
  return { namespace: afterName.slice(0, slash), name: afterName.slice(slash + 1) };
}
