import type { Clock, Timer } from "../clock.js";
import type { Task } from "../task/task.js";
import { Holders, heldMost, nthOf, placeOf } from "./holders.js";
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

/** Remembers grants until they have lasted. One timer for all of them, and no object for each. */
export class RunningWatch {
  readonly #options: RunningWatchOptions;
  /** By the number of its round, and its own there. */
  readonly #places: Places;
  readonly #rounds = new Holders<Round>();
  /** What is noted stands in it. */
  #open: { readonly number: number; readonly round: Round } | undefined;
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
    const { number, round } = this.#openNow();
    const before = this.#places.set(task.id, placeOf(number, round.tasks.length));
    // It runs since now.
    if (before !== undefined) this.#empty(before);
    round.tasks.push(task);
    this.#bytes += bytes;
    this.#timer ??= clock.after(roundMs, () => this.#sweep());
  }

  #openNow(): { readonly number: number; readonly round: Round } {
    if (this.#open && this.#open.round.tasks.length < heldMost) return this.#open;
    const { clock, delayMs } = this.#options;
    const round: Round = { tasks: [], dueAt: clock.monotonic() + roundMs + delayMs };
    this.#open = { number: this.#rounds.add(round), round };
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
    this.#rounds.clear();
    this.#open = undefined;
  }

  #taskAt(place: number): Task | undefined {
    return this.#rounds.of(place).tasks[nthOf(place)];
  }

  #empty(place: number): Task {
    const { tasks } = this.#rounds.of(place);
    const task = tasks[nthOf(place)]!;
    tasks[nthOf(place)] = undefined;
    this.#bytes -= payloadBytes(task);
    return task;
  }

  #sweep(): void {
    const { clock } = this.#options;
    const now = clock.monotonic();
    this.#timer = undefined;
    this.#open = undefined;
    const due: Task[] = [];
    for (const [number, { tasks, dueAt }] of this.#rounds) {
      if (dueAt > now) break;
      for (const task of tasks) if (task) due.push(this.#empty(this.#places.take(task.id)!));
      this.#rounds.delete(number);
    }
    // Nearly always all have gone on before they were due.
    if (this.#places.size === 0) this.#rounds.clear();
    else this.#timer = clock.after(roundMs, () => this.#sweep());
    if (due.length > 0) this.#options.onDue(due);
  }
}

const payloadBytes = (task: Task): number => task.payload?.data.byteLength ?? 0;
