import { limits } from "../../limits.js";
import { uuidText } from "../../task/uuid.js";
import { FreshTask, idOf, specOf } from "../../task/fresh-task.js";
import type { TaskSpec } from "../../task/task.js";
import type { EnqueueItem, EnqueueOutcome, EnqueueReply, LeaseRequest } from "../broker.js";
import { isBirth, PackedBirths, type PackedTasks } from "./births.js";
import { TogetherTasks } from "./bundle.js";
import { Packer } from "./bytes.js";
import type { Argument } from "./connection.js";
import { isInHistory, ItemPacker, ItemTasks } from "./items.js";
import { laneText } from "./keys.js";
import { itemStart, LoneMoulds } from "./mould.js";
import { leaseArguments, readAlone, readLeases } from "./lease.js";
import { asBytes, asList, asNumber, asText, type Reply } from "./scripts.js";
import { noBytes } from "./sections.js";
import { type CallSize, inCalls, type Placed, type Store } from "./store.js";
import { packTogether } from "./together.js";

type Item = Placed<EnqueueItem>;

export async function enqueue(
  store: Store,
  items: readonly EnqueueItem[],
  eager: LeaseRequest | undefined,
): Promise<EnqueueReply> {
  const reply: EnqueueReply = { outcomes: [], births: [], leases: [] };
  const partitionOf = (item: EnqueueItem): number => store.partitionOf(idOf(item));
  await inCalls(items, partitionOf, callSize(store), (partition, chunk, nth) => {
    // Only the first call may lease at once: the others come behind it.
    const also = nth === 0 && eager?.partition === partition ? eager : undefined;
    return enqueueChunk(store, partition, chunk, also, reply);
  });
  return reply;
}

/** Tasks a script takes in at once: some 2 ms of a busy Redis. A bundle has room for 256. */
const callSize = ({ bundleTasks }: Store): CallSize<EnqueueItem> => ({
  items: 200,
  bytes: limits.leaseBatchBytes,
  bytesOf,
  parts: (placed) => byFlow(placed, 2 * bundleTasks),
});

/** About. */
const bytesOf = ({ item }: Item): number =>
  400 + (item instanceof FreshTask ? item.to - item.from : (item.task.payload?.data.length ?? 0));

async function enqueueChunk(
  store: Store,
  partition: number,
  chunk: readonly Item[],
  eager: LeaseRequest | undefined,
  reply: EnqueueReply,
): Promise<void> {
  const { args, births } = enqueueArguments(chunk, store.bundleTasks);
  if (eager) args.push(...leaseArguments(store, eager));
  const answer = await store.scripts.run("enqueue", store.base(partition), args);
  // One that was granted alone; see enqueue.lua.
  const alone = Buffer.isBuffer(answer) ? answer : undefined;
  const idAt = alone ? 1 + alone[0]! : 0;
  const [entry, refused, leased] = alone ? [] : asList(answer);
  const told = alone ? alone.toString("latin1", 1, idAt) : asText(entry);
  const born = births && asList(refused).length === 0 ? births : undefined;
  if (born) {
    const ids = chunk.map(({ item }) => idOf(item));
    reply.births.push(new PackedBirths(partition, told, ids, born));
  }
  readOutcomes(chunk, told, asList(refused), born !== undefined, reply.outcomes);
  if (alone) reply.leases.push(readAlone(store, partition, alone, idAt));
  else if (eager && leased) reply.leases.push(...readLeases(store, eager, leased).leases);
}

/**
 * Those of one lane and priority for themselves, as they may stand together, where they are at
 * least so many: a call costs Redis what a dozen tasks save it. The others in one call. In their
 * order, as tasks of one lane wait for each other; of the calls, which may lease at once, the one
 * with the highest priority first.
 */
export function byFlow(placed: readonly Item[], fewest: number): readonly (readonly Item[])[] {
  const flows = new Map<string, Item[]>();
  let last: TaskSpec | undefined;
  let flow: Item[] = [];
  for (const one of placed) {
    const spec = specOf(one.item);
    if (spec !== last) {
      last = spec;
      const name = `${spec.priority}${laneText(spec)}`;
      flow = flows.get(name) ?? [];
      flows.set(name, flow);
    }
    flow.push(one);
  }
  const own = [...flows.values()].filter(({ length }) => length >= fewest);
  if (own.length === 0 || flows.size === 1) return [placed];
  const others = [...flows.values()].filter(({ length }) => length < fewest).flat();
  const parts = others.length === 0 ? own : [...own, others];
  return parts.sort((a, b) => highestOf(b) - highestOf(a));
}

const highestOf = (items: readonly Item[]): number =>
  items.reduce((highest, { item }) => Math.max(highest, specOf(item).priority), 0);

const packer = new Packer();

interface Packed {
  readonly args: Argument[];
  /** If their births are all that there is to tell of them. */
  readonly births: PackedTasks | undefined;
}

/**
 * As enqueue.lua reads them: few arguments, as each costs both sides more than its bytes.
 * `bundleTasks`: so many that are alike go together.
 */
export function enqueueArguments(chunk: readonly Item[], bundleTasks: number): Packed {
  const items = chunk.map(({ item }) => item);
  const areBirths = items.every(isBirth);
  const together = items.length < bundleTasks ? undefined : packTogether(items);
  if (!together) return itemArguments(items, areBirths);
  const { packed, starts, lanes } = together;
  const births = areBirths ? new TogetherTasks(packed, starts) : undefined;
  return { args: ["1", ...lanes, packed, placesOf(starts, packed.length), "0"], births };
}

function itemArguments(items: readonly (EnqueueItem | FreshTask)[], areBirths: boolean): Packed {
  const [first] = items;
  const lone = items.length === 1 && first instanceof FreshTask ? first : undefined;
  const lane = lone && loneMoulds.cast(packer.reset(), lone);
  if (lane) return packedArguments(lane, [itemStart], [], areBirths);
  const into = new ItemPacker(packer.reset(), items.length > 1);
  const starts: number[] = [];
  for (const item of items) {
    const start = into.append(item);
    if (start !== undefined) starts.push(start);
  }
  const { lanes, aparts } = into;
  const arePlain = starts.length === items.length;
  if (lone && arePlain) loneMoulds.learn(packer, lone, lanes.args);
  return packedArguments(lanes.args, starts, aparts, areBirths && arePlain);
}

const loneMoulds = new LoneMoulds();

/** Of what was packed. `starts`: where the records of births are. */
function packedArguments(
  lanes: readonly string[],
  starts: readonly number[],
  aparts: readonly Uint8Array[],
  areBirths: boolean,
): Packed {
  const packed = packer.take();
  const count = String(lanes.length / 3);
  const args = [count, ...lanes, packed, noBytes, String(aparts.length), ...aparts];
  return { args, births: areBirths ? new ItemTasks(packed, starts) : undefined };
}

/** Four bytes for each start, and for the end. */
function placesOf(starts: readonly number[], end: number): Buffer {
  const places = Buffer.allocUnsafe(starts.length * 4 + 4);
  starts.forEach((start, nth) => places.writeUInt32BE(start, nth * 4));
  places.writeUInt32BE(end, starts.length * 4);
  return places;
}

/** The births of the reply say where the outbox tells of it. */
const bornOutcome: EnqueueOutcome = {
  kind: "enqueued",
  outboxId: undefined,
  outboxPlace: 0,
  born: true,
};

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
      ? { kind: "enqueued", outboxId: undefined, outboxPlace: 0 }
      : { kind: "enqueued", outboxId: entry, outboxPlace: told++, born };
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
