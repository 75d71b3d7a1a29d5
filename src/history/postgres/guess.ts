import { mayBecome } from "../../task/status.js";
import { type Attempt, isFinal, type Payload, type Task } from "../../task/task.js";
import type { RecordOutcome, Told } from "../history.js";
import {
  byAge,
  type Decision,
  decide,
  type Guarded,
  isOfGrant,
  isToldByTask,
  LoneTransition,
  type TaskTransitions,
} from "../rules.js";
import { EarlyRow } from "./early-rows.js";
import type { Written } from "./written.js";

/** What becomes of a task if history stands as it should; and what to write then. */
export interface Guess {
  readonly group: TaskTransitions;
  /** Its row, if that is written already. */
  readonly early: Written | undefined;
  /**
   * `born`: no row should be there. `changed`: a live one of the same run, whose version is below
   * `above`. `replaced`: so as well, and the task has ended and all of it is known. `unsure`: to be
   * looked at.
   */
  readonly kind: "born" | "changed" | "replaced" | "unsure";
  readonly task: Task;
  readonly payload: Payload | undefined;
  readonly above: number;
  /** To be written with a change. */
  readonly attempt: Attempt | undefined;
  /** Undefined: all are applied. */
  readonly outcomes: readonly RecordOutcome[] | undefined;
}

export function guess(group: TaskTransitions): Guess {
  if (!(group instanceof LoneTransition)) return straight(group) ?? careful(group);
  if (group.told instanceof EarlyRow) return new EarlyGuess(group, group.told);
  return lone(group) ?? careful(group);
}

/** What has its row already is simple, or it would not have one. */
class EarlyGuess implements Guess {
  readonly group: TaskTransitions;
  readonly early: EarlyRow;
  readonly kind: "born" | "replaced";
  readonly attempt = undefined;
  readonly outcomes = undefined;

  constructor(group: TaskTransitions, early: EarlyRow) {
    this.group = group;
    this.early = early;
    this.kind = early.payloadOmitted ? "replaced" : "born";
  }

  get task(): Task {
    return this.early.task;
  }

  get payload(): Payload | undefined {
    return this.early.task.payload;
  }

  get above(): number {
    return this.early.version;
  }
}

/** Undefined: it is not so simple. */
function lone(group: LoneTransition): Guess | undefined {
  const { told } = group;
  const { task, attempt } = told;
  const born = !told.payloadOmitted;
  if (told.successor || (born ? task.idempotencyKey !== "" : !mayBecome("pending", task.status))) {
    return undefined;
  }
  if (attempt && !isToldByTask(attempt, task)) return undefined;
  return simply(group, born, task, born ? task : askedOf(told), task.version);
}

/**
 * Nearly all: each transition follows from the one given before it, and the last row tells of all
 * attempts. Undefined: it is not so simple.
 */
function straight(group: TaskTransitions): Guess | undefined {
  const { transitions } = group;
  const first = transitions[0]!;
  const born = !first.payloadOmitted;
  const oldest = first.task;
  let task = oldest;
  if (!born && !mayBecome("pending", task.status)) return undefined;
  for (let nth = 0; nth < transitions.length; nth += 1) {
    const { task: next, payloadOmitted, successor } = transitions[nth]!;
    if (successor || (nth > 0 && !payloadOmitted)) return undefined;
    if (nth > 0 && !follows(task, next)) return undefined;
    task = next;
  }
  if (born && task.idempotencyKey !== "") return undefined;
  for (let nth = 0; nth < transitions.length; nth += 1) {
    const { attempt } = transitions[nth]!;
    if (attempt && !isToldByTask(attempt, task)) return undefined;
  }
  const asked = born ? oldest : firstAsked(transitions);
  return simply(group, born, task, asked, oldest.version);
}

/** `asked`: the task with its payload, if it is known. */
function simply(
  group: TaskTransitions,
  born: boolean,
  task: Task,
  asked: Task | undefined,
  above: number,
): Guess {
  // Only a change of the row releases a unique key.
  const replaces = asked !== undefined && isFinal(task.status) && task.terms === undefined;
  return {
    group,
    early: undefined,
    kind: born ? "born" : replaces ? "replaced" : "changed",
    task,
    payload: asked?.payload,
    above,
    attempt: undefined,
    outcomes: undefined,
  };
}

const askedOf = ({ asked, task }: Told): Task | undefined => asked ?? (task.payload && task);

function firstAsked(transitions: readonly Told[]): Task | undefined {
  for (const told of transitions) {
    const asked = askedOf(told);
    if (asked) return asked;
  }
  return undefined;
}

const follows = (before: Task, after: Task): boolean =>
  after.run === before.run &&
  after.version > before.version &&
  mayBecome(before.status, after.status);

function careful(group: TaskTransitions): Guess {
  const { transitions } = group;
  const isBorn = transitions.some(({ payloadOmitted }) => !payloadOmitted);
  const oldest = transitions[byAge(transitions)[0]!]!.task;
  const decision = decide(isBorn ? undefined : liveBefore(oldest), transitions);
  const { write, successor } = decision;
  if (!write || successor) return unsure(group);
  const left = attemptsLeft(transitions, decision, write.task);
  const written = left.length === 1 && isOfGrant(left[0]!, write.task);
  // Keys of RELAXED tasks are remembered in the transaction that inserts them.
  if (isBorn ? left.length > 0 || write.task.idempotencyKey !== "" : left.length > 0 && !written) {
    return unsure(group);
  }
  if (!isBorn && write.task.run !== oldest.run) return unsure(group);
  return {
    group,
    early: undefined,
    kind: isBorn ? "born" : "changed",
    task: write.task,
    payload: write.payload,
    above: oldest.version,
    attempt: left[0],
    outcomes: decision.outcomes,
  };
}

const unsure = (group: TaskTransitions): Guess => ({
  group,
  early: undefined,
  kind: "unsure",
  task: group.transitions[0]!.task,
  payload: undefined,
  above: 0,
  attempt: undefined,
  outcomes: [],
});

/** Any such row means the same outcomes. */
const liveBefore = ({ version, run }: Task): Guarded => ({
  version: version - 1,
  run,
  status: "pending",
  fencingToken: 0,
});

/** Those that need rows of their own. */
const attemptsLeft = (
  transitions: readonly Told[],
  { outcomes }: Decision,
  task: Task,
): Attempt[] =>
  transitions.flatMap(({ attempt }, nth) =>
    attempt && outcomes[nth] !== "missing" && !isToldByTask(attempt, task) ? [attempt] : [],
  );
