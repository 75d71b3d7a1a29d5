import type { Sink } from "./submissions.js";
import type { Receipt, SubmitOutcome, SubmitStatus } from "./surface.js";

/** Of one submit: its promise. */
export class OneSink implements Sink {
  readonly #resolve: (receipt: Receipt) => void;
  readonly #reject: (error: unknown) => void;

  constructor(resolve: (receipt: Receipt) => void, reject: (error: unknown) => void) {
    this.#resolve = resolve;
    this.#reject = reject;
  }

  taken(_place: number, id: string, status: SubmitStatus, type: string): void {
    this.#resolve({ id, status, type });
  }

  refused(_place: number, error: unknown): void {
    this.#reject(error);
  }
}

/** Of many: one promise, once each has its outcome. */
export class ManySink implements Sink {
  readonly #outcomes: SubmitOutcome[];
  readonly #resolve: (outcomes: SubmitOutcome[]) => void;
  #left: number;

  constructor(count: number, resolve: (outcomes: SubmitOutcome[]) => void) {
    this.#outcomes = Array.from<SubmitOutcome>({ length: count });
    this.#left = count;
    this.#resolve = resolve;
  }

  taken(place: number, id: string, status: SubmitStatus, type: string): void {
    this.#settle(place, { ok: true, id, status, type });
  }

  refused(place: number, error: unknown, type: string): void {
    this.#settle(place, { ok: false, error, type });
  }

  #settle(place: number, outcome: SubmitOutcome): void {
    this.#outcomes[place] = outcome;
    this.#left -= 1;
    if (this.#left === 0) this.#resolve(this.#outcomes);
  }
}
