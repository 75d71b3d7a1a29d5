import { limits } from "../../limits.js";
import { uuidText } from "../../task/ids.js";
import type { EnqueueItem, EnqueueOutcome, EnqueueReply, LeaseRequest } from "../broker.js";
import { Packer } from "./bytes.js";
import type { Argument } from "./connection.js";
import { laneText, queueText } from "./keys.js";
import { leaseArguments, readLeases } from "./lease.js";
import { idBytes, packTask, type PackedTask } from "./record.js";
import { asBytes, asList, asText, type Reply } from "./scripts.js";
import { byPartition, inChunks, type Store } from "./store.js";

/** Tasks a script takes in at once: some 4 ms of a busy Redis. */
const chunkItems = 150;

interface Packed extends PackedTask {
  readonly item: EnqueueItem;
  readonly index: number;
}

export async function enqueue(
  store: Store,
  items: readonly EnqueueItem[],
  eager: LeaseRequest | undefined,
): Promise<EnqueueReply> {
  const outcomes: EnqueueOutcome[] = [];
  const reply: EnqueueReply = { outcomes, leases: [] };
  const calls: Promise<void>[] = [];
  for (const [partition, group] of byPartition(items, (item) => store.partitionOf(item.task.id))) {
    const packed = group.map(({ item, index }) => ({ item, index, ...pack(item) }));
    // Only the first chunk may lease at once: the others come behind it.
    let also = eager?.partition === partition ? eager : undefined;
    for (const chunk of inChunks(packed, chunkItems, bytesOf, limits.leaseBatchBytes)) {
      calls.push(enqueueChunk(store, partition, chunk, also, reply));
      also = undefined;
    }
  }
  await Promise.all(calls);
  return reply;
}

const pack = ({ task, origin }: EnqueueItem): PackedTask =>
  packTask(task, {
    inHistory: origin === "restore" || task.durability === "durable",
    restored: origin === "restore",
  });

const bytesOf = ({ record, payloadApart }: Packed): number =>
  record.length + (payloadApart?.length ?? 0);

async function enqueueChunk(
  store: Store,
  partition: number,
  chunk: readonly Packed[],
  eager: LeaseRequest | undefined,
  reply: EnqueueReply,
): Promise<void> {
  const lanes = new Map<string, number>();
  const laneArgs: Argument[] = [];
  const itemArgs: Argument[] = [];
  for (const { item, record, payloadApart } of chunk) {
    const { task } = item;
    const text = laneText(task);
    let lane = lanes.get(text);
    if (lane === undefined) {
      lane = lanes.size;
      lanes.set(text, lane);
      laneArgs.push(text, queueText(task.namespace, task.queue), task.namespace);
    }
    itemArgs.push(idBytes(task.id), record, payloadApart ?? "", control(item, lane), keyOf(item));
  }
  const args = [String(lanes.size), ...laneArgs, String(chunk.length), ...itemArgs];
  if (eager) args.push(...leaseArguments(store, eager));
  const [outcomes, leased] = asList(
    await store.scripts.run("enqueue", store.base(partition), args),
  );
  asList(outcomes).forEach((outcome, i) => {
    reply.outcomes[chunk[i]!.index] = readOutcome(outcome);
  });
  if (eager && leased) reply.leases.push(...readLeases(store, eager, leased).leases);
}

const packer = new Packer();

/** As enqueue.lua unpacks it: origin, claims its key, lane, run, time read before history was. */
function control(item: EnqueueItem, lane: number): Buffer {
  packer.reset();
  packer.byte(item.origin === "restore" ? 1 : 0);
  packer.byte(item.claimKey && item.task.idempotencyKey !== "" ? 1 : 0);
  packer.byte(lane >> 8);
  packer.byte(lane & 0xff);
  packer.uint32(item.task.run);
  packer.double(item.asOf ?? 0);
  return packer.take();
}

const keyOf = ({ task, claimKey }: EnqueueItem): string =>
  claimKey ? `${queueText(task.namespace, task.queue)}${task.idempotencyKey}` : "";

function readOutcome(reply: Reply): EnqueueOutcome {
  const [kind, detail] = asList(reply);
  switch (asText(kind)) {
    case "enqueued":
      return { kind: "enqueued", outboxId: asText(detail) || undefined };
    case "key_taken":
      return { kind: "key_taken", taskId: uuidText(asBytes(detail)) };
    case "too_old":
      return { kind: "too_old" };
    case "outbox_full":
      return { kind: "outbox_full" };
    case "too_many_lanes":
      return { kind: "too_many_lanes" };
    default:
      return { kind: "known" };
  }
}
