import { uuidText } from "../../task/uuid.js";
import { FreshTask, specOf } from "../../task/fresh-task.js";
import type { Task } from "../../task/task.js";
import type { EnqueueItem } from "../broker.js";
import type { Packer } from "./bytes.js";
import { laneText, queueText } from "./keys.js";
import { idAt, itemStart, Moulds } from "./mould.js";
import { appendTask, packedSize, packSize, payloadApart, unpackTask, waitsFor } from "./record.js";

/* Tasks on their way to the store one by one: items, as enqueue.lua reads them. */

export const isInHistory = (item: EnqueueItem | FreshTask): boolean =>
  item.origin === "restore" || specOf(item).durability === "durable";

/** Packs them one behind another. */
export class ItemPacker {
  readonly lanes = new LaneList();
  /** Payloads that stand beside them. */
  readonly aparts: Uint8Array[] = [];
  readonly #packer: Packer;
  readonly #moulds: Moulds | undefined;

  /** `learns`: later tasks are cast of the first of their spec, which pays where there are any. */
  constructor(packer: Packer, learns: boolean) {
    this.#packer = packer;
    this.#moulds = learns ? new Moulds() : undefined;
  }

  /** Where its record starts; undefined: something about it is special. */
  append(item: EnqueueItem | FreshTask): number | undefined {
    const cast = item instanceof FreshTask ? this.#moulds?.cast(this.#packer, item) : undefined;
    if (cast !== undefined) return cast;
    const from = this.#packer.length;
    const apart = payloadApart(item.task);
    if (apart) this.aparts.push(apart);
    const lane = this.lanes.numberOf(item.task);
    const start = packItem(this.#packer, item, lane, apart !== undefined);
    if (start !== undefined && item instanceof FreshTask) {
      this.#moulds?.learn(this.#packer, from, item);
    }
    return start;
  }
}

/** Where its record starts, if nothing about it is special. */
function packItem(
  packer: Packer,
  item: EnqueueItem,
  lane: number,
  apart: boolean,
): number | undefined {
  const { task } = item;
  const restored = item.origin === "restore";
  const inHistory = isInHistory(item);
  const keyed = item.claimKey === true && task.idempotencyKey !== "";
  const plain = !restored && !keyed && !apart && isPlain(task);
  packer.byte(
    (restored ? 1 : 0) | (keyed ? 2 : 0) | (apart ? 4 : 0) | (inHistory ? 8 : 0) | (plain ? 16 : 0),
  );
  packer.uint16(lane);
  packer.uuid(task.id);
  if (!plain) packRare(packer, item, keyed);
  const start = packer.length;
  appendTask(packer, task, { inHistory, restored });
  packSize(packer, start);
  return plain && task.version === 1 ? start : undefined;
}

/** Of its first run, free to be leased at once, and nothing about it needs a second look. */
const isPlain = (task: Task): boolean =>
  task.groupKey === "" &&
  !task.terms &&
  task.run === 1 &&
  task.cancelRequestedAt === undefined &&
  waitsFor(task) === 0;

function packRare(packer: Packer, item: EnqueueItem, keyed: boolean): void {
  const { task } = item;
  packer.uint32(task.run);
  packer.double(item.asOf ?? 0);
  packer.uint48(waitsFor(task));
  const key = keyed ? queueText(task.namespace, task.queue) + task.idempotencyKey : "";
  packer.uint16(Buffer.byteLength(key));
  packer.rawText(key);
}

/** Lanes of a call, each once. */
class LaneList {
  readonly args: string[] = [];
  /** Of those behind the first: most calls have no more. */
  #numbers: Map<string, number> | undefined;

  numberOf(task: Task): number {
    const text = laneText(task);
    const known = text === this.args[0] ? 0 : this.#numbers?.get(text);
    if (known !== undefined) return known;
    const number = this.args.length / 3;
    this.args.push(text, queueText(task.namespace, task.queue), task.namespace);
    if (number > 0) (this.#numbers ??= new Map()).set(text, number);
    return number;
  }
}

/** Plain items one behind another, as the outbox holds them. */
export function recordsOfItems(items: Buffer): { id: string; record: Buffer }[] {
  const found: { id: string; record: Buffer }[] = [];
  for (let from = 0; from < items.length;) {
    const start = from + itemStart;
    const to = start + packedSize(items, start);
    found.push({ id: uuidText(items, from + idAt), record: items.subarray(start, to) });
    from = to;
  }
  return found;
}

/** New tasks among items, each read only where somebody asks for it. */
export class ItemTasks {
  readonly bytes: number;
  readonly #packed: Buffer;
  readonly #starts: readonly number[];

  /** `starts`: where their records are among the bytes. */
  constructor(packed: Buffer, starts: readonly number[]) {
    this.bytes = packed.length;
    this.#packed = packed;
    this.#starts = starts;
  }

  taskOf(nth: number, id: string): Task {
    const from = this.#starts[nth]!;
    const to = from + packedSize(this.#packed, from);
    return unpackTask(id, this.#packed.subarray(from, to));
  }
}
