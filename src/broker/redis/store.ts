import type { Clock, Random } from "../../clock.js";
import {
  leaseTokenIdAt,
  leaseTokenProofAt,
  partitionOfSlot,
  slotOfId,
  slotOfLeaseToken,
} from "../../task/ids.js";
import { partitionKey } from "./keys.js";
import type { Nodes } from "./nodes.js";
import type { Scripts } from "./scripts.js";

/** What every part of the broker works with. */
export interface Store {
  readonly prefix: string;
  readonly partitions: number;
  /** Which Redis serves a partition. */
  readonly nodes: Nodes;
  readonly scripts: Scripts;
  readonly clock: Clock;
  readonly random: Random;
  /** Fewer tasks of a call do not stand together. */
  readonly bundleTasks: number;
  /** What the keys of a partition start with. */
  base(partition: number): string;
  partitionOf(taskId: string): number;
  /**
   * Highest fencing number seen per partition: a failover may take the store's own counter back.
   */
  readonly fencing: FencingMemory;
}

export interface FencingMemory {
  highest(partition: number): number;
  saw(partition: number, fencingToken: number): void;
}

export const basesOf = (prefix: string, partitions: number): string[] =>
  Array.from({ length: partitions }, (_, partition) => partitionKey(prefix, partition));

export function createStore(
  parts: Pick<Store, "prefix" | "partitions" | "nodes" | "clock" | "random" | "bundleTasks">,
): Store {
  const bases = basesOf(parts.prefix, parts.partitions);
  const highest = new Float64Array(parts.partitions);
  return {
    ...parts,
    scripts: parts.nodes,
    base: (partition) => bases[partition]!,
    partitionOf: (taskId) => partitionOfSlot(slotOfId(taskId), parts.partitions),
    fencing: {
      highest: (partition) => highest[partition]!,
      saw: (partition, fencingToken) => {
        if (fencingToken > highest[partition]!) highest[partition] = fencingToken;
      },
    },
  };
}

/** A lease token taken apart the way scripts compare it. */
export interface SplitToken {
  readonly partition: number;
  readonly id: Uint8Array;
  /** Fencing number and secret. */
  readonly proof: Uint8Array;
}

/** Undefined if it cannot be a token of ours. */
export function partitionOfToken(store: Store, token: Uint8Array): number | undefined {
  const slot = slotOfLeaseToken(token);
  return slot === undefined ? undefined : partitionOfSlot(slot, store.partitions);
}

/** Undefined if it cannot be a token of ours. */
export function splitToken(store: Store, token: Uint8Array): SplitToken | undefined {
  const partition = partitionOfToken(store, token);
  if (partition === undefined) return undefined;
  return {
    partition,
    id: token.subarray(leaseTokenIdAt, leaseTokenProofAt),
    proof: token.subarray(leaseTokenProofAt),
  };
}

/** An item, and its place in the request. */
export interface Placed<T> {
  readonly item: T;
  readonly index: number;
}

/** Items by partition, in order, each with its place in the request. */
function byPartition<T>(
  items: readonly T[],
  partitionOf: (item: T, index: number) => number | undefined,
): Map<number, Placed<T>[]> {
  const groups = new Map<number, Placed<T>[]>();
  // Most are in the partition of the one before.
  let last: number | undefined;
  let group: Placed<T>[] = [];
  for (let index = 0; index < items.length; index += 1) {
    const item = items[index]!;
    const partition = partitionOf(item, index);
    if (partition === undefined) continue;
    if (partition !== last) {
      last = partition;
      group = groups.get(partition) ?? [];
      groups.set(partition, group);
    }
    group.push({ item, index });
  }
  return groups;
}

/** How much one call takes; a single item always goes. */
export interface CallSize<T> {
  readonly items: number;
  /** Default: no bound. */
  readonly bytes?: number;
  readonly bytesOf?: (placed: Placed<T>) => number;
  /** What goes by calls of its own. Default: all of a partition goes together. */
  readonly parts?: (placed: readonly Placed<T>[]) => readonly (readonly Placed<T>[])[];
}

/**
 * Calls side by side for the items of each partition, as many as they take; an item without a
 * partition goes with none. `nth`: of the calls to its partition, from 0. Rejects when one does.
 */
export function inCalls<T>(
  items: readonly T[],
  partitionOf: (item: T, index: number) => number | undefined,
  size: CallSize<T>,
  call: (partition: number, chunk: readonly Placed<T>[], nth: number) => Promise<unknown>,
): Promise<unknown> {
  const calls: Promise<unknown>[] = [];
  // At a low rate items come alone, and lists of lists are dearer than all else here.
  if (items.length === 1) {
    const item = items[0]!;
    const partition = partitionOf(item, 0);
    return partition === undefined ? Promise.all(calls) : call(partition, [{ item, index: 0 }], 0);
  }
  for (const [partition, group] of byPartition(items, partitionOf)) {
    const parts = size.parts?.(group) ?? [group];
    const chunks = parts.flatMap((part) => [
      ...inChunks(part, size.items, size.bytesOf, size.bytes),
    ]);
    for (const [nth, chunk] of chunks.entries()) calls.push(call(partition, chunk, nth));
  }
  return Promise.all(calls);
}

/** Cuts a list so that no part has more items, or (but for a single item) more bytes. */
export function* inChunks<T>(
  items: readonly T[],
  most: number,
  bytesOf: (item: T) => number = () => 0,
  mostBytes: number = Number.POSITIVE_INFINITY,
): Generator<readonly T[]> {
  if (items.length <= most && (mostBytes === Infinity || sumOf(items, bytesOf) <= mostBytes)) {
    if (items.length > 0) yield items;
    return;
  }
  let chunk: T[] = [];
  let bytes = 0;
  for (const item of items) {
    const size = bytesOf(item);
    if (chunk.length >= most || (chunk.length > 0 && bytes + size > mostBytes)) {
      yield chunk;
      chunk = [];
      bytes = 0;
    }
    chunk.push(item);
    bytes += size;
  }
  if (chunk.length > 0) yield chunk;
}

function sumOf<T>(items: readonly T[], bytesOf: (item: T) => number): number {
  let sum = 0;
  for (const item of items) sum += bytesOf(item);
  return sum;
}
