import type { ReplaceItem, ReplaceReply } from "../broker.js";
import { type Argument, ownStoreId } from "./connection.js";
import { namespaceText } from "./keys.js";
import { idBytes } from "./record.js";
import { asList, asNumber, asText, type Reply } from "./scripts.js";
import { readTransition, type Told } from "./transition.js";
import { inCalls, type Placed, type Store } from "./store.js";
import { packSuccessor } from "./successor.js";
import { limits } from "../../limits.js";

const chunkItems = 100;

export async function replace(
  store: Store,
  items: readonly ReplaceItem[],
): Promise<ReplaceReply[]> {
  const replies: ReplaceReply[] = [];
  const packed = items.map((item) => ({ item, successor: packSuccessor(item.successor) }));
  const size = {
    items: chunkItems,
    bytes: limits.leaseBatchBytes,
    bytesOf: (placed: Placed<Packed>): number => placed.item.successor.length,
  };
  const partitionOf = ({ item }: Packed): number => store.partitionOf(item.taskId);
  await inCalls(packed, partitionOf, size, (partition, chunk) =>
    replaceChunk(store, partition, chunk, replies),
  );
  return replies;
}

interface Packed {
  readonly item: ReplaceItem;
  readonly successor: Buffer;
}

async function replaceChunk(
  store: Store,
  partition: number,
  chunk: readonly Placed<Packed>[],
  replies: ReplaceReply[],
): Promise<void> {
  const args: Argument[] = [ownStoreId];
  for (const { item: packed } of chunk) {
    const { taskId, namespace, unstarted, reason } = packed.item;
    const flag = unstarted ? "1" : "0";
    args.push(idBytes(taskId), namespaceText(namespace), flag, reason, packed.successor);
  }
  const reply = await store.scripts.run("replace", store.base(partition), args);
  const [entry, time, rows] = asList(reply);
  const told = { partition, entry: asText(entry), at: asNumber(time) };
  asList(rows).forEach((row, i) => {
    const { item: packed, index } = chunk[i]!;
    replies[index] = readReply(told, packed.item, asList(row));
  });
}

function readReply(told: Told, item: ReplaceItem, row: readonly Reply[]): ReplaceReply {
  const kind = asText(row[0]!);
  switch (kind) {
    case "replaced": {
      const { successor } = item;
      const transition = Object.assign(readTransition(told, item.taskId, 0, row, 1), { successor });
      return { kind, transition };
    }
    case "held":
    case "over":
    case "cold":
    case "outbox_full":
      return { kind };
    default:
      return { kind: "unknown" };
  }
}
