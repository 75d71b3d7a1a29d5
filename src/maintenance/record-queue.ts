import type { Transition } from "../broker/broker.js";
import type { RecordOutcome } from "../history/history.js";
import { isFinal, type Task } from "../task/task.js";

/** One transition on its way to history. */
export interface Entry {
  /** As the broker gave it. */
  readonly given: Transition;
  /** What history is told: as given, or mended (payload fetched, version lifted). */
  current: Transition;
  readonly bytes: number;
  /** Somebody waits for the answer. */
  readonly awaited: boolean;
  /** Monotonic ms at which it was given. */
  readonly givenAt: number;
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

/** Tasks first given by `until` (monotonic ms); by `liveUntil`, as far as they have not ended. */
export interface Which {
  readonly until: number;
  /** Default `until`. */
  readonly liveUntil?: number;
}

/** Tasks of which somebody waits for an answer, and those that nobody waits for. */
export type Line = "awaited" | "gathered";

/**
 * Transitions by task, oldest task first, in two lines. A task that is in flight is not taken again
 * before it is back.
 */
export class RecordQueue {
  readonly #lines: Record<Line, Map<string, Entry[]>> = { awaited: new Map(), gathered: new Map() };
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
    const key = outboxKey(transition);
    return key === undefined ? undefined : this.#byOutbox.get(key);
  }

  add(entry: Entry): void {
    this.#held.add(entry);
    const key = outboxKey(entry.given);
    if (key !== undefined) this.#byOutbox.set(key, entry);
    this.#bytes += entry.bytes;
    const { awaited, gathered } = this.#lines;
    const taskId = entry.given.task.id;
    const waiting = awaited.get(taskId) ?? gathered.get(taskId);
    if (waiting) waiting.push(entry);
    else (entry.awaited ? awaited : gathered).set(taskId, [entry]);
    if (entry.awaited && waiting) this.#hasten(taskId);
  }

  /** What is gathered of this task goes with what somebody waits for. */
  #hasten(taskId: string): void {
    const { awaited, gathered } = this.#lines;
    const waiting = gathered.get(taskId);
    if (!waiting) return;
    gathered.delete(taskId);
    awaited.set(taskId, waiting);
  }

  /**
   * Monotonic ms at which the longest waiting task of the line was given; undefined if none may fly
   * now.
   */
  oldest(line: Line): number | undefined {
    for (const [taskId, waiting] of this.#lines[line]) {
      if (!this.#flying.has(taskId)) return waiting[0]!.givenAt;
    }
    return undefined;
  }

  /** Tasks of the line, of which some may be flying. */
  waiting(line: Line): number {
    return this.#lines[line].size;
  }

  /**
   * Takes whole tasks, up to about `maxEntries` and `maxBytes`, at least one; empty if none may fly
   * now.
   */
  take(line: Line, which: Which, maxEntries: number, maxBytes: number): Batch {
    const { until, liveUntil = until } = which;
    const slices = new Map<string, Slice>();
    const entries: Entry[] = [];
    let bytes = 0;
    for (const [taskId, waiting] of this.#lines[line]) {
      if (entries.length >= maxEntries || bytes >= maxBytes) break;
      if (this.#flying.has(taskId)) continue;
      const { givenAt } = waiting[0]!;
      if (givenAt > until) break;
      if (givenAt > liveUntil && !isFinal(waiting.at(-1)!.given.task.status)) continue;
      const slice = waiting.splice(0, maxEntries - entries.length);
      if (waiting.length === 0) this.#lines[line].delete(taskId);
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
    const waiting = [...this.#lines.awaited.values(), ...this.#lines.gathered.values()].flat();
    for (const line of Object.values(this.#lines)) line.clear();
    const all = [...entries, ...waiting];
    const awaited = new Set<string>();
    for (const entry of all) if (entry.awaited) awaited.add(entry.given.task.id);
    for (const entry of all) {
      const taskId = entry.given.task.id;
      const line = this.#lines[awaited.has(taskId) ? "awaited" : "gathered"];
      const known = line.get(taskId);
      if (known) known.push(entry);
      else line.set(taskId, [entry]);
    }
  }

  /** Frees the memory of entries that are answered or given up. */
  dismiss(entries: Iterable<Entry>): void {
    for (const entry of entries) {
      if (!this.#held.delete(entry)) continue;
      const key = outboxKey(entry.given);
      if (key !== undefined) this.#byOutbox.delete(key);
      this.#bytes -= entry.bytes;
    }
  }

  /** Gives up everything, waiting or not. */
  clear(): Entry[] {
    const held = [...this.#held];
    for (const line of Object.values(this.#lines)) line.clear();
    this.#flying.clear();
    this.dismiss(held);
    return held;
  }
}

const outboxKey = ({ partition, outboxId }: Transition): string | undefined =>
  outboxId === undefined ? undefined : `${partition}:${outboxId}`;

export function createEntry(transition: Transition, awaited: boolean, givenAt: number): Entry {
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
    awaited,
    givenAt,
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
