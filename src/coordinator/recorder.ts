import type { Births, Transition } from "../broker/broker.js";
import type { RecordOutcome } from "../history/history.js";
import type { Task } from "../task/task.js";

/** What history answered for those with these indexes; undefined: it was not written. */
export type OnRecorded = (indexes: readonly number[], outcome: RecordOutcome | undefined) => void;

/** Tells history what the broker decided. Implemented by maintenance/recorder.ts. */
export interface Recorder {
  /**
   * Resolves once history answered for this version (and the broker has been told, so that the
   * outbox entry goes). Waits through outages of history; rejects with `history_unavailable` only
   * when the recorder stops or its bound is reached: the outbox still holds the transition then.
   * `awaited`: somebody waits for the answer, so it is not gathered first; by default it is awaited
   * for DURABLE tasks only.
   */
  record(transition: Transition, awaited?: boolean): Promise<RecordOutcome>;
  /**
   * The same of the ends of several tasks for which somebody waits. `onRecorded` hears of those
   * that one flush has recorded together, as often as it takes to name each index once.
   */
  recordAll(transitions: readonly Transition[], onRecorded: OnRecorded): void;
  /**
   * The same where nobody waits for the answer. What cannot be taken is dropped: the outbox holds
   * it for whoever drains it.
   */
  keep(transition: Transition): void;
  /** The same for tasks that came in. */
  born(births: Births): void;
  /** A grant: written only if the task still runs a second later; may be dropped. */
  running(task: Task): void;
  /** Resolves when everything given before is written or given up. */
  flush(): Promise<void>;
}
