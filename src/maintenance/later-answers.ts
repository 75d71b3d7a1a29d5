import type { OnRecorded } from "../coordinator/recorder.js";
import type { RecordOutcome } from "../history/history.js";

/** Answers that come one by one, passed on with others of the same moment. */
export class LaterAnswers {
  readonly #onRecorded: OnRecorded;
  #told = new Map<RecordOutcome | undefined, number[]>();

  constructor(onRecorded: OnRecorded) {
    this.#onRecorded = onRecorded;
  }

  await(index: number, answer: Promise<RecordOutcome>): void {
    answer.then(
      (outcome) => this.#tell(index, outcome),
      () => this.#tell(index, undefined),
    );
  }

  #tell(index: number, outcome: RecordOutcome | undefined): void {
    const alike = this.#told.get(outcome);
    if (alike) return void alike.push(index);
    if (this.#told.size === 0) queueMicrotask(() => this.#pass());
    this.#told.set(outcome, [index]);
  }

  #pass(): void {
    const told = this.#told;
    this.#told = new Map();
    for (const [outcome, indexes] of told) this.#onRecorded(indexes, outcome);
  }
}
