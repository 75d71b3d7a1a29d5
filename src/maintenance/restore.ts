import type { Broker, EnqueueOutcome } from "../broker/broker.js";
import { DroverError } from "../errors.js";
import type { History } from "../history/history.js";
import { limits } from "../limits.js";
import type { Task } from "../task/task.js";
import { sizeOf } from "./record-entry.js";

/** Below every id: where a pass starts. */
export const firstId = "00000000-0000-0000-0000-000000000000";

/**
 * Above any number of transitions that history may not have heard of yet, so that what comes next
 * is the newer.
 */
const versionLift = 1_000;
/** A page that took so long that the broker refused it is read anew, at most so often. */
const pageTries = 3;

export const lifted = (task: Task): Task => ({ ...task, version: task.version + versionLift });

/** Bytes of one enqueue call: a page may hold 500 payloads of 256 KiB. */
const chunkBytes = 4 * 1024 * 1024;

/**
 * Offers rows of history to the broker again; it takes those it does not know. Replies in the order
 * of the rows.
 */
export async function restoreRows(
  broker: Broker,
  rows: readonly Task[],
  asOf: number,
): Promise<EnqueueOutcome[]> {
  const outcomes: EnqueueOutcome[] = [];
  for (const chunk of chunksOf(rows)) {
    const items = chunk.map((task) => ({ task, origin: "restore" as const, asOf }));
    const reply = await broker.enqueue(items);
    outcomes.push(...reply.outcomes);
  }
  return outcomes;
}

function* chunksOf(rows: readonly Task[]): Generator<Task[]> {
  let chunk: Task[] = [];
  let bytes = 0;
  for (const row of rows) {
    const size = sizeOf(row);
    if (chunk.length > 0 && (chunk.length >= limits.restoreBatch || bytes + size > chunkBytes)) {
      yield chunk;
      chunk = [];
      bytes = 0;
    }
    chunk.push(row);
    bytes += size;
  }
  if (chunk.length > 0) yield chunk;
}

export interface PageOptions {
  readonly broker: Broker;
  readonly history: History;
  readonly partition: number;
  readonly afterId: string;
  readonly limit: number;
  /** The row as it is to be restored. */
  readonly prepare: (row: Task) => Task;
}

export interface RestoredPage {
  readonly ids: readonly string[];
  /** Of these the broker knew nothing. */
  readonly restored: readonly string[];
}

/** One page of live rows in id order, offered to the broker. Empty at the end. */
export async function restorePage(options: PageOptions): Promise<RestoredPage> {
  const { broker, history, partition, afterId, limit } = options;
  for (let tries = 1; ; tries += 1) {
    // Read before the rows: the broker refuses rows that were read too long ago, as they may have
    // ended since.
    const asOf = await broker.now(partition);
    const rows = await history.liveTasks(partition, broker.partitions, afterId, limit);
    const outcomes = await restoreRows(broker, rows.map(options.prepare), asOf);
    const ids = rows.map((row) => row.id);
    const kinds = outcomes.map((outcome) => outcome.kind);
    if (!kinds.includes("too_old") && !kinds.includes("outbox_full")) {
      return { ids, restored: ids.filter((_, index) => kinds[index] === "enqueued") };
    }
    if (tries >= pageTries) throw refusedPage(partition, ids.length, kinds);
  }
}

const refusedPage = (partition: number, rows: number, kinds: readonly string[]): DroverError =>
  new DroverError(
    "broker_unavailable",
    `partition ${partition}: expected the broker to take ${rows} rows back, ` +
      `it refused some ${pageTries} times (${[...new Set(kinds)].join(", ")})`,
    { hint: "The stores are slow or history is behind; it is tried again." },
  );

/**
 * All live rows of a partition above `afterId`. Returns what the first page held, and how many rows
 * there were in all.
 */
export async function restoreAll(
  options: PageOptions,
  signal: AbortSignal,
): Promise<{ firstPage: ReadonlySet<string>; rows: number; restored: number }> {
  let { afterId } = options;
  let firstPage: ReadonlySet<string> | undefined;
  let rows = 0;
  let restored = 0;
  for (;;) {
    signal.throwIfAborted();
    const page = await restorePage({ ...options, afterId });
    firstPage ??= new Set(page.ids);
    rows += page.ids.length;
    restored += page.restored.length;
    if (page.ids.length < options.limit) return { firstPage, rows, restored };
    afterId = page.ids.at(-1)!;
  }
}
