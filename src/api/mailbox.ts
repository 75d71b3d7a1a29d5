/**
 * What waits to be written to one stream: many put in, one takes out. It has no bound of its own;
 * who puts in keeps one.
 */
export class Mailbox<T> {
  #items: T[] = [];
  #closed = false;
  #error: unknown;
  #wake: (() => void) | undefined;

  /** Items not taken yet. */
  get size(): number {
    return this.#items.length;
  }

  get closed(): boolean {
    return this.#closed;
  }

  put(item: T): void {
    if (this.#closed) return;
    this.#items.push(item);
    this.#wake?.();
  }

  /** What is inside can still be taken; then the taker sees the end, or `error`. */
  close(error?: unknown): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#error = error;
    this.#wake?.();
  }

  /**
   * Everything that waits, at least one; undefined at the end. Rejects with the signal's reason
   * when aborted.
   */
  async take(signal: AbortSignal): Promise<T[] | undefined> {
    while (this.#items.length === 0) {
      signal.throwIfAborted();
      if (this.#closed) {
        if (this.#error !== undefined) throw this.#error;
        return undefined;
      }
      await this.#arrival(signal);
    }
    const items = this.#items;
    this.#items = [];
    return items;
  }

  #arrival(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#wake = undefined;
        signal.removeEventListener("abort", done);
        resolve();
      };
      this.#wake = done;
      signal.addEventListener("abort", done, { once: true });
    });
  }
}
