import { FreshTask, specOf } from "../../task/fresh-task.js";
import type { Task } from "../../task/task.js";
import type { Births, EnqueueItem, Transition } from "../broker.js";

/** Of an object for them all, and of a place of each. */
const overheadBytes = 96;

/** New tasks in the bytes that take them to Redis, each read only where somebody asks for it. */
export interface PackedTasks {
  readonly bytes: number;
  taskOf(nth: number, id: string): Task;
}

/** New tasks of one call: the outbox of Redis holds the same bytes. */
export class PackedBirths implements Births {
  readonly partition: number;
  readonly ids: readonly string[];
  readonly version = 1;
  /** Of the outbox. */
  readonly entry: string;
  readonly #tasks: PackedTasks;

  /** All that this entry of the outbox tells of. */
  constructor(partition: number, entry: string, ids: readonly string[], tasks: PackedTasks) {
    this.partition = partition;
    this.ids = ids;
    this.entry = entry;
    this.#tasks = tasks;
  }

  get bytes(): number {
    return this.#tasks.bytes + this.ids.length * overheadBytes;
  }

  outboxIdOf(): string {
    return this.entry;
  }

  outboxPlaceOf(nth: number): number {
    return nth;
  }

  transitionOf(nth: number): Transition {
    return {
      partition: this.partition,
      outboxId: this.entry,
      outboxPlace: nth,
      task: this.#tasks.taskOf(nth, this.ids[nth]!),
      payloadOmitted: false,
      attempt: undefined,
    };
  }
}

/** Whether its birth is all that its record says, and no key is won with its row. */
export function isBirth(item: EnqueueItem | FreshTask): boolean {
  const { durability, idempotencyKey } = specOf(item);
  const isNew = item instanceof FreshTask || item.task.version === 1;
  return isNew && item.origin === "submit" && durability === "relaxed" && idempotencyKey === "";
}
