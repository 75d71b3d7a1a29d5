/** Lets one through at a time, in the order they come. */
export class Turnstile {
  #taken = false;
  readonly #waiting: (() => void)[] = [];

  /** Undefined: at once. Call `leave` afterwards, whatever comes. */
  enter(): Promise<void> | undefined {
    if (this.#taken) return new Promise((resolve) => this.#waiting.push(resolve));
    this.#taken = true;
    return undefined;
  }

  leave(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#taken = false;
  }
}
