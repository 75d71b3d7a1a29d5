import { limits } from "../../limits.js";
import { uuidText } from "../../task/uuid.js";
import { FreshTask, idOf, specOf } from "../../task/fresh-task.js";
import type { Task } from "../../task/task.js";
import type { EnqueueItem, EnqueueOutcome, EnqueueReply, LeaseRequest } from "../broker.js";
import { isBirth, PackedBirths } from "./births.js";
import { areAlike, itemStart } from "./bundle.js";
import { Packer } from "./bytes.js";
import type { Argument } from "./connection.js";
import { laneText, placeIn, queueText } from "./keys.js";
import { leaseArguments, readLeases } from "./lease.js";
import { Moulds } from "./mould.js";
import { appendTask, packSize, payloadApart, waitsFor } from "./record.js";
import { asBytes, asList, asNumber, asText, type Reply } from "./scripts.js";
import { noBytes } from "./sections.js";
import { type CallSize, inCalls, type Placed, type Store } from "./store.js";

type Item = Placed<EnqueueItem>;

export async function enqueue(
  store: Store,
  items: readonly EnqueueItem[],
  eager: LeaseRequest | undefined,
): Promise<EnqueueReply> {
  const reply: EnqueueReply = { outcomes: [], births: [], leases: [] };
  const partitionOf = (item: EnqueueItem): number => store.partitionOf(idOf(item));
  await inCalls(items, partitionOf, callSize, (partition, chunk, nth) => {
    // Only the first call may lease at once: the others come behind it.
    const also = nth === 0 && eager?.partition === partition ? eager : undefined;
    return enqueueChunk(store, partition, chunk, also, reply);
  });
  return reply;
}

/** Tasks a script takes in at once: some 2 ms of a busy Redis. */
const callSize: CallSize<EnqueueItem> = {
  items: 200,
  bytes: limits.leaseBatchBytes,
  /** About. */
  bytesOf: ({ item }) =>
    400 + (item instanceof FreshTask ? item.to - item.from : (item.task.payload?.data.length ?? 0)),
};

async function enqueueChunk(
  store: Store,
  partition: number,
  chunk: readonly Item[],
  eager: LeaseRequest | undefined,
  reply: EnqueueReply,
): Promise<void> {
  const { args, packed, starts, areBirths } = enqueueArguments(chunk);
  if (eager) args.push(...leaseArguments(store, eager));
  const [entry, refused, leased] = asList(
    await store.scripts.run("enqueue", store.base(partition), args),
  );
  const told = asText(entry);
  const born = areBirths && asList(refused).length === 0;
  if (born) {
    const ids = chunk.map(({ item }) => idOf(item));
    reply.births.push(new PackedBirths(partition, told, ids, packed, starts));
  }
  readOutcomes(chunk, told, asList(refused), born, reply.outcomes);
  if (eager && leased) reply.leases.push(...readLeases(store, eager, leased).leases);
}

const packer = new Packer();

interface Packed {
  readonly args: Argument[];
  readonly packed: Buffer;
  /** Of the records of tasks about which nothing is special. */
  readonly starts: number[];
  /** All of them are, and their births are all that there is to tell. */
  readonly areBirths: boolean;
}

/** As enqueue.lua reads them: few arguments, as each costs both sides more than its bytes. */
export function enqueueArguments(chunk: readonly Item[]): Packed {
  const lanes = new LaneList();
  const starts: number[] = [];
  const aparts: Uint8Array[] = [];
  const moulds = new Moulds();
  let births = 0;
  packer.reset();
  for (const { item } of chunk) {
    const cast = item instanceof FreshTask ? moulds.cast(packer, item) : undefined;
    if (cast !== undefined) {
      starts.push(cast);
      births += isInHistory(item) ? 0 : 1;
      continue;
    }
    const from = packer.length;
    const apart = payloadApart(item.task);
    if (apart) aparts.push(apart);
    const start = packItem(item, lanes.numberOf(item.task), apart !== undefined);
    if (start === undefined) continue;
    starts.push(start);
    if (isBirth(item)) births += 1;
    if (item instanceof FreshTask && chunk.length > 1) moulds.learn(packer, from, item);
  }
  const packed = packer.take();
  const places = starts.length === chunk.length ? placesOf(chunk, starts, packed) : noBytes;
  const args = [
    String(lanes.size),
    ...lanes.args,
    packed,
    places,
    String(aparts.length),
    ...aparts,
  ];
  return { args, packed, starts, areBirths: births === chunk.length };
}

