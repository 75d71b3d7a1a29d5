import type { Clock, Random, Timer } from "../clock.js";
import { createAddressRing, type AddressRing } from "../transport/addresses.js";
import { fullJitter } from "../transport/backoff.js";

export interface DialerOptions {
  clock: Clock;
  random: Random;
  addresses: readonly string[];
  /**
   * Opens a stream there; throws when that does not succeed. `ifServed`: only if sessions can be
   * renewed there; false: they cannot, and nothing has changed.
   */
  readonly dial: (address: string, ifServed: boolean) => Promise<boolean>;
  readonly onFailure: (address: string, error: unknown, failures: number) => void;
}

/** A stream that stood for so long, in ms, was no failed try. */
const stoodMin = 1_000;

/**
 * Decides when and where the next stream is opened. One dial at a time; after the first each goes
 * to the next address, so that a coordinator that is gone costs one try.
 */
export class Dialer {
  readonly #options: DialerOptions;
  readonly #ring: AddressRing;
  #timer: Timer | undefined;
  #at = Infinity;
  #dialing = false;
  #dialedBefore = false;
  #stopped = false;
  #failures = 0;
  /** What was asked for while a dial was under way that may already bring it. */
  #plannedMeanwhile = Infinity;

  constructor(options: DialerOptions) {
    this.#options = options;
    this.#ring = createAddressRing(options.addresses, options.random);
  }

  /** The soonest plan counts: a broken stream does not wait for a leisurely move. */
  plan(delayMs: number): void {
    if (this.#stopped) return;
    if (this.#dialing) {
      this.#plannedMeanwhile = Math.min(this.#plannedMeanwhile, delayMs);
      return;
    }
    const { clock } = this.#options;
    const at = clock.monotonic() + delayMs;
    if (at >= this.#at) return;
    this.#timer?.cancel();
    this.#at = at;
    this.#timer = clock.after(delayMs, () => void this.#dial());
  }

  /** Soon, as the first try after a stream that worked. */
  planSoon(): void {
    this.plan(fullJitter(this.#options.random, 0));
  }

  /**
   * A stream that stood for a while broke by accident: come back soon, as the leases run on. One
   * that never stands is not hammered.
   */
  streamLost(stoodMs: number): void {
    this.#failures = stoodMs >= stoodMin ? 0 : this.#failures + 1;
    this.plan(fullJitter(this.#options.random, Math.max(0, this.#failures - 1)));
  }

  /**
   * Asks one address after the other, the present one last, and opens a stream where that helps.
   * Does nothing while a dial is under way or planned.
   */
  async seek(): Promise<void> {
    if (this.#stopped || this.#dialing || this.#at !== Infinity) return;
    await this.#exclusively(async () => {
      for (let asked = 0; asked < this.#ring.size; asked += 1) {
        const address = this.#ring.next();
        if (await this.#attempt(address, true)) return true;
      }
      return false;
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async #dial(): Promise<void> {
    this.#at = Infinity;
    const address = this.#dialedBefore ? this.#ring.next() : this.#ring.current;
    this.#dialedBefore = true;
    await this.#exclusively(() => this.#attempt(address, false));
  }

  /** `work` says whether a stream was opened: then what was asked for meanwhile is met. */
  async #exclusively(work: () => Promise<boolean>): Promise<void> {
    this.#dialing = true;
    const met = await work();
    this.#dialing = false;
    const delayMs = this.#plannedMeanwhile;
    this.#plannedMeanwhile = Infinity;
    if (!met && delayMs !== Infinity) this.plan(delayMs);
  }

  /** A failure is reported and plans the next dial. */
  async #attempt(address: string, ifServed: boolean): Promise<boolean> {
    const { dial, onFailure, random } = this.#options;
    try {
      return await dial(address, ifServed);
    } catch (error) {
      if (this.#stopped) return false;
      this.#failures += 1;
      onFailure(address, error, this.#failures);
      this.#plannedMeanwhile = fullJitter(random, this.#failures);
      return false;
    }
  }
}
