import type { TraceContext } from "../traceparent.js";

/** How a task carries its trace along. Without tracing both give back what they are given. */
export interface TraceCarrier {
  /** For a task that comes in: the context it is stored with. */
  atSubmit(taskId: string, given: TraceContext): TraceContext;
  /** For a task on its way to a worker: the context of this attempt. */
  atLease(task: {
    readonly id: string;
    readonly attempt: number;
    readonly traceContext: TraceContext;
  }): TraceContext;
}

/**
 * The one catalog of what happens inside a coordinator. Logic emits; logs, metrics and traces
 * subscribe, so that none of them can change a decision. Payloads are never part of an event.
 */
export interface EventCatalog {
  "server.started": { coordinatorId: string; grpcPort: number; httpPort: number };
  "server.stopping": { coordinatorId: string; reason: string };
  "server.stopped": { coordinatorId: string };
  "loop.failed": { loop: string; error: unknown };
  /** `node`: of a Redis Cluster, host:port. */
  "store.unavailable": {
    store: "broker" | "history";
    node?: string | undefined;
    error: unknown;
  };
  "store.available": { store: "broker" | "history"; node?: string | undefined };
  "task.submitted": {
    namespace: string;
    queue: string;
    type: string;
    priority: number;
    taskId: string;
    traceContext: TraceContext;
    /** Milliseconds from its arrival to its acceptance. */
    tookMs: number;
  };
  "task.leased": {
    namespace: string;
    queue: string;
    type: string;
    taskId: string;
    attempt: number;
    sessionId: string;
    traceContext: TraceContext;
    /** Milliseconds since it became ready. */
    waitedMs: number;
    /** Milliseconds since the broker was asked for work. */
    dispatchMs: number;
  };
  "task.settled": {
    namespace: string;
    queue: string;
    type: string;
    taskId: string;
    attempt: number;
    status: string;
    outcome: "complete" | "fail" | "timeout" | "release" | "cancel" | "lose";
    traceContext: TraceContext;
    /** Milliseconds of the attempt. */
    ranMs: number;
    /** Milliseconds from asking the broker to its answer. */
    tookMs: number;
  };
  /** Cancelled while it waited: no attempt ended by it. */
  "task.cancelled": {
    namespace: string;
    queue: string;
    type: string;
    taskId: string;
    traceContext: TraceContext;
  };
  /** Its time was over while it waited: no attempt ended by it. */
  "task.overdue": {
    namespace: string;
    queue: string;
    type: string;
    taskId: string;
    status: string;
    traceContext: TraceContext;
  };
  "result.refused": { taskId: string; verdict: string; sessionId: string };
  "session.opened": { sessionId: string; workerId: string; resumed: boolean; generation: number };
  "session.closed": { sessionId: string; generation: number; reason: string };
  "session.lost": { sessionId: string; leases: number };
  "history.recorded": { rows: number; ms: number };
  /** By a sweep, of all coordinators: what waits for history. Not repeated while it is empty. */
  "outbox.seen": { partition: number; entries: number; oldestMs: number };
  "outbox.drained": { partition: number; entries: number };
  "partition.cold": { partition: number; reason: string };
  "partition.rebuilt": { partition: number; tasks: number; epoch: number; ms: number };
  "commit.recovered": { tasks: number };
  /** A watch or a wait found something to tell. By a sweep: the hint of it was lost. */
  "watch.told": { by: "hint" | "sweep" };
  /** A callback of a batch has its task. */
  "batch.called": { namespace: string; batchId: string; event: string; taskId: string };
  /** Ticks of a schedule were dealt with. Missed: nobody looked within the catch-up window. */
  "schedule.ticked": {
    namespace: string;
    schedule: string;
    outcome: "taken" | "skipped" | "waiting" | "missed" | "refused";
    ticks: number;
    /** Milliseconds after it was due. */
    lateMs: number | undefined;
  };
}
export type EventName = keyof EventCatalog;

export interface Events {
  emit<N extends EventName>(name: N, fields: EventCatalog[N]): void;
  /**
   * Returns the call that ends the subscription. A listener that throws is dropped from the call,
   * never heard.
   */
  subscribe(listener: (name: EventName, fields: EventCatalog[EventName]) => void): () => void;
}

export function createEvents(): Events {
  const listeners = new Set<(name: EventName, fields: EventCatalog[EventName]) => void>();
  return {
    emit(name, fields) {
      for (const listener of listeners) {
        try {
          listener(name, fields);
        } catch {
          // Telemetry must never break the work it watches.
        }
      }
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
