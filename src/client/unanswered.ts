import type { Hold } from "../transport/hold.js";
import type { Submission } from "./submissions.js";

/** Unanswered at once; further submits wait their turn. */
const countMax = 10_000;
const bytesMax = 16 * 1024 * 1024;

/** All submissions nobody has answered yet, bounded: whoever comes too early waits for a turn. */
export class Unanswered {
  /** The latest of a chain: a task is put in and taken out without an entry of its own. */
  #last: Submission | undefined;
  #size = 0;
  readonly #turns: (() => void)[] = [];
  readonly #hold: Hold;
  #bytes = 0;
  #onEmpty: (() => void) | undefined;

  constructor(hold: Hold) {
    this.#hold = hold;
  }

  get size(): number {
    return this.#size;
  }

  get full(): boolean {
    return this.#size >= countMax || this.#bytes >= bytesMax;
  }

  /** The oldest first. */
  [Symbol.iterator](): Iterator<Submission> {
    const all: Submission[] = [];
    for (let one = this.#last; one; one = one.before) all.push(one);
    return all.toReversed().values();
  }

  add(submission: Submission): void {
    submission.before = this.#last;
    if (this.#last) this.#last.after = submission;
    this.#last = submission;
    this.#size += 1;
    this.#bytes += submission.item.length;
    this.#hold.take();
  }

  /** What is out keeps no pointer: an old one would keep the others from being collected young. */
  #takeOut(submission: Submission): void {
    const { before, after } = submission;
    if (before) before.after = after;
    if (after) after.before = before;
    else this.#last = before;
    submission.before = undefined;
    submission.after = undefined;
    this.#size -= 1;
  }

  /** False if it ended before: only one end counts. */
  finish(submission: Submission): boolean {
    if (submission.done) return false;
    submission.done = true;
    if (submission.cleanup) for (const clean of submission.cleanup) clean();
    this.#takeOut(submission);
    this.#bytes -= submission.item.length;
    this.#turns.shift()?.();
    if (this.#size === 0) {
      this.#hold.release();
      this.#onEmpty?.();
    }
    return true;
  }

  /** Resolves when one has ended; those who wait are woken in order. */
  turn(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#turns.splice(this.#turns.indexOf(turn), 1);
        reject(signal?.reason as Error);
      };
      const turn = (): void => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#turns.push(turn);
    });
  }

  /** Lets everybody go on at once. */
  releaseTurns(): void {
    for (const turn of this.#turns.splice(0)) turn();
  }

  empty(): Promise<void> {
    if (this.#size === 0) return Promise.resolve();
    return new Promise((resolve) => (this.#onEmpty = resolve));
  }
}
