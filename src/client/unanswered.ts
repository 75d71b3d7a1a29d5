import type { Hold } from "../transport/hold.js";
import type { Submission } from "./submissions.js";

/** Unanswered at once; further submits wait their turn. */
const countMax = 10_000;
const bytesMax = 16 * 1024 * 1024;

/** All submissions nobody has answered yet, bounded: whoever comes too early waits for a turn. */
export class Unanswered {
  readonly #submissions = new Set<Submission>();
  readonly #turns: (() => void)[] = [];
  readonly #hold: Hold;
  #bytes = 0;
  #onEmpty: (() => void) | undefined;

  constructor(hold: Hold) {
    this.#hold = hold;
  }

  get size(): number {
    return this.#submissions.size;
  }

  get full(): boolean {
    return this.#submissions.size >= countMax || this.#bytes >= bytesMax;
  }

  [Symbol.iterator](): IterableIterator<Submission> {
    return this.#submissions.values();
  }

  add(submission: Submission): void {
    this.#submissions.add(submission);
    this.#bytes += submission.task.length;
    this.#hold.take();
  }

  /** False if it ended before: only one end counts. */
  finish(submission: Submission): boolean {
    if (submission.done) return false;
    submission.done = true;
    if (submission.cleanup) for (const clean of submission.cleanup) clean();
    this.#submissions.delete(submission);
    this.#bytes -= submission.task.length;
    this.#turns.shift()?.();
    if (this.#submissions.size === 0) {
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
    if (this.#submissions.size === 0) return Promise.resolve();
    return new Promise((resolve) => (this.#onEmpty = resolve));
  }
}
