import type { Clock } from "../clock.js";

/** Wakes one waiter; a ring while nobody waits is kept, and many of them are one. */
export class Bell {
  readonly #clock: Clock;
  #rung = false;
  #wake: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  /** Until it has rung, `ms` are over (undefined: however long it takes), or the signal ends it. */
  async wait(ms: number | undefined, signal: AbortSignal): Promise<void> {
    if (!this.#rung && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const timer = ms === undefined ? undefined : this.#clock.after(ms, () => this.#wake?.());
        this.#wake = () => {
          this.#wake = undefined;
          timer?.cancel();
          signal.removeEventListener("abort", wake);
          resolve();
        };
        const wake = (): void => this.#wake?.();
        signal.addEventListener("abort", wake, { once: true });
      });
    }
    this.#rung = false;
  }
}
