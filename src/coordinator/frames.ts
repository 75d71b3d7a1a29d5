import type { Lease } from "../broker/broker.js";
import type { DroverError } from "../errors.js";
import type { LogEntry } from "../task/log.js";
import type { Payload, TaskError } from "../task/task.js";

/**
 * What travels on a worker's stream, in the coordinator's own words; api/ turns it from and into
 * wire frames.
 */
export interface SessionHello {
  readonly workerId: string;
  readonly sessionId: string;
  readonly generation: number;
  readonly heldTokens: readonly Uint8Array[];
  readonly offer: Offer;
  readonly labels: Readonly<Record<string, string>>;
  readonly sdk: string;
  readonly host: string;
}

export interface Offer {
  readonly slots: number;
  readonly maxBytes: number;
  readonly subscriptions: readonly Subscription[];
}

export interface Subscription {
  readonly queue: string;
  readonly types: readonly string[];
  readonly weight: number;
}

export interface WorkerFrame {
  readonly results: readonly WorkerResult[];
  readonly progress: readonly {
    readonly token: Uint8Array;
    readonly fraction: number;
    readonly message: string;
  }[];
  /** Taken before the results of the same frame, as are checkpoints. */
  readonly logs?: readonly WorkerLog[];
  readonly checkpoints?: readonly WorkerCheckpoint[];
  readonly offer: Offer | undefined;
  readonly heartbeat: Heartbeat | undefined;
  readonly leaving: boolean;
}

/** Entries of one lease, in order. */
export interface WorkerLog {
  readonly token: Uint8Array;
  readonly entries: readonly Omit<LogEntry, "taskId" | "fencingToken" | "attempt">[];
}

export interface WorkerCheckpoint {
  readonly token: Uint8Array;
  /** From 1, +1 with each of the lease. */
  readonly number: number;
  readonly checkpoint: Payload | undefined;
}

/** What stands of a lease's logs and checkpoints; 0: no news of them. */
export interface Kept {
  readonly token: Uint8Array;
  readonly logSequence: number;
  readonly checkpoint: number;
}

export interface Heartbeat {
  readonly number: number;
  readonly heldTokens: readonly Uint8Array[];
  readonly cpu: number;
  readonly eventLoopDelayMs: number;
}

export interface WorkerResult {
  /** The lease's token, one letter a byte (`bytesKey`): it is looked for, and seldom more. */
  readonly key: string;
  readonly outcome: WorkerOutcome;
}

export type WorkerOutcome =
  | { readonly kind: "success"; readonly result: Payload | undefined }
  | {
      readonly kind: "failure";
      readonly error: TaskError;
      /** Wait at least this long, instead of the policy's delay. */
      readonly retryAfterMs: number | undefined;
    }
  | { readonly kind: "release"; readonly delayMs: number }
  | { readonly kind: "cancelled" }
  /**
   * It cannot be accepted as sent (too large, no outcome, undecodable): the attempt fails, the ack
   * is INVALID.
   */
  | { readonly kind: "invalid"; readonly reason: string };

/** Parts of one outgoing frame; the port may merge those of one tick. */
export interface CoordinatorFrame {
  readonly welcome?: Welcome;
  readonly leases?: readonly Lease[];
  readonly acks?: readonly ResultAck[];
  readonly commands?: readonly Command[];
  readonly heartbeatAck?: HeartbeatAck;
  readonly goAway?: GoAway;
  readonly kept?: readonly Kept[];
}

export interface Welcome {
  readonly sessionId: string;
  readonly resumed: boolean;
  readonly leaseMs: number;
  readonly heartbeatMs: number;
  readonly revokedTokens: readonly Uint8Array[];
  readonly coordinatorId: string;
}

export interface ResultAck {
  readonly token: Uint8Array;
  readonly verdict: "accepted" | "duplicate" | "stale" | "retry" | "invalid";
  readonly message: string;
}

export type Command =
  | { readonly kind: "cancel"; readonly token: Uint8Array; readonly graceMs: number }
  | { readonly kind: "revoke"; readonly token: Uint8Array; readonly reason: string };

export interface HeartbeatAck {
  readonly number: number;
  readonly renewed: boolean;
  readonly unknownTokens: readonly Uint8Array[];
}

export interface GoAway {
  readonly reason: "shutdown" | "rebalance" | "superseded";
  readonly reconnectDelayMs: number;
}

/** A worker's stream, as its session sees it. */
export interface SessionPort {
  /**
   * Never blocks. Beyond 1 MiB or 64 frames unsent the port closes the stream itself and reports
   * `disconnected`. What comes in one tick goes together at its end; `atOnce`: what waits goes now.
   */
  send(frame: CoordinatorFrame, atOnce?: boolean): void;
  /**
   * False while the peer does not read: lease nothing for it until `onWritable` of the session is
   * called.
   */
  readonly writable: boolean;
  /** Ends the stream; with an error, as that status. */
  close(error?: DroverError): void;
}

/** One stream of a worker session. */
export interface Session {
  readonly sessionId: string;
  /** Parts are processed in field order. */
  receive(frame: WorkerFrame): void;
  onWritable(): void;
  /** The stream is gone. `leaving` said before makes it a goodbye; anything else cuts the lease. */
  disconnected(): void;
}
