import type { RecordedItem } from "../broker/broker.js";
import type { Timer } from "../clock.js";
import { DroverError } from "../errors.js";
import type { RecordOutcome } from "../history/history.js";
import type { Task } from "../task/task.js";
import { fetchPayloads, liftVersions } from "./mending.js";
import type { Entry } from "./record-entry.js";
import type { RecordQueue } from "./record-queue.js";
import type { RecorderOptions } from "./recorder.js";
import { ToldBirths } from "./told-births.js";

/**
 * An update whose row is not there yet is tried again so often, and for so long; then the outbox
 * keeps it.
 */
const missingRetryMs = 250;
const missingMaxMs = 10_000;

/** Entries with what history said of each. */
interface Answered {
  readonly entries: Entry[];
  readonly outcomes: RecordOutcome[];
}

/** Takes batches to history, and its answers to whoever waits for them. */
export class RecordFlight {
  readonly #options: RecorderOptions;
  readonly #queue: RecordQueue;
  readonly #endings = new Set<Promise<void>>();
  #parked: Entry[] = [];
  #parkTimer: Timer | undefined;
  /** Called once history holds the end of a task. */
  onEnded: (task: Task) => void = () => undefined;
  /** Parked entries stand in the queue again. */
  readonly #onBack: () => void;

  constructor(options: RecorderOptions, queue: RecordQueue, onBack: () => void) {
    this.#options = options;
    this.#queue = queue;
    this.#onBack = onBack;
  }

  /** Rejects when history is away: nothing is answered then. */
  async fly(entries: readonly Entry[]): Promise<void> {
    const over = await this.#sort(entries, await this.#write(entries));
    // Not awaited: the next flush must not wait for the broker.
    const ending = this.#finish(over).finally(() => this.#endings.delete(ending));
    this.#endings.add(ending);
  }

  /** Resolves when all that is written is answered; what is parked is forgotten. */
  async stop(): Promise<void> {
    this.#parkTimer?.cancel();
    this.#parkTimer = undefined;
    await Promise.all(this.#endings);
    this.#parked = [];
  }

  /**
   * By halves when history refuses the whole for another reason than being away: one bad row must
   * not hold up the rest. No outcome: given up.
   */
  async #write(entries: readonly Entry[]): Promise<(RecordOutcome | undefined)[]> {
    try {
      return await this.#options.history.record(entries.map((entry) => entry.current));
    } catch (error) {
      if (DroverError.from(error).id === "history_unavailable") throw error;
      if (entries.length === 1) return this.#giveUp(entries, error);
      const middle = entries.length >> 1;
      const first = await this.#write(entries.slice(0, middle));
      return [...first, ...(await this.#write(entries.slice(middle)))];
    }
  }

  #giveUp(entries: readonly Entry[], error: unknown): undefined[] {
    this.#options.events.emit("loop.failed", { loop: "recorder", error });
    this.#queue.dismiss(entries);
    for (const entry of entries) entry.reject(error);
    return entries.map(() => undefined);
  }

  /** Returns what is answered for good; the rest goes back to the queue. */
  async #sort(
    entries: readonly Entry[],
    outcomes: readonly (RecordOutcome | undefined)[],
  ): Promise<Answered> {
    const missing: Entry[] = [];
    const overtaken: Entry[] = [];
    const over: Answered = { entries: [], outcomes: [] };
    for (let nth = 0; nth < entries.length; nth += 1) {
      const entry = entries[nth]!;
      const outcome = outcomes[nth];
      if (outcome === "applied") answer(over, entry, outcome);
      else if (outcome === undefined) continue;
      else if (outcome === "missing" && this.#mayWait(entry)) missing.push(entry);
      else if (outcome === "superseded" && entry.isFinal) overtaken.push(entry);
      else answer(over, entry, outcome);
    }
    // This one first: it may fail, and then the whole batch goes back as it was.
    if (overtaken.length > 0) {
      const { again, left } = await liftVersions(this.#options.history, overtaken);
      this.#queue.giveBack(again);
      for (const entry of left) answer(over, entry, "superseded");
    }
    if (missing.length > 0) {
      const { again, left } = await fetchPayloads(this.#options.broker, missing);
      this.#queue.giveBack(again);
      this.#park(left);
    }
    return over;
  }

  #mayWait(entry: Entry): boolean {
    if (entry.outboxId === undefined) return false;
    const now = this.#options.clock.monotonic();
    entry.missingSince ??= now;
    return now - entry.missingSince < missingMaxMs;
  }

  #park(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    this.#parked.push(...entries);
    this.#parkTimer ??= this.#options.clock.after(missingRetryMs, () => {
      this.#parkTimer = undefined;
      this.#queue.giveBack(this.#parked.splice(0));
      this.#onBack();
    });
  }

  /**
   * Tells the broker, then whoever waits. If the broker does not hear it, an outbox drain repeats
   * the whole.
   */
  async #finish({ entries, outcomes }: Answered): Promise<void> {
    const items: RecordedItem[] = [];
    const born = new ToldBirths();
    for (let nth = 0; nth < entries.length; nth += 1) {
      const entry = entries[nth]!;
      if (entry.endsTerms) this.onEnded(entry.current.task);
      if (!isInOutbox(entry) || outcomes[nth] === "missing") continue;
      if (entry.birth) born.add(entry.birth, entry.nthBirth);
      items.push(entry);
    }
    if (items.length > 0) {
      const { broker } = this.#options;
      await broker.recorded(items, born.list).catch(() => undefined);
    }
    this.#queue.dismiss(entries);
    for (let nth = 0; nth < entries.length; nth += 1) entries[nth]!.resolve(outcomes[nth]!);
  }
}

const isInOutbox = (entry: Entry): entry is Entry & RecordedItem => entry.outboxId !== undefined;

function answer(answered: Answered, entry: Entry, outcome: RecordOutcome): void {
  answered.entries.push(entry);
  answered.outcomes.push(outcome);
}
