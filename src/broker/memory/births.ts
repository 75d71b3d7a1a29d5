import type { Births, EnqueueItem, EnqueueOutcome, RecordedItem, Transition } from "../broker.js";
import { recordBytes } from "./outbox.js";
import type { Partition } from "./partition.js";

/** Births of one partition, as its outbox holds them. */
class ToldBirths implements Births {
  readonly partition: number;
  readonly ids: readonly string[];
  readonly version = 1;
  readonly bytes: number;
  readonly #transitions: readonly Transition[];

  constructor(partition: number, transitions: readonly Transition[]) {
    this.partition = partition;
    this.ids = transitions.map(({ task }) => task.id);
    this.#transitions = transitions;
    const payloads = transitions.map(({ task }) => task.payload?.data.byteLength ?? 0);
    this.bytes = payloads.reduce((sum, bytes) => sum + bytes + recordBytes, 0);
  }

  outboxIdOf(nth: number): string {
    return this.#transitions[nth]!.outboxId!;
  }

  outboxPlaceOf(nth: number): number {
    return this.#transitions[nth]!.outboxPlace;
  }

  transitionOf(nth: number): Transition {
    return this.#transitions[nth]!;
  }
}

/** Of the plain ones among what came in. Marks their outcomes. */
export function birthsOf(
  items: readonly EnqueueItem[],
  outcomes: EnqueueOutcome[],
  partitionOf: (taskId: string) => Partition,
): Births[] {
  const born = new Map<Partition, Transition[]>();
  for (const [nth, { task }] of items.entries()) {
    const outcome = outcomes[nth]!;
    if (outcome.kind !== "enqueued" || outcome.outboxId === undefined) continue;
    if (task.idempotencyKey !== "" || task.terms || task.run !== 1 || task.version !== 1) continue;
    const partition = partitionOf(task.id);
    const told = born.get(partition) ?? [];
    born.set(partition, told);
    told.push(partition.outbox.told(outcome.outboxId)!);
    outcomes[nth] = { ...outcome, born: true };
  }
  return [...born].map(([partition, told]) => new ToldBirths(partition.number, told));
}

export const birthOf = (births: Births, nth: number): RecordedItem => ({
  partition: births.partition,
  outboxId: births.outboxIdOf(nth),
  outboxPlace: births.outboxPlaceOf(nth),
  taskId: births.ids[nth]!,
  version: births.version,
});
