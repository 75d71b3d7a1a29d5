import { ChurnMap } from "../churn.js";
import type { Clock, Timer } from "../clock.js";
import type { Task } from "../task/task.js";

export interface RunningWatchOptions {
  readonly clock: Clock;
  /** How long a task must have been running. */
  readonly delayMs: number;
  /** More are not remembered: a RUNNING that is not written changes no promise. */
  readonly maxTasks: number;
  /** Of the payloads that would be held with them. */
  readonly maxBytes: number;
  onDue(tasks: readonly Task[]): void;
}

interface Noted {
  readonly task: Task;
  readonly dueAt: number;
}

/** Those that fall due within so many ms are told together. */
const sweepMs = 100;

/**
 * Remembers grants until they have lasted. One timer for all of them: they fall due in the order
 * they came.
 */
export class RunningWatch {
  readonly #options: RunningWatchOptions;
  readonly #tasks = new ChurnMap<string, Noted>();
  #bytes = 0;
  #timer: Timer | undefined;

  constructor(options: RunningWatchOptions) {
    this.#options = options;
  }

  note(task: Task): void {
    const { clock, delayMs, maxTasks, maxBytes } = this.#options;
    // Dropped first, so that the order of the map stays the order of falling due.
    this.#drop(task.id);
    const bytes = payloadBytes(task);
    if (this.#tasks.size >= maxTasks || this.#bytes + bytes > maxBytes) return;
    this.#bytes += bytes;
    this.#tasks.set(task.id, { task, dueAt: clock.monotonic() + delayMs });
    this.#timer ??= clock.after(delayMs + sweepMs, () => this.#sweep());
  }

  /** The task went on to this version. Returns it as it was noted. */
  forget(taskId: string, version: number): Task | undefined {
    const noted = this.#tasks.get(taskId);
    if (!noted || noted.task.version > version) return undefined;
    this.#tasks.delete(taskId);
    this.#bytes -= payloadBytes(noted.task);
    return noted.task;
  }

  clear(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#tasks.clear();
    this.#bytes = 0;
  }

  #drop(taskId: string): void {
    const noted = this.#tasks.get(taskId);
    if (!noted) return;
    this.#tasks.delete(taskId);
    this.#bytes -= payloadBytes(noted.task);
  }

  #sweep(): void {
    this.#timer = undefined;
    const { clock } = this.#options;
    const due: Task[] = [];
    for (const [taskId, { task, dueAt }] of this.#tasks) {
      const waitMs = dueAt - clock.monotonic();
      if (waitMs > 0) {
        this.#timer = clock.after(waitMs + sweepMs, () => this.#sweep());
        break;
      }
      this.#drop(taskId);
      due.push(task);
    }
    if (due.length > 0) this.#options.onDue(due);
  }
}

const payloadBytes = (task: Task): number => task.payload?.data.byteLength ?? 0;
