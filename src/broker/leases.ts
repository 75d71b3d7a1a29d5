import type { Task } from "../task/task.js";
import type { Births } from "./births.js";

/** Tasks that the same workers can run: (namespace, queue, type, required labels). */
export interface Lane {
  readonly namespace: string;
  readonly queue: string;
  readonly type: string;
  readonly requiredLabels: Readonly<Record<string, string>>;
}

export interface EnqueueItem {
  readonly task: Task;
  /**
   * `submit`: new. `restore`: history has it, Redis may not (rebuild, lost enqueue, retry of an
   * ended task): a live record or a tombstone of this run or a later one wins, and the call is
   * refused when `asOf` is over 1 min old.
   */
  readonly origin: "submit" | "restore";
  /** Store time read before history was, for `restore`. */
  readonly asOf?: number;
  /** RELAXED queues: wins the idempotency key in the same step, for 24 h. */
  readonly claimKey?: boolean;
}

export type EnqueueOutcome =
  | {
      readonly kind: "enqueued";
      readonly outboxId: string | undefined;
      /** There. */
      readonly outboxPlace: number;
      /** It stands among the births of the reply, which know its place in the outbox as well. */
      readonly born?: boolean;
    }
  | { readonly kind: "known" }
  | { readonly kind: "key_taken"; readonly taskId: string }
  | { readonly kind: "too_old" }
  | { readonly kind: "outbox_full" }
  | { readonly kind: "too_many_lanes" };

export interface EnqueueReply {
  readonly outcomes: EnqueueOutcome[];
  /** Of those that the outbox tells of: as many as can be told together. */
  readonly births: Births[];
  readonly leases: Lease[];
}

export interface LeaseRequest {
  readonly partition: number;
  /** In the order to serve, at most 64. */
  readonly lanes: readonly Lane[];
  readonly sessions: readonly {
    readonly sessionId: string;
    readonly generation: number;
    readonly slots: number;
  }[];
  /** Payload and record bytes in one reply. */
  readonly maxBytes: number;
}

export interface LeaseReply {
  /** `cold`: see B13. `outbox_full`: history is behind. */
  readonly kind: "ok" | "cold" | "outbox_full";
  readonly leases: Lease[];
  /** Lanes that still have leasable work: the call stopped for want of slots or bytes. */
  readonly more: boolean;
  /** Sessions that the store does not know in that generation. */
  readonly lostSessions: string[];
}

export interface Lease {
  readonly token: Uint8Array;
  readonly sessionId: string;
  /** As it stands after the grant: status running, attempt and fencingToken of this grant. */
  readonly task: Task;
  /** Left for this attempt. */
  readonly timeoutMs: number;
  /** For the worker, instead of the task's: put in where coordinators trace. */
  readonly traceContext?: Task["traceContext"];
}
