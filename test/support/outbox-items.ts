import type { RecordedItem, Transition } from "../../src/broker/broker.js";

/** What the broker is told once history holds it. */
export const itemOf = (transition: Transition): RecordedItem => ({
  partition: transition.partition,
  outboxId: transition.outboxId!,
  outboxPlace: transition.outboxPlace,
  taskId: transition.task.id,
  version: transition.task.version,
});
