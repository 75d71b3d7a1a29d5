import { limits } from "../../limits.js";
import { attemptOf } from "../../task/attempt.js";
import { leaseTokenIdAt } from "../../task/ids.js";
import { uuidText } from "../../task/uuid.js";
import type { AttemptOutcome, Payload } from "../../task/task.js";
import type {
  DeliveredItem,
  LeaseReply,
  LeaseRequest,
  ProgressItem,
  SettledLeased,
  SettleReply,
  Settlement,
  Transition,
} from "../broker.js";
import { PackedStrings, Packer, type Stretch } from "./bytes.js";
import { completedTask } from "./completed.js";
import type { Argument } from "./connection.js";
import { placeIn } from "./keys.js";
import { lease, leaseArguments, payloadsByPlace, readLeases } from "./lease.js";
import { hasPayloadApart, unpackTask } from "./record.js";
import { unpackSuccessor } from "./successor.js";
import { asBytes, asList, asNumber, asText, type Reply } from "./scripts.js";
import { appendError, appendResult, packProgress } from "./sections.js";
import { inCalls, partitionOfToken, type Placed, splitToken, type Store } from "./store.js";
import { isBefore, snapshotTold } from "./told.js";

/** Settlements a script handles at once: some 2 ms of a busy Redis. */
const chunkItems = 200;

type Item = Placed<Settlement>;

const stale: SettleReply = Object.freeze({
  verdict: "stale",
  transition: undefined,
  recorded: false,
});

export async function settle(
  store: Store,
  settlements: readonly Settlement[],
): Promise<SettleReply[]> {
  const replies = settlements.map(() => stale);
  await settleInCalls(store, settlements, undefined, replies);
  return replies;
}

export async function settleAndLease(
  store: Store,
  settlements: readonly Settlement[],
  request: LeaseRequest,
): Promise<SettledLeased> {
  const replies = settlements.map(() => stale);
  const leased = await settleInCalls(store, settlements, request, replies);
  // None of them is of its partition.
  return { replies, leased: leased ?? (await lease(store, request)) };
}

/** Fills `replies`; answers what the first call to its partition leased for `request`. */
async function settleInCalls(
  store: Store,
  settlements: readonly Settlement[],
  request: LeaseRequest | undefined,
  replies: SettleReply[],
): Promise<LeaseReply | undefined> {
  const partitionOf = ({ token }: Settlement) => partitionOfToken(store, token);
  const size = { items: chunkItems, bytes: limits.leaseBatchBytes, bytesOf };
  let leased: LeaseReply | undefined;
  await inCalls(settlements, partitionOf, size, async (partition, chunk, nth) => {
    const also = nth === 0 && partition === request?.partition ? request : undefined;
    const args = settleArguments(chunk);
    if (also) args.push(...leaseArguments(store, also));
    const reply = asList(await store.scripts.run("settle", store.base(partition), args));
    if (also) leased = readLeases(store, also, reply[5]);
    readReplies(partition, chunk, reply, replies);
  });
  return leased;
}

/** About. */
function bytesOf({ item }: Item): number {
  if (item.kind === "complete") return item.result?.data.length ?? 0;
  return item.kind === "fail" ? item.error.message.length + (item.error.stack?.length ?? 0) : 0;
}

function readReplies(
  partition: number,
  chunk: readonly Item[],
  [entry, time, verdicts, packed, aparts]: readonly Reply[],
  replies: SettleReply[],
): void {
  const at = asNumber(time);
  const entryId = asText(entry);
  const tellings = asBytes(packed);
  const strings = new PackedStrings(tellings);
  const payloads = payloadsByPlace(asList(aparts));
  const codesOf = asBytes(verdicts);
  let place = 0;
  for (let nth = 0; nth < chunk.length; nth += 1) {
    const { item, index } = chunk[nth]!;
    const verdict = codesOf[nth]!;
    if (verdict !== codes.accepted) {
      replies[index] = verdict === codes.stale ? stale : duplicate(verdict === codes.recorded);
      continue;
    }
    strings.step();
    const aboutAt = strings.from;
    const aboutEnd = strings.to;
    strings.step();
    const told = {
      partition,
      outboxId: placeIn(entryId, place),
      at,
      payloadOmitted: tellings[aboutAt + 1] === 1,
    };
    const transition =
      completionOf(item, told, strings, isBefore(tellings[aboutAt]!)) ??
      transitionOf({
        partition,
        id: uuidText(item.token, leaseTokenIdAt),
        outboxId: told.outboxId,
        at,
        outcome: kindCode(item),
        payloadOmitted: told.payloadOmitted,
        snapshot: snapshotTold(tellings.subarray(aboutAt, aboutEnd), strings.here(), at),
        payload: payloads.get(place),
        result: item.kind === "complete" ? item.result : undefined,
      });
    replies[index] = { verdict: "accepted", transition, recorded: false };
    place += 1;
  }
}

