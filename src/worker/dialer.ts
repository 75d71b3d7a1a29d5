import type { Clock, Random, Timer } from "../clock.js";
import { limits } from "../limits.js";
import { createAddressRing, type AddressRing } from "../transport/addresses.js";
import { fullJitter } from "../transport/backoff.js";

export interface DialerOptions {
  clock: Clock;
  random: Random;
  addresses: readonly string[];
  /** Opens a stream there; throws when that does not succeed. */
  readonly dial: (address: string) => Promise<void>;
  readonly onFailure: (address: string, error: unknown, failures: number) => void;
}

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

  constructor(options: DialerOptions) {
    this.#options = options;
    this.#ring = createAddressRing(options.addresses, options.random);
  }

  /** The soonest plan counts: a broken stream does not wait for a leisurely move. */
  plan(delayMs: number): void {
    if (this.#stopped || this.#dialing) return;
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
   * A stream that stood for a while broke by accident: come back at once. One that never stands
   * is not hammered.
   */
  streamLost(stoodMs: number): void {
    this.#failures = stoodMs >= limits.heartbeatMs ? 0 : this.#failures + 1;
    this.plan(fullJitter(this.#options.random, Math.max(0, this.#failures - 1)));
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async #dial(): Promise<void> {
    const { dial, onFailure, random } = this.#options;
    this.#at = Infinity;
    this.#dialing = true;
    const address = this.#dialedBefore ? this.#ring.next() : this.#ring.current;
    this.#dialedBefore = true;
    try {
      await dial(address);
      this.#dialing = false;
    } catch (error) {
      this.#dialing = false;
      if (this.#stopped) return;
      this.#failures += 1;
      onFailure(address, error, this.#failures);
      this.plan(fullJitter(random, this.#failures));
    }
  }
}
