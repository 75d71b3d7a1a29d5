import type { Hold } from "../transport/hold.js";
import { Fifo } from "./fifo.js";
import type { Submission } from "./submissions.js";

/** Unanswered at once; further submits wait their turn. */
const countMax = 10_000;
const bytesMax = 16 * 1024 * 1024;

/** Of one who came too early. */
export class Turn {
  readonly come: Promise<void>;
  isOver = false;
  #resolve!: () => void;
  #reject!: (error: unknown) => void;

  constructor() {
    this.come = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  begin(): void {
    this.isOver = true;
    this.#resolve();
  }

  /** The next one's comes the sooner. */
  giveUp(error: unknown): void {
    this.isOver = true;
    this.#reject(error);
  }
}

/** All submissions nobody has answered yet, bounded: whoever comes too early waits for a turn. */
export class Unanswered {
  /** The latest of a chain: a task is put in and taken out without an entry of its own. */
  #last: Submission | undefined;
  #size = 0;
  readonly #turns = new Fifo<Turn>();
  readonly #hold: Hold;
  #bytes = 0;
  #onEmpty: (() => void)[] = [];

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
    if (this.#turns.length > 0) this.beginTurn();
    if (this.#size === 0) {
      this.#hold.release();
      for (const tell of this.#onEmpty) tell();
      this.#onEmpty = [];
    }
    return true;
  }

  /** It begins when one has ended, in order. */
  turn(): Turn {
    const turn = new Turn();
    this.#turns.push(turn);
    return turn;
  }

  /** The next one's. Whoever has no use for his turn calls this. */
  beginTurn(): void {
    for (let next = this.#turns.shift(); next; next = this.#turns.shift()) {
      if (!next.isOver) return next.begin();
    }
  }

  /** Lets everybody go on at once. */
  beginAllTurns(): void {
    for (const turn of this.#turns.takeAll()) turn.begin();
  }

  empty(): Promise<void> {
    if (this.#size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#onEmpty.push(resolve));
  }
}
