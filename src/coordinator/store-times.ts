import type { Broker } from "../broker/broker.js";
import { partitionOfSlot, slotOfId } from "../task/ids.js";

/**
 * The present time of the store of each of these tasks, to be read before history is: what is
 * restored carries it. Rejects if one of the stores does not answer.
 */
export async function storeTimes(
  broker: Pick<Broker, "partitions" | "now">,
  taskIds: readonly string[],
): Promise<(taskId: string) => number> {
  const partitionOf = (id: string): number => partitionOfSlot(slotOfId(id), broker.partitions);
  const partitions = [...new Set(taskIds.map(partitionOf))];
  const times = await Promise.all(partitions.map((partition) => broker.now(partition)));
  return (taskId) => times[partitions.indexOf(partitionOf(taskId))]!;
}