type ToldEnd = Pick<ToldChange, "partition" | "outboxId" | "at" | "payloadOmitted">;

/** Nearly all: it was leased here, and all that happened to it since is that it completed. */
function completionOf(
  item: Settlement,
  { partition, outboxId, at, payloadOmitted }: ToldEnd,
  record: Stretch,
  before: boolean,
): Transition | undefined {
  if (item.kind !== "complete" || !item.leased) return undefined;
  const task = completedTask(item.leased, record, item.result, before ? at : undefined);
  if (!task) return undefined;
  const attempt = attemptOf(task, at, "completed", undefined);
  return { partition, outboxId, task, payloadOmitted, attempt };
}

const codes = { accepted: 97, recorded: 114, stale: 115 } as const;

const duplicate = (recorded: boolean): SettleReply => ({
  verdict: "duplicate",
  transition: undefined,
  recorded,
});

const packer = new Packer();

/** As settle.lua reads them: few arguments, as each costs both sides more than its bytes. */
function settleArguments(chunk: readonly Item[]): Argument[] {
  const sessions: string[] = [];
  packer.reset();
  for (const { item } of chunk) {
    packer.byte(kindCode(item));
    packer.raw(item.token, leaseTokenIdAt);
    packer.uint16(placeOf(sessions, item.sessionId));
    const start = packer.length;
    packer.uint32(0);
    if (item.kind === "complete") appendResult(packer, item.result);
    else if (item.kind === "fail") appendError(packer, item.error);
    packer.uint32At(start, packer.length - start - 4);
    packer.byte(item.kind === "lose" ? followings.indexOf(item.then) : 0);
    packer.double(Math.floor(delayOf(item)));
  }
  return [packer.take(), String(sessions.length), ...sessions];
}

/** From 1; 0 for none. The last one is the most likely again. */
function placeOf(sessions: string[], sessionId: string | undefined): number {
  if (sessionId === undefined) return 0;
  const at = sessions.lastIndexOf(sessionId);
  return at >= 0 ? at + 1 : sessions.push(sessionId);
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

/** Beside them: another task takes the place of this one. */
const succeeded = outcomes.length + 1;

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
    outboxId: placeIn(told.entry, asNumber(row[from])),
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
  readonly at: number;
  /** 0: no attempt ended by it. */
  readonly outcome: number;
  readonly payloadOmitted: boolean;
  readonly snapshot: Buffer;
  readonly payload: Buffer | null | undefined;
  readonly result: Payload | undefined;
}

export function transitionOf(change: ToldChange): Transition {
  const { partition, outboxId, payloadOmitted, payload, result } = change;
  const task = unpackTask(change.id, change.snapshot, { payload, result }, payloadOmitted);
  const outcome = outcomes[change.outcome - 1];
  const error = outcome && isTrouble(outcome) ? task.error : undefined;
  const attempt = outcome && attemptOf(task, change.at, outcome, error);
  if (change.outcome !== succeeded) return { partition, outboxId, task, payloadOmitted, attempt };
  const successor = unpackSuccessor(change.snapshot);
  return { partition, outboxId, task, payloadOmitted, attempt, successor };
}

const isTrouble = (outcome: AttemptOutcome): boolean =>
  outcome === "failed" || outcome === "timeout";

export async function progress(store: Store, items: readonly ProgressItem[]): Promise<void> {
  const splits = items.map(({ token }) => splitToken(store, token));
  const partitionOf = (_: ProgressItem, i: number) => splits[i]?.partition;
  await inCalls(items, partitionOf, { items: chunkItems }, (partition, chunk) => {
    const args = chunk.flatMap(({ item, index }): Argument[] => {
      const split = splits[index]!;
      return [split.id, split.proof, item.sessionId, packProgress(item.progress)];
    });
    return store.scripts.run("progress", store.base(partition), args);
  });
}

export async function delivered(store: Store, items: readonly DeliveredItem[]): Promise<void> {
  const splits = items.map(({ token }) => splitToken(store, token));
  const partitionOf = (_: DeliveredItem, i: number) => splits[i]?.partition;
  await inCalls(items, partitionOf, { items: chunkItems }, (partition, chunk) => {
    const args = chunk.flatMap(({ item, index }): Argument[] => {
      const split = splits[index]!;
      return [split.id, split.proof, item.sessionId];
    });
    return store.scripts.run("delivered", store.base(partition), args);
  });
}
