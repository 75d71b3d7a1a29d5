import { leaseTokenProofAt } from "../../task/ids.js";
import { uuidText } from "../../task/uuid.js";
import type { Task } from "../../task/task.js";
import { stretchOf } from "./bytes.js";
import { at, headBytes, readAlike, readTask, tokenOf } from "./record.js";
import { readSpec, type Spec } from "./spec.js";
import type { Apart } from "./tail.js";

/*
 * Tasks that stand together in Redis, as lua/parts/bundle.lua keeps them: a mould, which holds once
 * what their records have in common, their ids, and their bodies, which hold what is each one's
 * own. Of a slice that was leased there is also a head: the header and the tail which the record of
 * its first would have. Those behind it count on from there.
 */
export interface Together {
  readonly mould: Buffer;
  readonly ids: Buffer;
  readonly bodies: Buffer;
}

/** The first byte of tasks that come together; of items it is a smaller number. */
export const togetherMark = 32;
/** In a mould, behind the mark: lane, number of tasks, bytes of the spec before each one's own. */
const countAt = 3;
const splitAt = 5;
/** Of the record's header there. */
export const mouldHeadAt = 6;
const mouldSpecAt = mouldHeadAt + headBytes;
export const idBytes = 16;
/** In the place of the bytes of a spec that are a task's own: their number stands behind it. */
export const longOwn = 0xff;
/** Where in a record stands what a grant leaves alone. */
const restAt = 78;

/** Undefined: these bytes are items one behind another. */
export function togetherIn(packed: Buffer): Together | undefined {
  if (packed[0] !== togetherMark) return undefined;
  const idsAt = mouldSpecAt + packed.readUInt32BE(mouldHeadAt + at.specBytes);
  const bodiesAt = idsAt + packed.readUInt16BE(countAt) * idBytes;
  return {
    mould: packed.subarray(0, idsAt),
    ids: packed.subarray(idsAt, bodiesAt),
    bodies: packed.subarray(bodiesAt),
  };
}

/** Where the part of the spec that is its own stands, and behind that the payload. */
interface Body {
  readonly from: number;
  readonly payloadAt: number;
  readonly to: number;
}

function bodyAt(bodies: Buffer, start: number): Body {
  const isLong = bodies[start + 2] === longOwn;
  const from = start + (isLong ? 7 : 3);
  const payloadAt = from + (isLong ? bodies.readUInt32BE(start + 3) : bodies[start + 2]!);
  return { from, payloadAt, to: payloadAt + bodies.readUInt16BE(start) };
}

/** The record that a task would have alone; `nth`: its place in its slice. */
function recordOf(
  mould: Buffer,
  bodies: Buffer,
  { from, payloadAt, to }: Body,
  head?: Buffer,
  nth = 0,
): Buffer {
  const specBytes = mould.length - mouldSpecAt + payloadAt - from;
  const tailAt = headBytes + specBytes + to - payloadAt;
  const record = Buffer.allocUnsafe(tailAt + (head ? head.length - restAt : 0));
  mould.copy(record, 0, mouldHeadAt, mouldSpecAt);
  if (head) {
    head.copy(record, 0, 0, restAt);
    head.copy(record, tailAt, restAt);
    record.writeDoubleBE(record.readDoubleBE(at.token) + nth, at.token);
  }
  const ownAt = mouldSpecAt + mould[splitAt]!;
  let end = headBytes + mould.copy(record, headBytes, mouldSpecAt, ownAt);
  end += bodies.copy(record, end, from, payloadAt);
  end += mould.copy(record, end, ownAt);
  bodies.copy(record, end, payloadAt, to);
  record.writeUInt32BE(specBytes, at.specBytes);
  record.writeUInt16BE(to - payloadAt, at.payloadBytes);
  return record;
}

/** The record of one of a slice. */
export const bundledRecord = (head: Buffer, mould: Buffer, body: Buffer, nth: number): Buffer =>
  recordOf(mould, body, bodyAt(body, 0), head, nth);

/** All of them, as `recordOf` makes them. `nth`: the place of the first in its slice. */
export function recordsOf(
  { mould, ids, bodies }: Together,
  head?: Buffer,
  nth = 0,
): { id: string; record: Buffer }[] {
  const found: { id: string; record: Buffer }[] = [];
  for (let idAt = 0, start = 0; idAt < ids.length; idAt += idBytes) {
    const body = bodyAt(bodies, start);
    const record = recordOf(mould, bodies, body, head, nth + found.length);
    found.push({ id: uuidText(ids, idAt), record });
    start = body.to;
  }
  return found;
}

const nothingApart: Apart = Object.freeze({});

/** Tasks of one mould, read without a record each: all but the first are like that one. */
class Casts {
  readonly first: Task;
  readonly #split: number;
  /** Undefined: each has its own. */
  readonly #spec: Spec | undefined;

  constructor(mould: Buffer, id: string, record: Buffer) {
    this.first = readTask(id, stretchOf(record), nothingApart);
    this.#split = mould[splitAt]!;
    const specEnd = headBytes + record.readUInt32BE(at.specBytes);
    this.#spec = this.#split > 0 ? readSpec(record, headBytes, specEnd, 0) : undefined;
  }

  read(id: string, bodies: Buffer, body: Body, fencingToken: number): Task {
    const { from, payloadAt, to } = body;
    const spec = this.#spec ?? readSpec(bodies, from, payloadAt, 0);
    // Where its spec would start if all of it stood there.
    const own = { packed: bodies, specAt: from - this.#split, payloadAt, to };
    return readAlike(id, spec, own, fencingToken, this.first);
  }
}

/** The tasks of a slice that was just leased, each with its lease token. */
export function readSlice(
  head: Buffer,
  { mould, ids, bodies }: Together,
  take: (task: Task, token: Buffer) => void,
): void {
  let body = bodyAt(bodies, 0);
  const record = recordOf(mould, bodies, body, head);
  const proof = stretchOf(record);
  const casts = new Casts(mould, uuidText(ids, 0), record);
  take(casts.first, tokenOf(ids, 0, proof));
  for (let nth = 1; nth * idBytes < ids.length; nth += 1) {
    body = bodyAt(bodies, body.to);
    const idAt = nth * idBytes;
    const fencingToken = casts.first.fencingToken + nth;
    const token = tokenOf(ids, idAt, proof);
    token.writeDoubleBE(fencingToken, leaseTokenProofAt);
    take(casts.read(uuidText(ids, idAt), bodies, body, fencingToken), token);
  }
}

/** New tasks that came together, each read only where somebody asks for it. */
export class TogetherTasks {
  readonly bytes: number;
  readonly #packed: Buffer;
  readonly #starts: readonly number[];
  #casts: Casts | undefined;

  /** `starts`: where the body of each is among the bytes. */
  constructor(packed: Buffer, starts: readonly number[]) {
    this.bytes = packed.length;
    this.#packed = packed;
    this.#starts = starts;
  }

  taskOf(nth: number, id: string): Task {
    const body = bodyAt(this.#packed, this.#starts[nth]!);
    const casts = (this.#casts ??= this.#castsOf(id, body));
    return casts.read(id, this.#packed, body, casts.first.fencingToken);
  }

  #castsOf(id: string, body: Body): Casts {
    const { mould } = togetherIn(this.#packed)!;
    return new Casts(mould, id, recordOf(mould, this.#packed, body));
  }
}
