import { limits } from "../../limits.js";
import { uuidText } from "../../task/ids.js";
import type { AttemptOutcome, Attempt, Task, TaskError } from "../../task/task.js";
import type {
  DeliveredItem,
  ProgressItem,
  SettleReply,
  Settlement,
  Transition,
} from "../broker.js";
import { Packer } from "./bytes.js";
import type { Argument } from "./connection.js";
import { unpackTask } from "./record.js";
import { asBytes, asList, asNumber, asText, type Reply } from "./scripts.js";
import { noBytes, packError, packProgress, packResult } from "./sections.js";
import { byPartition, inChunks, splitToken, type SplitToken, type Store } from "./store.js";

/** Settlements a script handles at once: some 4 ms of a busy Redis. */
const chunkItems = 100;

const stale: SettleReply = Object.freeze({
  verdict: "stale",
  transition: undefined,
  recorded: false,
});

interface Prepared {
  readonly settlement: Settlement;
  readonly split: SplitToken;
  readonly data: Uint8Array;
  readonly index: number;
}

export async function settle(
  store: Store,
  settlements: readonly Settlement[],
): Promise<SettleReply[]> {
  const splits = settlements.map(({ token }) => splitToken(store, token));
  const replies = settlements.map(() => stale);
  const calls: Promise<void>[] = [];
  for (const [partition, group] of byPartition(settlements, (_, i) => splits[i]?.partition)) {
    const prepared = group.map(({ item, index }): Prepared => {
      return { settlement: item, split: splits[index]!, data: dataOf(item), index };
    });
    const chunks = inChunks(
      prepared,
      chunkItems,
      ({ data }) => data.length,
      limits.leaseBatchBytes,
    );
    for (const chunk of chunks) calls.push(settleChunk(store, partition, chunk, replies));
  }
  await Promise.all(calls);
  return replies;
}

async function settleChunk(
  store: Store,
  partition: number,
  chunk: readonly Prepared[],
  replies: SettleReply[],
): Promise<void> {
  const args: Argument[] = [];
  for (const { settlement, split, data } of chunk) {
    const { sessionId } = settlement;
    args.push(split.id, split.proof, sessionId ?? "", control(settlement), data);
  }
  const rows = asList(await store.scripts.run("settle", store.base(partition), args));
  rows.forEach((row, i) => {
    const { settlement, split, index } = chunk[i]!;
    const result = settlement.kind === "complete" ? Buffer.from(chunk[i]!.data) : undefined;
    replies[index] = readReply(partition, uuidText(split.id), row, result);
  });
}

function dataOf(settlement: Settlement): Uint8Array {
  if (settlement.kind === "complete") return packResult(settlement.result);
  if (settlement.kind === "fail") return packError(settlement.error);
  return noBytes;
}
const packer = new Packer();

/** As settle.lua unpacks it: kind, what follows a loss, whether a session reports it, delay. */
function control(settlement: Settlement): Buffer {
  packer.reset();
  packer.byte(kindCode(settlement));
  packer.byte(settlement.kind === "lose" ? followings.indexOf(settlement.then) : 0);
  packer.byte(settlement.sessionId === undefined ? 0 : 1);
  packer.double(Math.floor(delayOf(settlement)));
  return packer.take();
}

const followings = ["pending", "quarantine", "poison"] as const;

/** Also how scripts note the way an attempt ended, in this order from 1. */
const outcomes: readonly AttemptOutcome[] = [
  "completed",
  "failed",
  "timeout",
  "released",
  "cancelled",
  "lost",
];

function kindCode(settlement: Settlement): number {
  switch (settlement.kind) {
    case "complete":
      return 1;
    case "fail":
      return settlement.cause === "timeout" ? 3 : 2;
    case "release":
      return 4;
    case "cancel":
      return 5;
    case "lose":
      return 6;
  }
}

