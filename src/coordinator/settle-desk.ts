import type { Settlement, SettleReply, Transition } from "../broker/broker.js";

/**
 * Where sweeps bring the leases that must end. One try: what fails is offered again by the next
 * sweep.
 */
export interface SettleDesk {
  /**
   * Replies in the order given; what was accepted is on its way to history. Rejects when the broker
   * does not answer.
   */
  settle(settlements: readonly Settlement[]): Promise<SettleReply[]>;
  /** What a sweep has ended itself: on its way to history from now on. */
  ended(transitions: readonly Transition[]): void;
}
