import type { Births, Broker, Transition } from "../broker/broker.js";
import type { Clock, Random, Timer } from "../clock.js";
import type { OnRecorded, Recorder } from "../coordinator/recorder.js";
import { DroverError } from "../errors.js";
import type { History, RecordOutcome } from "../history/history.js";
import { limits } from "../limits.js";
import type { Service } from "../service.js";
import { attemptOf } from "../task/attempt.js";
import { partitionOfSlot, slotOfId } from "../task/ids.js";
import type { Task } from "../task/task.js";
import type { Events } from "../telemetry/events.js";
import { BirthCheck } from "./birth-check.js";
import type { HeldEnds } from "./held-ends.js";
import { heldMost } from "./holders.js";
import { LaterAnswers } from "./later-answers.js";
import { bytesOf, Entry, withAsked } from "./record-entry.js";
import { RecordFlight } from "./record-flight.js";
import { type Batch, type Line, RecordQueue, type Which } from "./record-queue.js";
import { RunningWatch } from "./running-watch.js";
import { SheetFlight } from "./sheet-flight.js";

export interface RecorderOptions {
  readonly broker: Broker;
  readonly history: History;
  readonly events: Events;
  readonly clock: Clock;
  readonly random: Random;
  /** Most bytes (estimated) kept while history is away. Default limits.unrecordedBytes. */
  readonly maxBytes?: number;
}

/**
 * Payloads and results of one statement; its rows are on the wire and in memory several times over.
 */
const batchBytes = 8 * 1024 * 1024;
const retryFirstMs = 100;
const retryMaxMs = 5_000;
const runningTasksMax = 100_000;
const runningBytesMax = 32 * 1024 * 1024;

/**
 * Group commit of what the broker decided, one flush of each line at a time. What somebody waits
 * for is written as soon as the flush before it is answered. The rest is as safe in the outbox as
 * it will be in history, so it is gathered for up to `limits.recordGatherMs` (while many wait, up
 * to `limits.recordHoldMs`): fewer transactions, and a task that begins and ends meanwhile is one
 * row written once.
 */
export class HistoryRecorder implements Recorder, Service {
  readonly #options: RecorderOptions;
  readonly #maxBytes: number;
  readonly #queue: RecordQueue;
  readonly #watch: RunningWatch;
  readonly #flight: RecordFlight;
  readonly #sheets: SheetFlight;
  readonly #awaitedSheets: SheetFlight;
  readonly #births: BirthCheck;
  readonly #flights = new Map<Line, Promise<void>>();
  #looking: Promise<void> | undefined;
  #pauseTimer: Timer | undefined;
  #gatherTimer: Timer | undefined;
  /** Monotonic ms before which nothing is gathered again. */
  #restsUntil = 0;
  #flushes = 0;
  #failures = 0;
  #turnAt: number | undefined;
  #stopped = false;

