import type { LeaseReply, LeaseRequest } from "../broker/broker.js";

/**
 * So many results, or fewer, go to the store with the lease request for the slots that they free:
 * one call for both, as long as the settling is not worth a wait. For more the leases come first.
 */
export const fewResults = 16;

/** Lease requests that go along with settlements. */
export interface NextLeases {
  /**
   * Few settlements of this partition are about to be sent. What it answers must be given back by
   * `rode`; undefined there means that the answer got lost.
   */
  ride(partition: number): LeaseRequest | undefined;
  rode(request: LeaseRequest, reply: LeaseReply | undefined): void;
  /** Those that have found no room to ride ask by themselves. */
  walk(): void;
  /** Whether a session has leases standing by for all its slots, so that no call is urgent. */
  readonly stocked: boolean;
}
