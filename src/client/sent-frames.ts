import type { Submission } from "./submissions.js";

interface SentFrame {
  /** Number of its first submission; the others follow. */
  readonly first: number;
  /** Undefined: it was taken. */
  readonly submissions: (Submission | undefined)[];
  left: number;
}

/**
 * What was sent on one stream and has no answer. It is kept by the frames it was sent in, whose
 * numbers rise by one: that takes no entry for each, as a Map would.
 */
export class SentFrames {
  /** In the order they were sent in. */
  readonly #frames: SentFrame[] = [];
  #next: number;
  #size = 0;

  /** Numbers have 32 bits, and begin anew at 0 after the last one. */
  constructor(first = 1) {
    this.#next = first;
  }

  get size(): number {
    return this.#size;
  }

  /** Returns the number of the first one. */
  add(submissions: readonly Submission[]): number {
    const first = this.#next;
    const left = submissions.length;
    this.#next = (first + left) >>> 0;
    this.#frames.push({ first, submissions: [...submissions], left });
    this.#size += left;
    return first;
  }

  /** Once: undefined if it was taken before, or never sent. */
  take(number: number): Submission | undefined {
    const at = this.#find(number);
    const frame = this.#frames[at];
    if (!frame) return undefined;
    const place = (number - frame.first) >>> 0;
    const submission = frame.submissions[place];
    if (!submission) return undefined;
    frame.submissions[place] = undefined;
    frame.left -= 1;
    this.#size -= 1;
    if (frame.left === 0) this.#frames.splice(at, 1);
    return submission;
  }

  /** All that are left; none is from then on. */
  takeAll(): Submission[] {
    this.#size = 0;
    return this.#frames
      .splice(0)
      .flatMap(({ submissions }) => submissions.filter((one) => one !== undefined));
  }

  /** Which frame is the last that begins at this number or before it. */
  #find(number: number): number {
    const frames = this.#frames;
    const oldest = frames[0]?.first ?? 0;
    let low = 0;
    let high = frames.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      const begun = (frames[middle]!.first - oldest) >>> 0 <= (number - oldest) >>> 0;
      if (begun) low = middle;
      else high = middle;
    }
    return low;
  }
}
