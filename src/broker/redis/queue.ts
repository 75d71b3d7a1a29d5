import { partitionOfSlot, slotOfQueue } from "../../task/ids.js";
import type { Lane, QueueControl, QueueCount } from "../broker.js";
import { laneOfText, laneText, markerKey, queueOfText, queueText } from "./keys.js";
import { statusOfCode } from "./record.js";
import { asList, asNumber, asText } from "./scripts.js";
import { allPartitions } from "./session.js";
import type { Store } from "./store.js";

/** The partition in which a queue lives. */
export const partitionOfQueue = (store: Store, namespace: string, queue: string): number =>
  partitionOfSlot(slotOfQueue(namespace, queue), store.partitions);

const baseOfQueue = (store: Store, namespace: string, queue: string): string =>
  store.base(partitionOfQueue(store, namespace, queue));

export async function setQueue(store: Store, control: QueueControl): Promise<void> {
  const { namespace, queue, paused } = control;
  const args = [queueText(namespace, queue), namespace, paused ? "1" : "0"];
  await store.scripts.run("set_queue", baseOfQueue(store, namespace, queue), args);
}

export async function lanes(store: Store, namespace: string, queue: string): Promise<Lane[]> {
  const args = ["lanes", queueText(namespace, queue)];
  const base = baseOfQueue(store, namespace, queue);
  return asList(await store.scripts.run("read_queue", base, args)).map((name) =>
    laneOfText(asText(name)),
  );
}

/** Puts a wake-up back that its taker could not use. */
export async function wake(store: Store, lane: Lane): Promise<void> {
  const base = baseOfQueue(store, lane.namespace, lane.queue);
  await store.nodes.send(base, "ZADD", [markerKey(base, laneText(lane)), "0", "1"]);
}

export async function counts(store: Store, namespace: string): Promise<QueueCount[]> {
  const replies = await Promise.all(
    allPartitions(store).map((partition) =>
      store.scripts.run("read_queue", store.base(partition), ["counts", namespace]),
    ),
  );
  const found: QueueCount[] = [];
  for (const row of replies.flatMap(asList)) {
    const [name, fields] = asList(row);
    const { queue } = queueOfText(asText(name));
    const list = asList(fields);
    for (let i = 0; i + 1 < list.length; i += 2) {
      const [priority, status] = asText(list[i]).split(":").map(Number);
      const tasks = asNumber(list[i + 1]);
      if (tasks === 0) continue;
      found.push({ queue, priority: priority!, status: statusOfCode(status!), tasks });
    }
  }
  return found;
}
