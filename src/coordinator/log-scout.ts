import type { LogsBehind } from "../history/history.js";
import { Batcher } from "./batcher.js";
import type { Parts } from "./parts.js";

const scoutItems = 100;
const scoutsInFlight = 2;
const scoutsWaiting = 200_000;

/**
 * Whether there are log entries to read. Most watched tasks have none, and thousands of watches
 * look at about the same time: what is asked in one turn is one query.
 */
export class LogScout {
  readonly #batcher: Batcher<LogsBehind, boolean>;

  constructor({ history }: Pick<Parts, "history">) {
    this.#batcher = new Batcher({
      run: (places) => history.haveLogs(places),
      maxItems: scoutItems,
      maxInFlight: scoutsInFlight,
      maxWaiting: scoutsWaiting,
    });
  }

  anyBehind(place: LogsBehind): Promise<boolean> {
    return this.#batcher.push(place);
  }
}
