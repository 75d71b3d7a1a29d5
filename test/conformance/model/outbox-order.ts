import { expect } from "vitest";
import type { ReferenceBroker } from "./reference.js";

/** Time and number of its entry, and its place there. */
function orderOf(outboxId: string): number[] {
  const numbers = outboxId.match(/\d+/g)!.map(Number);
  return [numbers[0]!, numbers[1] ?? 0, numbers.at(-1)!];
}

/** A call may tell of tasks in another order than it was asked for them, by several entries. */
export function followOutbox(
  model: ReferenceBroker,
  before: number,
  outboxIds: readonly (string | undefined)[],
): void {
  const orders = outboxIds.filter((id) => id !== undefined).map(orderOf);
  const told = model.outbox.splice(before);
  expect(told).toHaveLength(orders.length);
  const inOrder = told.map((entry, nth) => ({ entry, order: orders[nth]! }));
  inOrder.sort((a, b) => {
    const differs = a.order.findIndex((number, at) => number !== b.order[at]);
    return differs < 0 ? 0 : a.order[differs]! - b.order[differs]!;
  });
  model.outbox.push(...inOrder.map(({ entry }) => entry));
}
