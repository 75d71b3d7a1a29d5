import type { Parts } from "./parts.js";

/** Markers cleared together: one statement a second, or one per 100. */
const clearEveryMs = 1_000;
const clearAt = 100;
/**
 * Beyond this the oldest are forgotten: their rows are enqueued once more, which changes nothing.
 */
const markersMax = 10_000;

/**
 * Marks of commits that have reached the broker, taken away lazily: a forgotten one costs a
 * harmless re-enqueue.
 */
export class CommitMarkers {
  readonly #parts: Parts;
  #done: string[] = [];
  #timer: { cancel(): void } | undefined;
  #flushing: Promise<void> = Promise.resolve();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  clear(marker: string): void {
    this.#done.push(marker);
    if (this.#done.length > markersMax) this.#done.shift();
    if (this.#done.length >= clearAt) void this.flush();
    else this.#timer ??= this.#parts.clock.after(clearEveryMs, () => void this.flush());
  }

  flush(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    const markers = this.#done;
    if (markers.length === 0) return this.#flushing;
    this.#done = [];
    this.#flushing = this.#parts.history.clearMarkers(markers).catch(() => {
      // History is away: try again with the next ones.
      this.#done = [...markers, ...this.#done].slice(-markersMax);
    });
    return this.#flushing;
  }
}
