import type { Broker } from "../../src/broker/broker.js";

/**
 * What a suite may lower, so that a bound is reached with a handful of tasks. Brokers take it as
 * option `bounds`.
 */
export type BrokerBounds = Record<
  "outboxEntries" | "outboxBytes" | "lanesPerQueue" | "bundleTasks",
  number
>;

export interface BrokerHarnessOptions {
  /** Default 1. */
  readonly partitions?: number;
  readonly bounds?: Partial<BrokerBounds>;
}

/**
 * A broker under test, on a store of its own. It is handed over started, empty and COLD: the suite
 * opens its partitions. Whoever implements a broker writes one `MakeBroker`; the suite and the
 * model test do the rest.
 */
export interface BrokerHarness {
  readonly broker: Broker;
  /** A second coordinator's broker on the same store, started. */
  another(): Promise<Broker>;
  /**
   * Moves the store's clock forward. Memory: its manual clock, timers included. Redis: adds to the
   * test-only key `<prefix>skew`, which the scripts add to TIME if the broker was made with option
   * `testSkew: true`; where its key `<prefix>frozen` is set, to that instead.
   */
  advance(ms: number): Promise<void>;
  /** Empties the store under its brokers: what a FLUSHALL does, kept to the own prefix. */
  wipe(): Promise<void>;
  /**
   * The store comes back as another process with its data kept, as after a failover: its storeId
   * changes.
   */
  replace(): Promise<void>;
  /**
   * Contradictions between the raw structures (a task in two places, a count that is off); empty
   * when all is well.
   */
  audit?(): Promise<string[]>;
  stop(): Promise<void>;
}

export type MakeBroker = (options?: BrokerHarnessOptions) => Promise<BrokerHarness>;
