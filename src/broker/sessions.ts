import type { Lease } from "./leases.js";

export interface SessionOpen {
  readonly sessionId: string;
  /** Highest wins; from 1. */
  readonly generation: number;
  readonly leaseMs: number;
  readonly info: SessionInfo;
  /** Tokens the worker still holds: running, or finished and not acked. */
  readonly heldTokens: readonly Uint8Array[];
  readonly partitions: readonly number[];
}
export type SessionOpenReply =
  | {
      readonly kind: "opened";
      readonly resumed: boolean;
      /**
       * Held and valid (again). Of a task that history restored: a grant later than history knows,
       * or the last one it knows if it saw it running. What came in by `submit` was never granted,
       * so nobody can hold it.
       */
      readonly kept: Lease[];
      /** Held, but ended or granted anew meanwhile. */
      readonly revoked: Uint8Array[];
      /**
       * Held, but the record is not here: restore it from history, then open again with the same
       * generation.
       */
      readonly missing: Uint8Array[];
      /** Granted to this session, but not held by it: lost on the way. Settle as released. */
      readonly lostInTransit: Lease[];
      /**
       * Partitions whose store did not answer, though another's did: what is held there stands in
       * none of these lists. Open again once it does.
       */
      readonly unreached: readonly number[];
    }
  | { readonly kind: "superseded"; readonly generation: number }
  /**
   * The store is being replaced this moment. A COLD partition as such takes sessions: a rebuild
   * adopts their tokens.
   */
  | { readonly kind: "cold" };

export interface SessionRenewal {
  readonly sessionId: string;
  readonly generation: number;
  readonly leaseMs: number;
  /** Replaces the info shown, when given. */
  readonly info?: SessionInfo;
}
/** `gone`: reaped or unknown; open it again with what it holds. */
export type RenewVerdict = "renewed" | "superseded" | "gone";

export interface SessionInfo {
  readonly sessionId: string;
  readonly namespace: string;
  readonly workerId: string;
  readonly coordinatorId: string;
  readonly host: string;
  readonly sdk: string;
  readonly subscriptions: readonly {
    readonly queue: string;
    readonly types: readonly string[];
    readonly weight: number;
  }[];
  readonly labels: Readonly<Record<string, string>>;
  readonly slots: number;
  readonly running: number;
  readonly draining: boolean;
  readonly connectedAt: number;
  readonly lastHeartbeatAt: number;
  readonly eventLoopDelayMs: number;
  readonly cpu: number;
}

export interface CoordinatorInfo {
  readonly coordinatorId: string;
  readonly sessions: number;
  readonly startedAt: number;
}