/** Where each of some tasks starts and where they end, if all are of one kind; or else nothing. */
function placesOf(chunk: readonly Item[], starts: readonly number[], packed: Buffer): Buffer {
  if (chunk.length < 2) return noBytes;
  const spec = specOf(chunk[0]!.item);
  const isOfKind = ({ item }: Item, nth: number): boolean =>
    specOf(item) === spec || areAlike(packed, starts[0]!, starts[nth]!);
  if (!chunk.every(isOfKind)) return noBytes;
  const places = Buffer.allocUnsafe(starts.length * 4 + 4);
  starts.forEach((start, nth) => places.writeUInt32BE(start - itemStart, nth * 4));
  places.writeUInt32BE(packed.length, starts.length * 4);
  return places;
}

/** Where its record starts, if nothing about it is special. */
function packItem(item: EnqueueItem, lane: number, apart: boolean): number | undefined {
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
  if (!plain) packRare(item, keyed);
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

function packRare(item: EnqueueItem, keyed: boolean): void {
  const { task } = item;
  packer.uint32(task.run);
  packer.double(item.asOf ?? 0);
  packer.uint48(waitsFor(task));
  const key = keyed ? queueText(task.namespace, task.queue) + task.idempotencyKey : "";
  packer.uint16(Buffer.byteLength(key));
  packer.rawText(key);
}

const isInHistory = (item: EnqueueItem): boolean =>
  item.origin === "restore" || specOf(item).durability === "durable";

/** Lanes of a call, each once. */
class LaneList {
  readonly args: string[] = [];
  readonly #numbers = new Map<string, number>();

  get size(): number {
    return this.#numbers.size;
  }

  numberOf(task: Task): number {
    const text = laneText(task);
    const known = this.#numbers.get(text);
    if (known !== undefined) return known;
    this.args.push(text, queueText(task.namespace, task.queue), task.namespace);
    this.#numbers.set(text, this.#numbers.size);
    return this.#numbers.size - 1;
  }
}

/** The births of the reply say where the outbox tells of it. */
const bornOutcome: EnqueueOutcome = { kind: "enqueued", outboxId: undefined, born: true };

/** `refused`: place in the chunk, outcome and holder's id of each; the others were taken in. */
function readOutcomes(
  chunk: readonly Item[],
  entry: string,
  refused: readonly Reply[],
  born: boolean,
  outcomes: EnqueueOutcome[],
): void {
  for (let i = 0; i < refused.length; i += 3) {
    const { index } = chunk[asNumber(refused[i]!)]!;
    outcomes[index] = readRefusal(asText(refused[i + 1]), refused[i + 2]!);
  }
  let told = 0;
  for (const { item, index } of chunk) {
    if (born && item instanceof FreshTask) {
      // As all of the call came in, so did this one.
      outcomes[index] = bornOutcome;
      told += 1;
      continue;
    }
    outcomes[index] ??= isInHistory(item)
      ? { kind: "enqueued", outboxId: undefined }
      : { kind: "enqueued", outboxId: placeIn(entry, told++), born };
  }
}

function readRefusal(kind: string, holder: Reply): EnqueueOutcome {
  switch (kind) {
    case "key_taken":
      return { kind, taskId: uuidText(asBytes(holder)) };
    case "too_old":
    case "outbox_full":
    case "too_many_lanes":
      return { kind };
    default:
      return { kind: "known" };
  }
}
