import type { Births, Transition } from "../broker/broker.js";
import type { RecordOutcome, Told } from "../history/history.js";
import { isFinal, type Task } from "../task/task.js";
import type { Birth } from "./held-births.js";

/** One transition on its way to history. */
export class Entry {
  readonly partition: number;
  readonly outboxId: string | undefined;
  readonly outboxPlace: number;
  readonly taskId: string;
  readonly version: number;
  readonly isFinal: boolean;
  /** The end of a task with terms. */
  readonly endsTerms: boolean;
  /** What history is told: as given, or mended (payload fetched, version lifted). */
  current: Told;
  bytes: number;
  /** Somebody waits for the answer. */
  readonly awaited: boolean;
  /** Monotonic ms at which it was given. */
  givenAt: number;
  /** It stands in line; otherwise it is in flight, parked or answered. */
  waiting = true;
  /** Its queue has let go of it. */
  dismissed = false;
  /** Monotonic ms at which history first answered that it has no such row. */
  missingSince: number | undefined;
  /** The birth of its task, which needs no row of its own: this one brings all it said. */
  birth: Births | undefined;
  /** Among those that came in with it. */
  nthBirth = 0;
  readonly #run: number;
  readonly #isWhole: boolean;
  readonly #isBirth: boolean;
  #promise: PromiseWithResolvers | undefined;

  /** `told`: the transition, and what history is told of it. */
  constructor(told: Told, prepared: Told, awaited: boolean, givenAt: number) {
    const { task, payloadOmitted, successor, attempt } = told;
    this.partition = told.partition;
    this.outboxId = told.outboxId;
    this.outboxPlace = told.outboxPlace;
    this.taskId = task.id;
    this.version = task.version;
    this.isFinal = isFinal(task.status);
    this.endsTerms = this.isFinal && task.terms !== undefined;
    this.current = prepared;
    this.bytes = prepared.bytes ?? bytesOf(told) + askedBytes(told);
    this.awaited = awaited;
    this.givenAt = givenAt;
    this.missingSince = undefined;
    this.birth = undefined;
    this.#run = task.run;
    // Keys are won or released with the rows that say so.
    const isPlain = !successor && !task.terms && task.idempotencyKey === "";
    this.#isWhole = isPlain && !payloadOmitted && told.outboxId !== undefined;
    this.#isBirth = this.#isWhole && !attempt;
    this.#promise = undefined;
  }

  /**
   * Whether it says all that an earlier entry of its task does, for which nobody waits: the birth
   * of a task, when this is the whole of it at a later time.
   */
  covers(earlier: Entry): boolean {
    return (
      this.#isWhole &&
      earlier.#isBirth &&
      earlier.#promise === undefined &&
      earlier.waiting &&
      !earlier.awaited &&
      !this.awaited &&
      earlier.missingSince === undefined &&
      earlier.partition === this.partition &&
      earlier.#run === this.#run &&
      earlier.version < this.version
    );
  }

  /** Takes the place of an entry that it covers. */
  cover(earlier: Entry): void {
    this.birth = new LoneBirth(earlier);
    this.givenAt = earlier.givenAt;
    this.bytes += earlier.bytes;
    earlier.waiting = false;
    earlier.dismissed = true;
  }

  /** Takes the place of a birth, if it says all that this does. */
  coverBirth({ births, nth, givenAt }: Birth): boolean {
    const covers =
      this.#isWhole &&
      !this.awaited &&
      this.#run === 1 &&
      births.partition === this.partition &&
      births.version < this.version;
    if (!covers) return false;
    this.birth = births;
    this.nthBirth = nth;
    this.givenAt = givenAt;
    this.bytes += Math.ceil(births.bytes / births.ids.length);
    return true;
  }

  /** Whether it tells of this entry of the outbox. */
  tells({ partition, outboxId, outboxPlace, task: { version } }: Transition): boolean {
    if (partition !== this.partition) return false;
    const { birth, nthBirth } = this;
    if (version === this.version && outboxId === this.outboxId) {
      return outboxPlace === this.outboxPlace;
    }
    if (version !== birth?.version || outboxId !== birth.outboxIdOf(nthBirth)) return false;
    return outboxPlace === birth.outboxPlaceOf(nthBirth);
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

/** Of a task that came alone. */
class LoneBirth implements Births {
  readonly partition: number;
  readonly ids: readonly string[];
  readonly version: number;
  readonly bytes: number;
  readonly #told: Told;

  constructor({ partition, taskId, version, bytes, current }: Entry) {
    this.partition = partition;
    this.ids = [taskId];
    this.version = version;
    this.bytes = bytes;
    this.#told = current;
  }

  outboxIdOf(): string {
    return this.#told.outboxId!;
  }

  outboxPlaceOf(): number {
    return this.#told.outboxPlace;
  }

  transitionOf(): Told {
    return this.#told;
  }
}

/** With the task as it was noted, if the transition brings no payload and that has one. */
export function withAsked(given: Transition, noted: Task | undefined): Told {
  const { payloadOmitted, task, successor } = given;
  const isNews = payloadOmitted && !task.payload && !successor;
  return isNews && noted?.payload ? toldAs(given, task, payloadOmitted, noted) : given;
}

/** Of another task. Member by member: some are read from elsewhere, and spreading is dear. */
export const toldAs = (
  told: Told,
  task: Task,
  payloadOmitted: boolean,
  asked = told.asked,
): Told => ({
  partition: told.partition,
  outboxId: told.outboxId,
  outboxPlace: told.outboxPlace,
  task,
  payloadOmitted,
  attempt: told.attempt,
  ...(told.successor && { successor: told.successor }),
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

const askedBytes = ({ asked }: Told): number => asked?.payload?.data.byteLength ?? 0;

/** Estimated bytes of memory. */
export const bytesOf = ({ task, successor }: Transition): number =>
  sizeOf(task) + (successor ? sizeOf(successor) : 0);

/** Estimated bytes of memory. */
export const sizeOf = (task: Task): number =>
  taskOverheadBytes +
  (task.payload?.data.byteLength ?? 0) +
  (task.result?.data.byteLength ?? 0) +
  (task.error ? 2 * (task.error.message.length + (task.error.stack?.length ?? 0)) : 0);
