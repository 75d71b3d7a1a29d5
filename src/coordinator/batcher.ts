import { DroverError } from "../errors.js";

export interface BatcherOptions<Item, Reply> {
  /** One reply per item, in order. A rejection is given to every item of the batch. */
  run(items: Item[]): Promise<Reply[]>;
  maxItems: number;
  /** Batches under way at once. */
  maxInFlight: number;
  /** Items waiting beyond those under way; one more is refused as `overloaded`. */
  maxWaiting: number;
}

interface Entry<Item, Reply> {
  item: Item;
  resolve(reply: Reply): void;
  reject(error: unknown): void;
}

/**
 * What arrives in the same tick, or while earlier batches are under way, shares one call: batches
 * grow with load by themselves, and a lone item waits for nothing.
 */
export class Batcher<Item, Reply> {
  readonly #options: BatcherOptions<Item, Reply>;
  #waiting: Entry<Item, Reply>[] = [];
  #inFlight = 0;
  #scheduled = false;
  #idle: (() => void)[] = [];

  constructor(options: BatcherOptions<Item, Reply>) {
    this.#options = options;
  }

  push(item: Item): Promise<Reply> {
    if (this.#waiting.length >= this.#options.maxWaiting) {
      const message = `${this.#waiting.length} requests are waiting already`;
      return Promise.reject(new DroverError("overloaded", message, { retryAfterMs: 500 }));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      this.#schedule();
    });
  }

  /** Resolves when nothing waits and nothing is under way. */
  async drained(): Promise<void> {
    if (this.#inFlight === 0 && this.#waiting.length === 0) return;
    await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #schedule(): void {
    if (this.#scheduled || this.#inFlight >= this.#options.maxInFlight) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    while (this.#waiting.length > 0 && this.#inFlight < this.#options.maxInFlight) {
      const entries = this.#waiting.splice(0, this.#options.maxItems);
      this.#inFlight += 1;
      void this.#run(entries).finally(() => {
        this.#inFlight -= 1;
        if (this.#waiting.length > 0) this.#schedule();
        else if (this.#inFlight === 0) this.#idle.splice(0).forEach((resolve) => resolve());
      });
    }
  }

  async #run(entries: Entry<Item, Reply>[]): Promise<void> {
    try {
      const replies = await this.#options.run(entries.map((entry) => entry.item));
      entries.forEach((entry, index) => entry.resolve(replies[index] as Reply));
    } catch (error) {
      for (const entry of entries) entry.reject(error);
    }
  }
}
