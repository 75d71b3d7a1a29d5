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
  transitionOf(nth: number): Transition;
}

/** Some of the tasks that came in by one call: history holds their births. */
export interface RecordedBirths {
  readonly births: Births;
  /** Among its ids. Each once. */
  readonly nths: readonly number[];
}
