import { idBytes } from "./record.js";
import { byPartition, inChunks, type Store } from "./store.js";

/** Ids a script takes at once: some 1 ms of Redis. */
const chunkItems = 1_000;

/** See Broker.watch and Broker.announceLogs: one script each, over the ids of a partition. */
export async function onWatched(
  store: Store,
  script: "watch" | "announce_logs",
  taskIds: readonly string[],
): Promise<void> {
  const calls: Promise<unknown>[] = [];
  for (const [partition, group] of byPartition(taskIds, (id) => store.partitionOf(id))) {
    for (const chunk of inChunks(group, chunkItems)) {
      const ids = chunk.map(({ item }) => idBytes(item));
      calls.push(store.scripts.run(script, store.base(partition), ids));
    }
  }
  await Promise.all(calls);
}
