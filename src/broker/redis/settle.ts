import { limits } from "../../limits.js";
import type {
  DeliveredItem,
  LeaseReply,
  LeaseRequest,
  ProgressItem,
  SettledLeased,
  SettleReply,
  Settlement,
} from "../broker.js";
import type { Argument } from "./connection.js";
import { lease, leaseArguments, readLeases } from "./lease.js";
import { asList } from "./scripts.js";
import { packProgress } from "./sections.js";
import { readSettled, stale } from "./settled.js";
import { settleArguments } from "./settlements.js";
import { inCalls, partitionOfToken, type Placed, splitToken, type Store } from "./store.js";

/** Settlements a script handles at once: some 2 ms of a busy Redis. */
const chunkItems = 200;

type Item = Placed<Settlement>;

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
    const { args, runs } = settleArguments(chunk);
    if (also) args.push(...leaseArguments(store, also));
    const reply = asList(await store.scripts.run("settle", store.base(partition), args));
    if (also) leased = readLeases(store, also, reply[6]);
    readSettled({ partition, chunk, runs }, reply, replies);
  });
  return leased;
}

/** About. */
function bytesOf({ item }: Item): number {
  if (item.kind === "complete") return item.result?.data.length ?? 0;
  return item.kind === "fail" ? item.error.message.length + (item.error.stack?.length ?? 0) : 0;
}

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
