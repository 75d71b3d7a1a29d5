import type { Payload, Progress, Task } from "../task/task.js";
import type { Transition } from "./transitions.js";

export interface ProgressItem {
  readonly token: Uint8Array;
  readonly sessionId: string;
  /** Undefined: only a sign of life; the progress stays as it is. */
  readonly progress: Progress | undefined;
}

export interface CheckpointItem {
  readonly token: Uint8Array;
  readonly sessionId: string;
  /** Undefined takes the one before away. */
  readonly checkpoint: Payload | undefined;
}

export interface CancelItem {
  readonly taskId: string;
  readonly namespace: string;
  readonly graceMs: number;
  /** For people. Default "". The first one given stays. */
  readonly reason?: string;
  /**
   * Of the row in history: the tombstone planted for an unknown id stops enqueues up to this run.
   * Default 1.
   */
  readonly run?: number;
}
export type CancelReply =
  | { readonly kind: "cancelled"; readonly transition: Transition }
  /** It runs: the request stands (again). The first one is a transition that history must learn. */
  | {
      readonly kind: "requested";
      readonly task: Task;
      readonly transition: Transition | undefined;
    }
  | { readonly kind: "final"; readonly task: Task }
  /** Not live here. A tombstone was planted: a late enqueue of this run will do nothing. */
  | { readonly kind: "unknown" };

export interface ReplaceItem {
  readonly taskId: string;
  readonly namespace: string;
  /** Takes its place. Not enqueued by it. */
  readonly successor: Task;
  /** Leave it as it is if it has ever started in this run. */
  readonly unstarted: boolean;
  /** For people. */
  readonly reason: string;
}
export type ReplaceReply =
  | { readonly kind: "replaced"; readonly transition: Transition }
  /**
   * Nothing changed. `held`: it runs, or was asked to stop by somebody. `over`: it has ended, or
   * started. `cold`: who runs it may not be known yet.
   */
  | { readonly kind: "held" | "over" | "unknown" | "cold" | "outbox_full" };

export interface DeliveredItem {
  readonly token: Uint8Array;
  readonly sessionId: string;
}
