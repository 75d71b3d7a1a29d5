import { limits } from "../../limits.js";
import type { CheckpointItem } from "../broker.js";
import type { Argument } from "./connection.js";
import { asList, asNumber } from "./scripts.js";
import { packResult } from "./sections.js";
import { inCalls, type Placed, splitToken, type Store } from "./store.js";

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
  type Ready = (typeof ready)[number];
  const size = {
    items: chunkItems,
    bytes: limits.leaseBatchBytes,
    bytesOf: ({ item }: Placed<Ready>): number => item.data.length,
  };
  const partitionOf = ({ split }: Ready): number | undefined => split?.partition;
  await inCalls(ready, partitionOf, size, async (partition, chunk) => {
    const args = chunk.flatMap(({ item: { split, sessionId, data } }): Argument[] => {
      return [split!.id, split!.proof, sessionId, data];
    });
    const reply = await store.scripts.run("checkpoint", store.base(partition), args);
    asList(reply).forEach((one, nth) => (kept[chunk[nth]!.index] = asNumber(one) === 1));
  });
  return kept;
}
