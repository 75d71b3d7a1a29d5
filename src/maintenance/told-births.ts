import type { Births, RecordedBirths } from "../broker/broker.js";

/** Births that history holds, as the broker is told of them: those of a call together. */
export class ToldBirths {
  readonly #nths = new Map<Births, number[]>();
  #last: Births | undefined;
  #ofLast: number[] = [];

  /** Each once. */
  add(births: Births, nth: number): void {
    // Most are of the call of the one before.
    if (births !== this.#last) {
      this.#last = births;
      this.#ofLast = this.#nths.get(births) ?? [];
      this.#nths.set(births, this.#ofLast);
    }
    this.#ofLast.push(nth);
  }

  get list(): RecordedBirths[] {
    return Array.from(this.#nths, ([births, nths]) => ({ births, nths }));
  }
}
