import type { Broker } from "../broker/broker.js";
import { partitionOfSlot } from "../task/ids.js";
import { emptyPlaces, Failed } from "./batcher.js";

/**
 * One call of the broker for a batch, but where it has several partitions one call for each, side
 * by side: a store that is away fails only the items of its own partitions. Replies have the order
 * of the items. An item without a slot goes with partition 0.
 */
export function partitionwise<Item, Reply>(
  { partitions }: Pick<Broker, "partitions">,
  items: Item[],
  slotOf: (item: Item) => number | undefined,
  call: (items: Item[]) => Promise<Reply[]>,
): Promise<(Reply | Failed)[]> {
  if (partitions === 1) return call(items);
  const groups = new Map<number, Group<Item>>();
  for (const [place, item] of items.entries()) {
    const partition = partitionOfSlot(slotOf(item) ?? 0, partitions);
    const group = groups.get(partition);
    if (group) {
      group.items.push(item);
      group.places.push(place);
    } else groups.set(partition, { items: [item], places: [place] });
  }
  if (groups.size === 1) return call(items);
  return sideBySide([...groups.values()], items.length, call);
}

/** Items of one partition, and their places in the whole. */
interface Group<Item> {
  readonly items: Item[];
  readonly places: number[];
}

async function sideBySide<Item, Reply>(
  groups: readonly Group<Item>[],
  count: number,
  call: (items: Item[]) => Promise<Reply[]>,
): Promise<(Reply | Failed)[]> {
  const replies = emptyPlaces<Reply | Failed>(count);
  const calls = groups.map(async (group) => {
    try {
      const answers = await call(group.items);
      group.places.forEach((place, at) => (replies[place] = answers[at]!));
    } catch (error) {
      const failed = new Failed(error);
      for (const place of group.places) replies[place] = failed;
    }
  });
  await Promise.all(calls);
  return replies;
}
