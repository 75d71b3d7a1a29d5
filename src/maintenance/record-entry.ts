import type { Transition } from "../broker/broker.js";
import type { RecordOutcome, Told } from "../history/history.js";
import type { Task } from "../task/task.js";

/** One transition on its way to history. */
export class Entry {
  /** As the broker gave it. */
  readonly given: Transition;
  /** What history is told: as given, or mended (payload fetched, version lifted). */
  current: Told;
  readonly bytes: number;
  /** Somebody waits for the answer. */
  readonly awaited: boolean;
  /** Monotonic ms at which it was given. */
  readonly givenAt: number;
  /** It stands in line; otherwise it is in flight, parked or answered. */
  waiting = true;
  /** Its queue has let go of it. */
  dismissed = false;
  /** Monotonic ms at which history first answered that it has no such row. */
  missingSince: number | undefined;
  #promise: PromiseWithResolvers | undefined;

  /** `asked`: the task with its payload, if it is at hand. */
  constructor(transition: Transition, awaited: boolean, givenAt: number, asked?: Task) {
    const { payloadOmitted, task, successor } = transition;
    // Without one it may as well have been left out.
    const payload = payloadOmitted && !task.payload ? asked?.payload : undefined;
    this.given = transition;
    this.current = payload && !successor ? told(transition, asked) : transition;
    this.bytes = bytesOf(transition) + (payload?.data.byteLength ?? 0);
    this.awaited = awaited;
    this.givenAt = givenAt;
  }

  /** History's answer. Made when first asked for: most entries have nobody who waits. */
  get done(): Promise<RecordOutcome> {
    return (this.#promise ??= withResolvers()).promise;
  }

  resolve(outcome: RecordOutcome): void {
    this.#promise?.resolve(outcome);
  }

  reject(error: unknown): void {
    this.#promise?.reject(error);
  }
}

/** Member by member: a spread of so many objects shows in profiles. */
const told = (given: Transition, asked: Task | undefined): Told => ({
  partition: given.partition,
  outboxId: given.outboxId,
  task: given.task,
  payloadOmitted: given.payloadOmitted,
  attempt: given.attempt,
  asked,
});

interface PromiseWithResolvers {
  readonly promise: Promise<RecordOutcome>;
  resolve(outcome: RecordOutcome): void;
  reject(error: unknown): void;
}

function withResolvers(): PromiseWithResolvers {
  let resolve!: PromiseWithResolvers["resolve"];
  let reject!: PromiseWithResolvers["reject"];
  const promise = new Promise<RecordOutcome>((onDone, onError) => {
    resolve = onDone;
    reject = onError;
  });
  return { promise, resolve, reject };
}

/** What the objects around the data take; measured in V8, rounded up. */
const taskOverheadBytes = 2_048;

/** Estimated bytes of memory. */
export const bytesOf = ({ task, successor }: Transition): number =>
  sizeOf(task) + (successor ? sizeOf(successor) : 0);

/** Estimated bytes of memory. */
export const sizeOf = (task: Task): number =>
  taskOverheadBytes +
  (task.payload?.data.byteLength ?? 0) +
  (task.result?.data.byteLength ?? 0) +
  (task.error ? 2 * (task.error.message.length + (task.error.stack?.length ?? 0)) : 0);
