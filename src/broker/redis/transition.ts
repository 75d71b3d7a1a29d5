import { attemptOf } from "../../task/attempt.js";
import type { AttemptOutcome, Payload } from "../../task/task.js";
import type { Transition } from "../broker.js";
import { hasPayloadApart, unpackTask } from "./record.js";
import { asBytes, asNumber, type Reply } from "./scripts.js";
import { unpackSuccessor } from "./successor.js";

/** Also how scripts note the way an attempt ended, in this order from 1. */
const outcomes: readonly AttemptOutcome[] = [
  "completed",
  "failed",
  "timeout",
  "released",
  "cancelled",
  "lost",
];

/** Beside them: another task takes the place of this one. */
const succeeded = outcomes.length + 1;

/** What all transitions of one call share. */
export interface Told {
  readonly partition: number;
  readonly entry: string;
  readonly at: number;
}

/** From `from` on: place in the outbox entry, payload omitted, snapshot, payload apart. */
export function readTransition(
  told: Told,
  id: string,
  outcome: number,
  row: readonly Reply[],
  from: number,
): Transition {
  const snapshot = asBytes(row[from + 2]!);
  const payload = hasPayloadApart(snapshot) ? asBytes(row[from + 3]!) : undefined;
  return transitionOf({
    partition: told.partition,
    id,
    outboxId: told.entry,
    outboxPlace: asNumber(row[from]),
    at: told.at,
    outcome,
    payloadOmitted: asNumber(row[from + 1]) === 1,
    snapshot,
    payload,
    result: undefined,
  });
}

export interface ToldChange {
  readonly partition: number;
  readonly id: string;
  readonly outboxId: string;
  readonly outboxPlace: number;
  readonly at: number;
  /** 0: no attempt ended by it. */
  readonly outcome: number;
  readonly payloadOmitted: boolean;
  readonly snapshot: Buffer;
  readonly payload: Buffer | null | undefined;
  readonly result: Payload | undefined;
}

export function transitionOf(change: ToldChange): Transition {
  const { partition, outboxId, outboxPlace, payloadOmitted, payload, result } = change;
  const task = unpackTask(change.id, change.snapshot, { payload, result }, payloadOmitted);
  const outcome = outcomes[change.outcome - 1];
  const error = outcome && isTrouble(outcome) ? task.error : undefined;
  const attempt = outcome && attemptOf(task, change.at, outcome, error);
  const told = { partition, outboxId, outboxPlace, task, payloadOmitted, attempt };
  if (change.outcome !== succeeded) return told;
  return { ...told, successor: unpackSuccessor(change.snapshot) };
}

const isTrouble = (outcome: AttemptOutcome): boolean =>
  outcome === "failed" || outcome === "timeout";