/** -1: none. */
function delayOf(settlement: Settlement): number {
  if (settlement.kind === "fail") return settlement.retryInMs ?? -1;
  if (settlement.kind === "release" || settlement.kind === "lose") return settlement.delayMs;
  return -1;
}

function readReply(
  partition: number,
  id: string,
  row: Reply,
  result: Buffer | undefined,
): SettleReply {
  const [verdict, recorded] = asList(row);
  switch (asText(verdict)) {
    case "accepted":
      return {
        verdict: "accepted",
        transition: readTransition(partition, id, asList(row), result),
        recorded: false,
      };
    case "duplicate":
      return { verdict: "duplicate", transition: undefined, recorded: asNumber(recorded) === 1 };
    default:
      return stale;
  }
}

/** A row of: kind, outbox id, time, outcome, payload omitted, snapshot, payload apart. */
export function readTransition(
  partition: number,
  id: string,
  row: readonly Reply[],
  result?: Buffer,
): Transition {
  const [, outboxId, time, outcome, omitted, snapshot, payload] = row;
  return transitionOf({
    partition,
    id,
    outboxId: asText(outboxId),
    at: asNumber(time),
    outcome: asNumber(outcome),
    payloadOmitted: asNumber(omitted) === 1,
    snapshot: asBytes(snapshot),
    payload: asBytes(payload ?? null),
    result,
  });
}

export interface ToldChange {
  readonly partition: number;
  readonly id: string;
  readonly outboxId: string;
  readonly at: number;
  /** 0: no attempt ended by it. */
  readonly outcome: number;
  readonly payloadOmitted: boolean;
  readonly snapshot: Buffer;
  readonly payload: Buffer | null | undefined;
  readonly result: Buffer | null | undefined;
}

export function transitionOf(change: ToldChange): Transition {
  const { partition, outboxId, payloadOmitted, payload, result } = change;
  const task = unpackTask(change.id, change.snapshot, { payload, result }, payloadOmitted);
  const outcome = outcomes[change.outcome - 1];
  return {
    partition,
    outboxId,
    task,
    payloadOmitted,
    attempt: outcome && attemptOf(task, outcome, change.at),
  };
}

function attemptOf(task: Task, outcome: AttemptOutcome, endedAt: number): Attempt {
  const { attempt, fencingToken, run, sessionId, workerId } = task;
  const failed = outcome === "failed" || outcome === "timeout";
  const error: TaskError | undefined = failed ? task.error : undefined;
  const startedAt = task.startedAt ?? endedAt;
  return {
    taskId: task.id,
    fencingToken,
    attempt,
    run,
    sessionId,
    workerId,
    startedAt,
    endedAt,
    outcome,
    error,
  };
}

export async function progress(store: Store, items: readonly ProgressItem[]): Promise<void> {
  const splits = items.map(({ token }) => splitToken(store, token));
  const calls: Promise<unknown>[] = [];
  for (const [partition, group] of byPartition(items, (_, i) => splits[i]?.partition)) {
    for (const chunk of inChunks(group, chunkItems)) {
      const args = chunk.flatMap(({ item, index }): Argument[] => {
        const split = splits[index]!;
        return [split.id, split.proof, item.sessionId, packProgress(item.progress)];
      });
      calls.push(store.scripts.run("progress", store.base(partition), args));
    }
  }
  await Promise.all(calls);
}

export async function delivered(store: Store, items: readonly DeliveredItem[]): Promise<void> {
  const splits = items.map(({ token }) => splitToken(store, token));
  const calls: Promise<unknown>[] = [];
  for (const [partition, group] of byPartition(items, (_, i) => splits[i]?.partition)) {
    for (const chunk of inChunks(group, chunkItems)) {
      const args = chunk.flatMap(({ item, index }): Argument[] => {
        const split = splits[index]!;
        return [split.id, split.proof, item.sessionId];
      });
      calls.push(store.scripts.run("delivered", store.base(partition), args));
    }
  }
  await Promise.all(calls);
}
