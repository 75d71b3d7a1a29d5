import { ChurnMap } from "../churn.js";
import type { Held } from "./worker-session.js";

/** Of a token whose lease is not out here. */
const elsewhere = Symbol("elsewhere");

/**
 * What a session's worker holds, by the keys of its tokens: leases that are out, and those whose
 * results are under way, which have their slots free and are still listed by the worker. One map
 * for both: a task would be put into two, and taken from two.
 */
export class LeaseBook implements Iterable<[string, Held]> {
  readonly #known = new ChurnMap<string, Held | typeof elsewhere>();
  #settling = 0;

  /** Those that are out. */
  get size(): number {
    return this.#known.size - this.#settling;
  }

  /** Results under way. */
  get settling(): number {
    return this.#settling;
  }

  /** It is out from now on, unless its result came before it, as it may in a resumed session. */
  set(key: string, held: Held): void {
    if (this.isSettling(key)) held.settling = true;
    this.#known.set(key, held);
  }

  /** If it is out. */
  get(key: string): Held | undefined {
    const known = this.#known.get(key);
    return known === elsewhere || known?.settling ? undefined : known;
  }

  /** It is out no longer; answers what it was. */
  take(key: string): Held | undefined {
    const held = this.get(key);
    if (held) this.#known.delete(key);
    return held;
  }

  /** Its result is under way; answers what was out, or that one is under way already. */
  settle(key: string): Held | "again" | undefined {
    const known = this.#known.get(key);
    if (known === elsewhere || known?.settling) return "again";
    this.#settling += 1;
    if (known) known.settling = true;
    else this.#known.set(key, elsewhere);
    return known;
  }

  /** Its result has its answer, or never gets one. */
  settled(key: string): void {
    if (this.isSettling(key) && this.#known.delete(key)) this.#settling -= 1;
  }

  isSettling(key: string): boolean {
    const known = this.#known.get(key);
    return known === elsewhere || known?.settling === true;
  }

  /** Of the tokens whose results are under way. */
  settlingKeys(): string[] {
    return this.#settling === 0
      ? []
      : [...this.#known.keys()].filter((key) => this.isSettling(key));
  }

  /** Those that are out. */
  *values(): Generator<Held> {
    for (const [, held] of this) yield held;
  }

  /** The same. */
  *[Symbol.iterator](): Generator<[string, Held]> {
    for (const [key, known] of this.#known) {
      if (known !== elsewhere && !known.settling) yield [key, known];
    }
  }
}
