import type { FreshTask } from "../../task/fresh-task.js";
import type { TaskSpec } from "../../task/task.js";
import type { Packer } from "./bytes.js";
import { at, headBytes, inlineBytes, packSize } from "./record.js";
import { ageAt, endOfNumber, packAge } from "./spec.js";

/** Where in a plain item its id and its record stand: bits and lane come before them. */
export const idAt = 3;
export const itemStart = 19;

/** A plain item of enqueue.lua, of which all others of the same spec are cast. */
class Mould {
  /** Up to the number in the spec, and from there to its end. */
  readonly #start: Buffer;
  readonly #rest: Buffer;

  /** `from`: where the item starts in what is packed. */
  constructor(packer: Packer, from: number) {
    const packed = packer.since(from);
    const specAt = itemStart + headBytes;
    const specEnd = specAt + packed.readUInt32BE(itemStart + at.specBytes);
    this.#start = packed.subarray(0, specAt + ageAt);
    this.#rest = packed.subarray(endOfNumber(packed, specAt + ageAt), specEnd);
  }

  /** Returns where the record starts. */
  cast(packer: Packer, { id, spec, frame, from, to }: FreshTask): number {
    const itemAt = packer.length;
    const start = itemAt + itemStart;
    packer.raw(this.#start);
    packer.uuidAt(itemAt + idAt, id);
    packAge(packer, spec.createdAt, id);
    packer.raw(this.#rest);
    packer.uint32At(start + at.specBytes, packer.length - start - headBytes);
    packer.uint16At(start + at.payloadBytes, to - from);
    packer.stretch(frame, from, to);
    packSize(packer, start);
    return start;
  }
}

interface Kind {
  readonly spec: TaskSpec;
  readonly lane: readonly string[];
  readonly mould: Mould;
}

/** So many kinds of tasks come alone by turns before one is forgotten. */
const kindsMax = 8;

/**
 * The moulds of tasks that come alone, kept from call to call: their specs are made for each
 * request, and differ in their time alone.
 */
export class LoneMoulds {
  readonly #kinds: Kind[] = [];
  #next = 0;

  /**
   * Packs it as the general way does, and returns the arguments of its lane; undefined: not known.
   */
  cast(packer: Packer, fresh: FreshTask): readonly string[] | undefined {
    if (fresh.to - fresh.from > inlineBytes) return undefined;
    for (const { spec, lane, mould } of this.#kinds) {
      if (!isOfKind(spec, fresh.spec)) continue;
      mould.cast(packer, fresh);
      return lane;
    }
    return undefined;
  }

  /** It is all that was packed, as a plain item. */
  learn(packer: Packer, { spec }: FreshTask, lane: readonly string[]): void {
    // No other has the same.
    for (const _ in spec.traceContext) return;
    this.#kinds[this.#next] = { spec, lane, mould: new Mould(packer, 0) };
    this.#next = (this.#next + 1) % kindsMax;
  }
}

/** But for the time at which they were made. A stream's tasks of a kind share what is no text. */
const isOfKind = (one: TaskSpec, other: TaskSpec): boolean =>
  one.type === other.type &&
  one.queue === other.queue &&
  one.namespace === other.namespace &&
  one.priority === other.priority &&
  one.payload === other.payload &&
  one.maxRetries === other.maxRetries &&
  one.retry === other.retry &&
  one.runAt === other.runAt &&
  one.timeoutMs === other.timeoutMs &&
  one.groupKey === other.groupKey &&
  one.requiredLabels === other.requiredLabels &&
  one.tags === other.tags &&
  one.idempotencyKey === other.idempotencyKey &&
  one.retentionMs === other.retentionMs &&
  one.traceContext === other.traceContext &&
  one.durability === other.durability &&
  one.terms === other.terms;

/** The moulds of one call. */
export class Moulds {
  readonly #known = new Map<TaskSpec, Mould>();
  #spec: TaskSpec | undefined;
  #mould: Mould | undefined;

  /** As the general way packs it, whose plain items `learn` was told of; undefined: not known. */
  cast(packer: Packer, fresh: FreshTask): number | undefined {
    if (fresh.to - fresh.from > inlineBytes) return undefined;
    if (fresh.spec !== this.#spec) {
      this.#spec = fresh.spec;
      this.#mould = this.#known.get(fresh.spec);
    }
    return this.#mould?.cast(packer, fresh);
  }

  learn(packer: Packer, from: number, { spec }: FreshTask): void {
    this.#mould = new Mould(packer, from);
    this.#known.set(spec, this.#mould);
    this.#spec = spec;
  }
}
