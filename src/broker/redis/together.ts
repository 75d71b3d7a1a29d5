import { FreshTask, idOf } from "../../task/fresh-task.js";
import type { TaskSpec } from "../../task/task.js";
import type { EnqueueItem } from "../broker.js";
import { idBytes, longOwn, mouldHeadAt, togetherMark } from "./bundle.js";
import { Packer } from "./bytes.js";
import { ItemPacker } from "./items.js";
import { itemStart } from "./mould.js";
import { at, headBytes, inlineBytes } from "./record.js";
import { ageAt, endOfNumber, packAge } from "./spec.js";

type Item = EnqueueItem | FreshTask;

/** Plain tasks of one lane whose records differ in id, spec and payload at most. */
export interface PackedTogether {
  readonly packed: Buffer;
  /** Where the body of each is among the bytes. */
  readonly starts: readonly number[];
  readonly lanes: readonly string[];
}

const packer = new Packer();
/** For one item at a time. */
const scratch = new Packer();

/** Undefined: they are not all alike. Where they share the spec, it stands there once. */
export const packTogether = (items: readonly Item[]): PackedTogether | undefined =>
  packAs(items, true) ?? packAs(items, false);

function packAs(items: readonly Item[], isShared: boolean): PackedTogether | undefined {
  const alone = new ItemPacker(scratch, true);
  const bytesOf = (item: Item): Buffer | undefined => {
    scratch.reset();
    return alone.append(item) === undefined ? undefined : scratch.take();
  };
  const first = bytesOf(items[0]!);
  if (!first) return undefined;
  const kind = new Kind(first, isShared);
  packer.reset();
  kind.packMould(items.length);
  const idsAt = packer.length;
  packer.skip(items.length * idBytes);
  const starts: number[] = [];
  let spec: TaskSpec | undefined;
  for (let nth = 0; nth < items.length; nth += 1) {
    const item = items[nth]!;
    starts.push(packer.length);
    packer.uuidAt(idsAt + nth * idBytes, idOf(item));
    if (item instanceof FreshTask && item.spec === spec && fitsIn(item)) {
      castBody(item);
      continue;
    }
    const bytes = nth === 0 ? first : bytesOf(item);
    if (!bytes || !kind.has(bytes)) return undefined;
    kind.packBody(bytes);
    // Of its spec only the age is a task's own.
    if (isShared && item instanceof FreshTask) spec = item.spec;
  }
  return { packed: packer.take(), starts, lanes: alone.lanes.args };
}

const fitsIn = ({ from, to }: FreshTask): boolean => to - from <= inlineBytes;

function castBody({ id, spec, frame, from, to }: FreshTask): void {
  packer.uint16(to - from);
  const lengthAt = packer.length;
  packer.byte(0);
  packAge(packer, spec.createdAt, id);
  packer.byteAt(lengthAt, packer.length - lengthAt - 1);
  packer.stretch(frame, from, to);
}

const specAt = itemStart + headBytes;
const sizesAt = itemStart + at.specBytes;
/** Of an item: mark and lane; version to priority; and from the task's version to its spec. */
const sameParts = [
  [0, 3],
  [itemStart, itemStart + at.priority + 1],
  [itemStart + at.version, sizesAt],
] as const;

/** What some items have in common, by the first of them. */
class Kind {
  readonly #first: Buffer;
  readonly #isShared: boolean;
  readonly #before: Buffer;
  readonly #after: Buffer;

  constructor(first: Buffer, isShared: boolean) {
    this.#first = first;
    this.#isShared = isShared;
    const { from, to, specEnd } = this.#ownOf(first);
    this.#before = first.subarray(specAt, from);
    this.#after = first.subarray(to, specEnd);
  }

  /** Where the part of its spec stands that is an item's own. */
  #ownOf(item: Buffer): { from: number; to: number; specEnd: number } {
    const specEnd = specAt + item.readUInt32BE(sizesAt);
    if (!this.#isShared) return { from: specAt, to: specEnd, specEnd };
    const from = specAt + ageAt;
    return { from, to: endOfNumber(item, from), specEnd };
  }

  has(item: Buffer): boolean {
    const { from, to, specEnd } = this.#ownOf(item);
    return (
      sameParts.every(([a, b]) => item.compare(this.#first, a, b, a, b) === 0) &&
      item.subarray(specAt, from).equals(this.#before) &&
      item.subarray(to, specEnd).equals(this.#after)
    );
  }

  packMould(count: number): void {
    const first = this.#first;
    packer.byte(togetherMark);
    packer.part(first, 1, 3);
    packer.uint16(count);
    packer.byte(this.#before.length);
    packer.stretch(first, itemStart, specAt);
    packer.uint32At(mouldHeadAt + at.specBytes, this.#before.length + this.#after.length);
    packer.raw(this.#before);
    packer.raw(this.#after);
  }

  packBody(item: Buffer): void {
    const { from, to, specEnd } = this.#ownOf(item);
    packer.uint16(item.length - specEnd);
    if (to - from < longOwn) packer.byte(to - from);
    else {
      packer.byte(longOwn);
      packer.uint32(to - from);
    }
    packer.stretch(item, from, to);
    packer.stretch(item, specEnd, item.length);
  }
}
