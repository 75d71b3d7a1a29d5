import type { Clock, Timer } from "../clock.js";
import type { Task } from "../task/task.js";
import { Places } from "./places.js";

export interface RunningWatchOptions {
  readonly clock: Clock;
  /** How long a task must have been running. */
  readonly delayMs: number;
  /** More are not remembered: a RUNNING that is not written changes no promise. */
  readonly maxTasks: number;
  /** Of the payloads that would be held with them. */
  readonly maxBytes: number;
  /** As of Places. */
  readonly seed: number;
  onDue(tasks: readonly Task[]): void;
}

/** Grants of one stretch of time, which fall due together. */
interface Round {
  /** In their order; undefined: the task went on. */
  readonly tasks: (Task | undefined)[];
  /** Monotonic ms. */
  readonly dueAt: number;
}

/** How long a round lasts. */
const roundMs = 100;
/** Of a round, at most. */
const roundMost = 65_536;

/** Remembers grants until they have lasted. One timer for all of them, and no object for each. */
export class RunningWatch {
  readonly #options: RunningWatchOptions;
  /** By the number of its round, and its own there. */
  readonly #places: Places;
  /** The oldest first. */
  #rounds: Round[] = [];
  /** What is noted stands in it, the last one. */
  #open: Round | undefined;
  /** Rounds that were before the first of these. */
  #over = 0;
  #bytes = 0;
  #timer: Timer | undefined;

  constructor(options: RunningWatchOptions) {
    this.#options = options;
    const isAt = (place: number, taskId: string): boolean => this.#taskAt(place)?.id === taskId;
    this.#places = new Places(isAt, options.seed);
  }

  note(task: Task): void {
    const { clock, maxTasks, maxBytes } = this.#options;
    const bytes = payloadBytes(task);
    if (this.#places.size >= maxTasks || this.#bytes + bytes > maxBytes) return;
    const { tasks } = this.#roundNow();
    const round = this.#over + this.#rounds.length - 1;
    const before = this.#places.set(task.id, round * roundMost + tasks.length);
    // It runs since now.
    if (before !== undefined) this.#empty(before);
    tasks.push(task);
    this.#bytes += bytes;
    this.#timer ??= clock.after(roundMs, () => this.#sweep());
  }

  #roundNow(): Round {
    if (this.#open && this.#open.tasks.length < roundMost) return this.#open;
    const { clock, delayMs } = this.#options;
    this.#open = { tasks: [], dueAt: clock.monotonic() + roundMs + delayMs };
    this.#rounds.push(this.#open);
    return this.#open;
  }

  /** The task went on to this version. Returns it as it was noted. */
  forget(taskId: string, version: number): Task | undefined {
    const place = this.#places.take(taskId);
    if (place === undefined) return undefined;
    if (this.#taskAt(place)!.version <= version) return this.#empty(place);
    this.#places.set(taskId, place);
    return undefined;
  }

  clear(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#places.clear();
    this.#bytes = 0;
    this.#drop(this.#rounds.length);
  }

  #taskAt(place: number): Task | undefined {
    return this.#roundAt(place).tasks[place % roundMost];
  }

  #roundAt(place: number): Round {
    return this.#rounds[Math.floor(place / roundMost) - this.#over]!;
  }

  #empty(place: number): Task {
    const { tasks } = this.#roundAt(place);
    const task = tasks[place % roundMost]!;
    tasks[place % roundMost] = undefined;
    this.#bytes -= payloadBytes(task);
    return task;
  }

  /** Those rounds are over. */
  #drop(rounds: number): void {
    this.#rounds.splice(0, rounds);
    this.#over += rounds;
    this.#open = undefined;
  }

  #sweep(): void {
    this.#timer = undefined;
    const { clock } = this.#options;
    const now = clock.monotonic();
    const later = this.#rounds.findIndex(({ dueAt }) => dueAt > now);
    const over = later < 0 ? this.#rounds : this.#rounds.slice(0, later);
    const due = over.flatMap(({ tasks }) => tasks).filter((task) => task !== undefined);
    for (const { id } of due) this.#empty(this.#places.take(id)!);
    // Nearly always all have gone on before they were due.
    this.#drop(this.#places.size === 0 ? this.#rounds.length : over.length);
    if (this.#rounds.length > 0) this.#timer = clock.after(roundMs, () => this.#sweep());
    if (due.length > 0) this.#options.onDue(due);
  }
}

const payloadBytes = (task: Task): number => task.payload?.data.byteLength ?? 0;
