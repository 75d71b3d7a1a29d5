interface Heard {
  readonly told: Set<() => void>;
  readonly listener: () => void;
}

/**
 * Hears of aborts. One signal may well stand for a hundred thousand submits: it would look through
 * all its listeners for each one that comes or goes, so it has but one.
 */
export class Aborts {
  readonly #heard = new Map<AbortSignal, Heard>();

  /** Not aborted yet. Call what it returns when the abort is of no interest any more. */
  listen(signal: AbortSignal, onAbort: () => void): () => void {
    const { told } = this.#heard.get(signal) ?? this.#begin(signal);
    told.add(onAbort);
    return () => {
      told.delete(onAbort);
      if (told.size === 0) this.#end(signal);
    };
  }

  #begin(signal: AbortSignal): Heard {
    const told = new Set<() => void>();
    const listener = (): void => {
      this.#end(signal);
      for (const tell of told) tell();
    };
    const heard = { told, listener };
    this.#heard.set(signal, heard);
    signal.addEventListener("abort", listener, { once: true });
    return heard;
  }

  #end(signal: AbortSignal): void {
    const heard = this.#heard.get(signal);
    if (!heard) return;
    this.#heard.delete(signal);
    signal.removeEventListener("abort", heard.listener);
  }
}
