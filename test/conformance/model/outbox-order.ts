import { expect } from "vitest";
import type { Transition } from "../../../src/broker/broker.js";
import type { ReferenceBroker } from "./reference.js";

type Place = Pick<Transition, "outboxId" | "outboxPlace">;

/** Time and number of its entry, and its place there. */
function orderOf({ outboxId, outboxPlace }: Place): number[] {
  const numbers = outboxId!.match(/\d+/g)!.map(Number);
  return [numbers[0]!, numbers[1]!, outboxPlace];
}

/** A call may tell of tasks in another order than it was asked for them, by several entries. */
export function followOutbox(
  model: ReferenceBroker,
  before: number,
  places: readonly (Place | undefined)[],
): void {
  const orders = places.filter((place) => place?.outboxId !== undefined).map((it) => orderOf(it!));
  const told = model.outbox.splice(before);
  expect(told).toHaveLength(orders.length);
  const inOrder = told.map((entry, nth) => ({ entry, order: orders[nth]! }));
  inOrder.sort((a, b) => {
    const differs = a.order.findIndex((number, at) => number !== b.order[at]);
    return differs < 0 ? 0 : a.order[differs]! - b.order[differs]!;
  });
  model.outbox.push(...inOrder.map(({ entry }) => entry));
}
