import type { Transition } from "./transitions.js";

/**
 * New tasks that one call took in, none with a key or terms: all there is to tell of their births,
 * as the outbox tells it. Each is read only where somebody asks for it.
 */
export interface Births {
  readonly partition: number;
  readonly ids: readonly string[];
  /** Of each task. */
  readonly version: number;
  /** Of memory, all of them. Estimated. */
  readonly bytes: number;
  outboxIdOf(nth: number): string;
  outboxPlaceOf(nth: number): number;
  transitionOf(nth: number): Transition;
}

/** Some of the tasks that came in by one call, by default those whose births history holds. */
export interface RecordedBirths {
  readonly births: Births;
  /** Among its ids. Each once. */
  readonly nths: readonly number[];
}

/** Those whose ends say all that their births do. */
export interface CoveredBirths {
  /** History holds the end. */
  readonly recorded: readonly number[];
  /** The outbox tells of the end; history may not know it yet. */
  readonly told: readonly number[];
}
