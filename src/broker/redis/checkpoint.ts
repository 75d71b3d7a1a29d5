import { limits } from "../../limits.js";
import type { CheckpointItem } from "../broker.js";
import type { Argument } from "./connection.js";
import { asList, asNumber } from "./scripts.js";
import { packResult } from "./sections.js";
import { byPartition, inChunks, splitToken, type Store } from "./store.js";

const chunkItems = 50;

/** See Broker.checkpoint. */
export async function checkpoint(
  store: Store,
  items: readonly CheckpointItem[],
): Promise<boolean[]> {
  const kept = items.map(() => false);
  const ready = items.map((item, index) => ({
    index,
    sessionId: item.sessionId,
    split: splitToken(store, item.token),
    data: packResult(item.checkpoint),
  }));
  const calls: Promise<void>[] = [];
  const bytesOf = ({ item }: { item: (typeof ready)[number] }) => item.data.length;
  for (const [partition, group] of byPartition(ready, ({ split }) => split?.partition)) {
    for (const chunk of inChunks(group, chunkItems, bytesOf, limits.leaseBatchBytes)) {
      const args = chunk.flatMap(({ item: { split, sessionId, data } }): Argument[] => {
        return [split!.id, split!.proof, sessionId, data];
      });
      const call = store.scripts.run("checkpoint", store.base(partition), args);
      calls.push(
        call.then((reply) => {
          asList(reply).forEach((one, nth) => (kept[chunk[nth]!.index] = asNumber(one) === 1));
        }),
      );
    }
  }
  await Promise.all(calls);
  return kept;
}
