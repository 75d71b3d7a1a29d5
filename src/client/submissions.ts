import { limits } from "../limits.js";
import { Fifo } from "./fifo.js";
import type { SubmitStatus } from "./surface.js";

/** Whoever submitted tasks together hears of each here, by its place among them, once. */
export interface Sink {
  taken(place: number, id: string, status: SubmitStatus, type: string): void;
  refused(place: number, error: unknown, type: string): void;
}

/**
 * One task on its way, until a coordinator has answered for it. No object literal on purpose: of
 * those V8 makes all among the old once the first got old, and each that is dead there keeps its
 * item and its promise from being collected young.
 */
export class Submission {
  readonly type: string;
  /**
   * The encoded task and its request id, see `encodeItem`: the same at every try, which makes a
   * repeat safe.
   */
  readonly item: Buffer;
  readonly sink: Sink;
  readonly place: number;
  /** On the monotonic clock; from then on nothing is repeated. */
  readonly endAt: number;
  /** Tries that were sent. */
  sends = 0;
  /** Answered, given up or aborted: whatever still comes for it is ignored. */
  done = false;
  /** Takes away listeners and timers of its own; few have any. */
  cleanup: (() => void)[] | undefined = undefined;
  /** Its neighbours among those without an answer. */
  before: Submission | undefined = undefined;
  after: Submission | undefined = undefined;

  constructor(type: string, item: Buffer, sink: Sink, place: number, endAt: number) {
    this.type = type;
    this.item = item;
    this.sink = sink;
    this.place = place;
    this.endAt = endAt;
  }
}

/** Room for the number of an item, and the tags and lengths around it. */
const itemOverhead = 16;

/** Waiting submissions, taken in order, in portions that fit a frame. */
export class SubmissionQueue {
  readonly #items = new Fifo<Submission>();
  #bytes = 0;

  get length(): number {
    return this.#items.length;
  }

  /** A whole frame waits: there is no point in waiting for the end of the tick. */
  get fullFrame(): boolean {
    return this.length >= limits.submitItems || this.#bytes >= limits.frameBytes;
  }

  push(submission: Submission): void {
    this.#items.push(submission);
    this.#bytes += submission.item.length + itemOverhead;
  }

  /** At most 1,000 and 1 MiB; those that are done are passed over. */
  take(): Submission[] {
    const taken: Submission[] = [];
    let bytes = 0;
    while (taken.length < limits.submitItems) {
      const next = this.#items.first;
      if (!next) break;
      const size = next.item.length + itemOverhead;
      if (taken.length > 0 && bytes + size > limits.frameBytes) break;
      this.#items.shift();
      this.#bytes -= size;
      if (next.done) continue;
      bytes += size;
      taken.push(next);
    }
    return taken;
  }
}