  constructor(options: RecorderOptions) {
    this.#options = options;
    this.#maxBytes = options.maxBytes ?? limits.unrecordedBytes;
    const seed = Math.floor(options.random.next() * 2 ** 32);
    this.#queue = new RecordQueue(options.history.sheets, seed);
    this.#flight = new RecordFlight(options, this.#queue, () => this.#pump());
    const flownBy = (ends: HeldEnds): SheetFlight =>
      new SheetFlight(options, this.#queue, ends, {
        onDue: () => this.#pump(),
        onLanded: (error) => {
          if (error === undefined) this.#failures = 0;
          else this.#failed(error);
          this.#pump();
        },
      });
    this.#sheets = flownBy(this.#queue.ends);
    this.#awaitedSheets = flownBy(this.#queue.awaitedEnds);
    this.#births = new BirthCheck(options.broker, options.clock, this.#queue.births);
    this.#watch = new RunningWatch({
      clock: options.clock,
      delayMs: limits.runningRecordDelayMs,
      maxTasks: runningTasksMax,
      maxBytes: runningBytesMax,
      seed,
      onDue: (tasks) => this.#addRunning(tasks),
    });
  }

  /** Called once history holds the end of a task. */
  set onEnded(listener: (task: Task) => void) {
    this.#flight.onEnded = listener;
  }

  /** Estimated bytes held. */
  get bytes(): number {
    return this.#queue.bytes;
  }

  async start(): Promise<void> {
    this.#stopped = false;
    this.#pump();
  }

  /**
   * Gives up what is not written yet: call `flush` first. The outbox holds it for whoever drains
   * it.
   */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#watch.clear();
    this.#pauseTimer?.cancel();
    this.#gatherTimer?.cancel();
    this.#pauseTimer = this.#gatherTimer = undefined;
    await Promise.all(this.#flights.values());
    await Promise.all([this.#flight.stop(), this.#sheets.stop(), this.#awaitedSheets.stop()]);
    await Promise.all([this.#looking, this.#births.stop()]);
    const error = new DroverError(
      "history_unavailable",
      "the recorder stopped before history answered",
    );
    for (const entry of this.#queue.clear()) entry.reject(error);
  }

  record(
    transition: Transition,
    awaited = transition.task.durability === "durable",
  ): Promise<RecordOutcome> {
    const asked = this.#watch.forget(transition.task.id, transition.task.version);
    if (this.#stopped) return Promise.reject(unavailable("the recorder has stopped"));
    const known = this.#queue.find(transition);
    if (known) return known.done;
    if (!this.#hasRoom(transition)) {
      const { count, bytes } = this.#queue;
      const message = `${count} transitions (${bytes} bytes) wait for history already`;
      return Promise.reject(unavailable(`${message}, at most ${this.#maxBytes} bytes may`));
    }
    return this.#add(transition, awaited, asked).done;
  }

  recordAll(transitions: readonly Transition[], onRecorded: OnRecorded): void {
    let later: LaterAnswers | undefined;
    for (let index = 0; index < transitions.length; index += 1) {
      const transition = transitions[index]!;
      if (this.#takeAwaitedEnd(transition, onRecorded, index)) continue;
      later ??= new LaterAnswers(onRecorded);
      later.await(index, this.record(transition, true));
    }
  }

  #takeAwaitedEnd(transition: Transition, onRecorded: OnRecorded, index: number): boolean {
    if (this.#stopped || !this.#hasRoom(transition)) return false;
    if (!this.#queue.takeAwaitedEnd(transition, this.#turn(), onRecorded, index)) return false;
    this.#watch.forget(transition.task.id, transition.task.version);
    return true;
  }

  keep(transition: Transition): void {
    const asked = this.#watch.forget(transition.task.id, transition.task.version);
    if (this.#stopped) return;
    if (this.#hasRoom(transition) && this.#queue.takeEnd(transition, this.#turn())) return;
    if (this.#queue.find(transition) || !this.#hasRoom(transition)) return;
    this.#add(transition, false, asked);
  }

  born(births: Births): void {
    if (this.#stopped || this.#queue.bytes + births.bytes > this.#maxBytes) return;
    if (births.ids.length <= heldMost) return this.#queue.addBirths(births, this.#turn());
    for (let nth = 0; nth < births.ids.length; nth += 1) this.keep(births.transitionOf(nth));
  }

  #hasRoom(transition: Transition): boolean {
    return this.#queue.bytes + bytesOf(transition) <= this.#maxBytes;
  }

  running(task: Task): void {
    if (this.#stopped) return;
    // Its start releases its key.
    if (task.terms?.unique?.scope === "until_started") this.#addRunning([task]);
    else this.#watch.note(task);
  }

  async flush(): Promise<void> {
    this.#flushes += 1;
    this.#pump();
    try {
      await Promise.all([this.#sheets.landed(), this.#awaitedSheets.landed()]);
      await Promise.allSettled(this.#queue.held().map((entry) => entry.done));
    } finally {
      this.#flushes -= 1;
    }
  }

  #add(transition: Transition, awaited: boolean, asked?: Task): Entry {
    const told = withAsked(transition, asked);
    const prepared = this.#options.history.prepare(told);
    const entry = new Entry(told, prepared, awaited, this.#turn());
    this.#queue.add(entry);
    return entry;
  }

  #addRunning(tasks: readonly Task[]): void {
    for (const task of tasks) {
      // They must not take the room of what has to be written.
      if (this.#queue.bytes > this.#maxBytes / 2) return;
      const transition = runningTransition(task, this.#options.broker.partitions);
      this.#add(transition, false);
    }
  }

  /** Monotonic ms of this turn. What comes in the same turn travels together. */
  #turn(): number {
    if (this.#turnAt === undefined) {
      this.#turnAt = this.#options.clock.monotonic();
      queueMicrotask(() => {
        this.#turnAt = undefined;
        this.#pump();
      });
    }
    return this.#turnAt;
  }

  #pump(): void {
    if (this.#stopped || this.#pauseTimer) return;
    this.#launch("awaited", { until: Number.POSITIVE_INFINITY });
    this.#awaitedSheets.pump(true);
    this.#sheets.pump(this.#isUrgent);
    this.#gather();
  }

  /** Nothing is gathered then. */
  get #isUrgent(): boolean {
    return this.#flushes > 0 || this.#queue.bytes > this.#maxBytes / 2;
  }

  /**
   * Once the longest waiting has waited long enough, all go that have ended, so that flushes stay
   * few.
   */
  #gather(): void {
    if (this.#flights.has("gathered")) return;
    const oldest = this.#queue.oldest("gathered");
    if (oldest === undefined) return;
    if (this.#isUrgent) {
      return void this.#launch("gathered", { until: Number.POSITIVE_INFINITY });
    }
    const { clock } = this.#options;
    const now = clock.monotonic();
    const dueAt = Math.max(oldest + limits.recordGatherMs, this.#restsUntil);
    if (now < dueAt) {
      this.#gatherTimer ??= clock.after(dueAt - now, () => {
        this.#gatherTimer = undefined;
        this.#pump();
      });
      return;
    }
    if (this.#looking) return;
    this.#looking = this.#births.look(this.#liveUntil(now))?.finally(() => {
      this.#looking = undefined;
      if (!this.#stopped && !this.#pauseTimer) this.#launchGathered();
    });
    if (!this.#looking) this.#launchGathered();
  }

  #launchGathered(): void {
    if (this.#flights.has("gathered")) return;
    const now = this.#options.clock.monotonic();
    const births = this.#births.rests ? "unjudged" : "judged";
    const which = { until: now, liveUntil: this.#liveUntil(now), births } as const;
    const taken = this.#launch("gathered", which);
    if (taken === limits.recordBatch) return;
    this.#restsUntil = now + limits.recordGatherMs / 2;
    if (taken === 0) this.#gather();
  }

  /**
   * Those that have not ended wait half as long by themselves, and longer while many tasks wait:
   * most will have by then, and are one row instead of two.
   */
  #liveUntil(now: number): number {
    const many = this.#queue.waiting("gathered") > limits.recordBatch;
    const hold = many && this.#queue.bytes <= this.#maxBytes / 4;
    return now - (hold ? limits.recordHoldMs : limits.recordGatherMs / 2);
  }

  /** Returns how many entries fly. */
  #launch(line: Line, which: Which): number {
    if (this.#flights.has(line)) return 0;
    const batch = this.#queue.take(line, which, limits.recordBatch, batchBytes);
    if (batch.entries.length === 0) return 0;
    const flight = this.#fly(batch).finally(() => {
      this.#flights.delete(line);
      this.#pump();
    });
    this.#flights.set(line, flight);
    return batch.entries.length;
  }

  async #fly(batch: Batch): Promise<void> {
    const { clock, events } = this.#options;
    const startedAt = clock.monotonic();
    try {
      await this.#flight.fly(batch.entries);
      this.#queue.landed(batch);
      this.#failures = 0;
      events.emit("history.recorded", {
        rows: batch.groups.length,
        ms: clock.monotonic() - startedAt,
      });
    } catch (error) {
      this.#queue.landed(batch);
      this.#queue.giveBack(batch.entries);
      this.#failed(error);
    }
  }

  /** Silent: history itself says when it goes away and when it is back. */
  #failed(error: unknown): void {
    const { events, clock, random } = this.#options;
    if (DroverError.from(error).id !== "history_unavailable") {
      events.emit("loop.failed", { loop: "recorder", error });
    }
    const waitMs = Math.min(retryMaxMs, retryFirstMs * 2 ** Math.min(this.#failures, 10));
    this.#failures += 1;
    if (this.#stopped) return;
    this.#pauseTimer ??= clock.after(waitMs * (0.5 + random.next() / 2), () => {
      this.#pauseTimer = undefined;
      this.#pump();
    });
  }
}

export const createRecorder = (options: RecorderOptions): HistoryRecorder =>
  new HistoryRecorder(options);

const unavailable = (message: string): DroverError =>
  new DroverError("history_unavailable", message);

/** A grant needs no outbox: if it is lost, history learns the attempt from its end. */
function runningTransition(task: Task, partitions: number): Transition {
  return {
    partition: partitionOfSlot(slotOfId(task.id), partitions),
    outboxId: undefined,
    outboxPlace: 0,
    task,
    payloadOmitted: true,
    attempt: attemptOf(task, undefined, undefined, undefined),
  };
}
