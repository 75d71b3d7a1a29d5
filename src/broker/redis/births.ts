import type { Births, EnqueueItem, Transition } from "../broker.js";
import { placeIn } from "./keys.js";
import { packedSize, unpackTask } from "./record.js";

/** Of an object for them all, and of a place of each. */
const overheadBytes = 96;

/** New tasks of one call, in the bytes that took them to Redis: its outbox holds the same. */
export class PackedBirths implements Births {
  readonly partition: number;
  readonly ids: readonly string[];
  readonly version = 1;
  /** Of the outbox. */
  readonly entry: string;
  readonly #packed: Buffer;
  /** Where the records start. */
  readonly #starts: readonly number[];

  /** All that this entry of the outbox tells of. */
  constructor(
    partition: number,
    entry: string,
    ids: readonly string[],
    packed: Buffer,
    starts: readonly number[],
  ) {
    this.partition = partition;
    this.ids = ids;
    this.entry = entry;
    this.#packed = packed;
    this.#starts = starts;
  }

  get bytes(): number {
    return this.#packed.length + this.ids.length * overheadBytes;
  }

  outboxIdOf(nth: number): string {
    return placeIn(this.entry, nth);
  }

  transitionOf(nth: number): Transition {
    const from = this.#starts[nth]!;
    const record = this.#packed.subarray(from, from + packedSize(this.#packed, from));
    return {
      partition: this.partition,
      outboxId: this.outboxIdOf(nth),
      task: unpackTask(this.ids[nth]!, record),
      payloadOmitted: false,
      attempt: undefined,
    };
  }
}

/** Whether its birth is all that its record says, and no key is won with its row. */
export const isBirth = ({ origin, task }: EnqueueItem): boolean =>
  origin === "submit" &&
  task.durability === "relaxed" &&
  task.idempotencyKey === "" &&
  task.version === 1;
