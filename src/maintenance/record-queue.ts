import type { Transition } from "../broker/broker.js";
import type { RecordOutcome } from "../history/history.js";
import type { Task } from "../task/task.js";

/** One transition on its way to history. */
export interface Entry {
  /** As the broker gave it. */
  readonly given: Transition;
  /** What history is told: as given, or mended (payload fetched, version lifted). */
  current: Transition;
  readonly bytes: number;
  /** Monotonic ms at which history first answered that it has no such row. */
  missingSince: number | undefined;
  readonly done: Promise<RecordOutcome>;
  resolve(outcome: RecordOutcome): void;
  reject(error: unknown): void;
}

/** All entries of one task that travel together, in the order given. */
type Slice = readonly Entry[];

export interface Batch {
  readonly entries: readonly Entry[];
  readonly slices: ReadonlyMap<string, Slice>;
}

/**
 * Transitions by task, oldest task first. A task that is in flight is not taken again before it is
 * back.
 */
export class RecordQueue {
  #waiting = new Map<string, Entry[]>();
  readonly #flying = new Map<string, Slice>();
  readonly #held = new Set<Entry>();
  readonly #byOutbox = new Map<string, Entry>();
  #bytes = 0;

  /** Of all entries not yet dismissed, waiting or not. */
  get bytes(): number {
    return this.#bytes;
  }

  get held(): ReadonlySet<Entry> {
    return this.#held;
  }

  /**
   * The same outbox entry, given before and not yet dismissed: an outbox drain meets what its
   * recorder still holds.
   */
  find(transition: Transition): Entry | undefined {
    return this.#byOutbox.get(outboxKey(transition));
  }

  add(entry: Entry): void {
    this.#held.add(entry);
    if (entry.given.outboxId !== undefined) this.#byOutbox.set(outboxKey(entry.given), entry);
    this.#bytes += entry.bytes;
    const taskId = entry.given.task.id;
    const waiting = this.#waiting.get(taskId);
    if (waiting) waiting.push(entry);
    else this.#waiting.set(taskId, [entry]);
  }

  /**
   * Takes whole tasks up to about `maxEntries` and `maxBytes`, at least one; empty if none may fly
   * now.
   */
  take(maxEntries: number, maxBytes: number): Batch {
    const slices = new Map<string, Slice>();
    const entries: Entry[] = [];
    let bytes = 0;
    for (const [taskId, waiting] of this.#waiting) {
      if (entries.length >= maxEntries || bytes >= maxBytes) break;
      if (this.#flying.has(taskId)) continue;
      const slice = waiting.splice(0, maxEntries - entries.length);
      if (waiting.length === 0) this.#waiting.delete(taskId);
      this.#flying.set(taskId, slice);
      slices.set(taskId, slice);
      for (const entry of slice) {
        entries.push(entry);
        bytes += entry.bytes;
      }
    }
    return { entries, slices };
  }

  /** The batch is back; its tasks may fly again. */
  landed(batch: Batch): void {
    for (const taskId of batch.slices.keys()) this.#flying.delete(taskId);
  }

  /** Puts entries before all that wait, in their order. */
  giveBack(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    const merged = new Map<string, Entry[]>();
    for (const source of [entries, [...this.#waiting.values()].flat()]) {
      for (const entry of source) {
        const taskId = entry.given.task.id;
        const waiting = merged.get(taskId);
        if (waiting) waiting.push(entry);
        else merged.set(taskId, [entry]);
      }
    }
    this.#waiting = merged;
  }

  /** Frees the memory of entries that are answered or given up. */
  dismiss(entries: Iterable<Entry>): void {
    for (const entry of entries) {
      if (!this.#held.delete(entry)) continue;
      this.#byOutbox.delete(outboxKey(entry.given));
      this.#bytes -= entry.bytes;
    }
  }

  /** Gives up everything, waiting or not. */
  clear(): Entry[] {
    const held = [...this.#held];
    this.#waiting.clear();
    this.#flying.clear();
    this.dismiss(held);
    return held;
  }
}

const outboxKey = ({ partition, outboxId }: Transition): string => `${partition}:${outboxId ?? ""}`;

export function createEntry(transition: Transition): Entry {
  let resolve!: Entry["resolve"];
  let reject!: Entry["reject"];
  const done = new Promise<RecordOutcome>((onDone, onError) => {
    resolve = onDone;
    reject = onError;
  });
  return {
    given: transition,
    current: transition,
    bytes: sizeOf(transition.task),
    missingSince: undefined,
    done,
    resolve,
    reject,
  };
}

/** What the objects around the data take; measured in V8, rounded up. */
const taskOverheadBytes = 2_048;

/** Estimated bytes of memory. */
export const sizeOf = (task: Task): number =>
  taskOverheadBytes +
  (task.payload?.data.byteLength ?? 0) +
  (task.result?.data.byteLength ?? 0) +
  (task.error ? 2 * (task.error.message.length + (task.error.stack?.length ?? 0)) : 0);
