import type { RecordedItem } from "../broker/broker.js";
import type { Timer } from "../clock.js";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import type { HeldEnds, HeldSheet } from "./held-ends.js";
import type { RecordQueue } from "./record-queue.js";
import type { RecorderOptions } from "./recorder.js";
import { ToldBirths } from "./told-births.js";

/** Tasks of one transaction, about. Their rows are written already, so it costs no long turn. */
const tasksMost = 2_000;

export interface SheetFlightCalls {
  /** Something may fly. */
  onDue(): void;
  /** With what went wrong, if history was away. */
  onLanded(error: unknown): void;
}

/** Takes sheets of ends to history, one flight at a time, and its answer to the broker. */
export class SheetFlight {
  readonly #options: RecorderOptions;
  readonly #queue: RecordQueue;
  readonly #ends: HeldEnds;
  readonly #calls: SheetFlightCalls;
  #flight: Promise<void> | undefined;
  readonly #tellings = new Set<Promise<void>>();
  #timer: Timer | undefined;
  /** Monotonic ms before which nothing flies again. */
  #restsUntil = 0;

  /** `ends`: of the queue. */
  constructor(
    options: RecorderOptions,
    queue: RecordQueue,
    ends: HeldEnds,
    calls: SheetFlightCalls,
  ) {
    this.#options = options;
    this.#queue = queue;
    this.#ends = ends;
    this.#calls = calls;
  }

  /** Sends off what has been gathered for long enough, or all that waits. */
  pump(atOnce: boolean): void {
    if (this.#flight) return;
    const { oldest } = this.#ends;
    if (oldest === undefined) return;
    const { clock } = this.#options;
    const now = clock.monotonic();
    const dueAt = Math.max(oldest + limits.recordGatherMs, this.#restsUntil);
    if (!atOnce && now < dueAt) {
      this.#timer ??= clock.after(dueAt - now, () => {
        this.#timer = undefined;
        this.#calls.onDue();
      });
      return;
    }
    this.#restsUntil = now + limits.recordGatherMs;
    this.#launch(this.#ends.takeDue(tasksMost));
  }

  #launch(sheets: readonly HeldSheet[]): void {
    this.#flight = this.#fly(sheets).then((error) => {
      this.#flight = undefined;
      this.#calls.onLanded(error);
    });
  }

  /** Resolves when nothing flies and the broker has heard of what was written. */
  async landed(): Promise<void> {
    await this.#flight;
    await Promise.all(this.#tellings);
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    await this.landed();
  }

  /**
   * Answers why nothing could be written. What history does not take as it is goes as any other.
   */
  async #fly(sheets: readonly HeldSheet[]): Promise<unknown> {
    const { clock, events, history } = this.#options;
    const startedAt = clock.monotonic();
    try {
      const written = await history.sheets!.record(sheets.map(({ sheet }) => sheet));
      if (!written) {
        this.#queue.dissolve(this.#ends, sheets);
        return undefined;
      }
      const rows = sheets.reduce((sum, { sheet }) => sum + sheet.size, 0);
      events.emit("history.recorded", { rows, ms: clock.monotonic() - startedAt });
      this.#tell(sheets);
      return undefined;
    } catch (error) {
      if (DroverError.from(error).id === "history_unavailable") {
        this.#ends.giveBack(sheets);
        return error;
      }
      this.#queue.dissolve(this.#ends, sheets);
      return undefined;
    }
  }

  /**
   * Then whoever waits. Not awaited by the next flight. An outbox drain repeats what the broker
   * does not hear.
   */
  #tell(sheets: readonly HeldSheet[]): void {
    const items: RecordedItem[] = [];
    const born = new ToldBirths();
    for (const { sheet, births, nths } of sheets) {
      for (let nth = 0; nth < sheet.size; nth += 1) {
        items.push(sheet.itemOf(nth));
        const of = births[nth];
        if (of) born.add(of, nths[nth]!);
      }
    }
    const telling = this.#options.broker
      .recorded(items, born.list)
      .catch(() => undefined)
      .finally(() => {
        this.#tellings.delete(telling);
        for (const sheet of sheets) {
          this.#ends.dismiss(sheet);
          for (const { onRecorded, ends } of sheet.waiting) onRecorded(indexesOf(ends), "applied");
        }
      });
    this.#tellings.add(telling);
  }
}

const indexesOf = (ends: readonly number[]): number[] => ends.filter((_, at) => at % 2 === 0);
