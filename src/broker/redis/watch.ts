import { idBytes } from "./record.js";
import { inCalls, type Store } from "./store.js";

/** Ids a script takes at once: some 1 ms of Redis. */
const chunkItems = 1_000;

/** See Broker.watch and Broker.announceLogs: one script each, over the ids of a partition. */
export async function onWatched(
  store: Store,
  script: "watch" | "announce_logs",
  taskIds: readonly string[],
): Promise<void> {
  const partitionOf = (id: string): number => store.partitionOf(id);
  await inCalls(taskIds, partitionOf, { items: chunkItems }, (partition, chunk) => {
    const ids = chunk.map(({ item }) => idBytes(item));
    return store.scripts.run(script, store.base(partition), ids);
  });
}
