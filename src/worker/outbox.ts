import { create } from "@bufbuild/protobuf";
import {
  type Heartbeat,
  type Offer,
  type TaskProgress,
  TaskProgressSchema,
  WorkRequestSchema,
} from "../../gen/drover/v1/task_pb.js";
import type { Clock, Timer } from "../clock.js";
import { tokenBytes } from "./lease-table.js";
import type { UnackedResults } from "./results.js";
import type { UnkeptNotes } from "./notes.js";
import type { WorkStream } from "./stream.js";

export interface OutboxOptions {
  clock: Clock;
  results: UnackedResults;
  notes: UnkeptNotes;
  /** Where frames go; undefined while there is no stream. */
  stream(): WorkStream | undefined;
  offer(): Offer;
}

/**
 * Progress is for people's eyes: it rides along with other frames, or waits this long for
 * company.
 */
const progressMs = 100;

/**
 * Gathers what is to be said until the end of the tick and says it in as few frames as the bounds
 * allow. What waits here is bounded by itself: results by their own bound, progress and offers
 * because only the latest counts.
 */
export class Outbox {
  readonly #options: OutboxOptions;
  readonly #progress = new Map<string, TaskProgress>();
  #offerDue = false;
  #leaving = false;
  #stopped = false;
  #leaveDue = false;
  #scheduled: NodeJS.Immediate | "soon" | undefined;
  #progressTimer: Timer | undefined;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  /**
   * Something waits. A result goes at once where none is on its way; else with whatever else this
   * tick brings.
   */
  poke(): void {
    if (this.#scheduled) return;
    if (this.#options.results.quiet) {
      this.#scheduled = "soon";
      process.nextTick(() => this.#flush());
    } else this.#scheduled = setImmediate(() => this.#flush());
  }

  offerChanged(): void {
    this.#offerDue = true;
    this.poke();
  }

  progress(key: string, fraction: number, message: string): void {
    const leaseToken = tokenBytes(key);
    this.#progress.set(key, create(TaskProgressSchema, { leaseToken, fraction, message }));
    this.#progressTimer ??= this.#options.clock.after(progressMs, () => this.#flush());
  }

  forgetProgress(key: string): void {
    if (this.#progress.size > 0) this.#progress.delete(key);
  }

  /** Log entries wait for company, as progress does. */
  noted(): void {
    this.#progressTimer ??= this.#options.clock.after(progressMs, () => this.#flush());
  }

  /** Now, past everything else. False if the stream takes nothing at present. */
  heartbeat(heartbeat: Heartbeat): boolean {
    const stream = this.#options.stream();
    if (!stream?.writable) return false;
    stream.write({ outcomes: [], rest: create(WorkRequestSchema, { heartbeat }) });
    return true;
  }

  leave(): void {
    this.#leaving = true;
    this.#leaveDue = true;
    this.#offerDue = true;
    // An idle worker half-closes within this tick: the goodbye must be on its way by then.
    this.#flush();
  }

  /** A new stream, whose hello carried the offer; what older ones were told holds no more. */
  begin(): void {
    this.#offerDue = false;
    this.#leaveDue = this.#leaving;
    // Acks may still come on the old stream with this tick: what they settle is not sent again.
    this.#scheduled ??= setImmediate(() => this.#flush());
  }

  stop(): void {
    this.#stopped = true;
    if (typeof this.#scheduled === "object") clearImmediate(this.#scheduled);
    this.#progressTimer?.cancel();
  }

  #flush(): void {
    this.#scheduled = undefined;
    if (this.#stopped) return;
    for (;;) {
      const stream = this.#options.stream();
      if (!stream?.writable || !this.#waits()) return;
      const { notes } = this.#options;
      const said = notes.waits ? notes.take() : undefined;
      // What a lease has to say stands before its result, in this frame or an earlier one.
      const outcomes = notes.waits ? [] : this.#options.results.take(stream.generation);
      if (!said && !this.#moreWaits()) {
        stream.write({ outcomes, rest: undefined });
        continue;
      }
      const offer = this.#offerDue ? { offer: this.#options.offer() } : {};
      const rest = create(WorkRequestSchema, {
        ...said,
        progress: [...this.#progress.values()],
        leaving: this.#leaveDue,
        ...offer,
      });
      this.#progress.clear();
      this.#progressTimer?.cancel();
      this.#progressTimer = undefined;
      this.#offerDue = false;
      this.#leaveDue = false;
      stream.write({ outcomes, rest });
    }
  }

  #waits(): boolean {
    return this.#options.results.unsent > 0 || this.#moreWaits();
  }

  #moreWaits(): boolean {
    const noted = this.#options.notes.waits;
    return noted || this.#offerDue || this.#leaveDue || this.#progress.size > 0;
  }
}
