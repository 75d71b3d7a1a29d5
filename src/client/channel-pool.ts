import type { Random } from "../clock.js";
import { Code } from "../errors.js";
import { createAddressRing, type AddressRing } from "../transport/addresses.js";
import { type Channel, type ChannelOptions, openChannel } from "../transport/channel.js";
import { type Refusal, refusal, refusalText } from "../transport/status.js";

export type Acquired = { readonly channel: Channel } | { readonly refusal: Refusal };

/** Connections to the coordinators, one each; calls use one address until it fails them. */
export class ChannelPool {
  readonly #options: ChannelOptions;
  readonly #ring: AddressRing;
  readonly #channels = new Map<string, Channel>();

  constructor(addresses: readonly string[], random: Random, options: ChannelOptions) {
    this.#options = options;
    this.#ring = createAddressRing(addresses, random);
  }

  /**
   * A connected channel; if this address gives none, the next call tries the next. Rejects only
   * with the reason of the signal.
   */
  async acquire(signal?: AbortSignal): Promise<Acquired> {
    const address = this.#ring.current;
    const channel = this.#channels.get(address) ?? openChannel(address, this.#options);
    this.#channels.set(address, channel);
    try {
      await channel.connect(signal);
      return { channel };
    } catch (error) {
      signal?.throwIfAborted();
      // A fresh one dials at once, where this one would sit out a growing backoff.
      if (this.#channels.get(address) === channel) this.#channels.delete(address);
      channel.close();
      this.leave(channel);
      return { refusal: refusal(Code.unavailable, "unavailable", refusalText(error)) };
    }
  }

  /** Calls there failed: the next ones go elsewhere. */
  leave(channel: Channel): void {
    if (this.#ring.current === channel.address) this.#ring.next();
  }

  close(): void {
    for (const channel of this.#channels.values()) channel.close();
    this.#channels.clear();
  }
}
