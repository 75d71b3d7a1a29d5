import type { Broker, RecordedBirths } from "../broker/broker.js";
import type { Clock } from "../clock.js";
import { limits } from "../limits.js";
import type { HeldBirths } from "./held-births.js";

/** After a look that found no end, or no broker. */
const restMs = 1_000;
/** Of one look; the others come with the next. */
const birthsMost = 1_000;

/**
 * Looks which of the births that are due have been overtaken: where several coordinators share a
 * store, the end of a task often passes another one, which writes the whole row. The birth would
 * then be a second row for nothing, and in the way of the first. It is only let go once history
 * holds the end, and its outbox entry with it. While looks find nothing, as on a lone coordinator,
 * they are rare.
 */
export class BirthCheck {
  readonly #broker: Broker;
  readonly #clock: Clock;
  readonly #births: HeldBirths;
  readonly #tellings = new Set<Promise<void>>();
  #restsUntil = 0;

  constructor(broker: Broker, clock: Clock, births: HeldBirths) {
    this.#broker = broker;
    this.#clock = clock;
    this.#births = births;
  }

  /** Births are written without a look. */
  get rests(): boolean {
    return this.#clock.monotonic() < this.#restsUntil;
  }

  /** At those given by `until`; undefined if there is nothing to look at. Never rejects. */
  look(until: number): Promise<void> | undefined {
    if (this.rests) return undefined;
    const asked = this.#births.toAsk(until, this.#clock.monotonic(), birthsMost);
    return asked.length > 0 ? this.#ask(asked) : undefined;
  }

  /** Resolves when the broker has heard all that is to be told. */
  async stop(): Promise<void> {
    await Promise.all(this.#tellings);
  }

  async #ask(asked: readonly RecordedBirths[]): Promise<void> {
    const found = await Promise.all(asked.map((born) => this.#covered(born)));
    const over: RecordedBirths[] = [];
    let told = 0;
    const askAgainAt = this.#clock.monotonic() + limits.recordGatherMs;
    for (const [at, { births }] of asked.entries()) {
      const nths = this.#births.judge(births, found[at]!, askAgainAt);
      told += found[at]!.told.length + found[at]!.recorded.length;
      if (nths.length > 0) over.push({ births, nths });
    }
    if (told === 0) this.#restsUntil = this.#clock.monotonic() + restMs;
    if (over.length > 0) this.#tell(over);
  }

  async #covered(born: RecordedBirths): ReturnType<Broker["covered"]> {
    const none = { recorded: [], told: [] };
    if (!this.#broker.serves(born.births.partition)) return none;
    return this.#broker.covered(born).catch(() => none);
  }

  /** Not awaited by what is to be written. An outbox drain repeats what is not heard. */
  #tell(over: readonly RecordedBirths[]): void {
    const telling = this.#broker
      .recorded([], over)
      .catch(() => undefined)
      .finally(() => this.#tellings.delete(telling));
    this.#tellings.add(telling);
  }
}
