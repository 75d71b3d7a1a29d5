import type { Clock, Timer } from "../clock.js";
import type { Task } from "../task/task.js";

export interface RunningWatchOptions {
  readonly clock: Clock;
  /** How long a task must have been running. */
  readonly delayMs: number;
  /** More are not remembered: a RUNNING that is not written changes no promise. */
  readonly maxTasks: number;
  onDue(tasks: readonly Task[]): void;
}

/**
 * Remembers grants until they have lasted. One timer for all of them: they fall due in the order
 * they came.
 */
export class RunningWatch {
  readonly #options: RunningWatchOptions;
  readonly #tasks = new Map<string, { readonly task: Task; readonly dueAt: number }>();
  #timer: Timer | undefined;

  constructor(options: RunningWatchOptions) {
    this.#options = options;
  }

  note(task: Task): void {
    const { clock, delayMs, maxTasks } = this.#options;
    // Deleted first, so that the order of the map stays the order of falling due.
    this.#tasks.delete(task.id);
    if (this.#tasks.size >= maxTasks) return;
    // History has the payload, or gets it with the insert: thousands of running tasks must not hold
    // theirs here.
    const slim = { ...task, payload: undefined };
    this.#tasks.set(task.id, { task: slim, dueAt: clock.monotonic() + delayMs });
    this.#timer ??= clock.after(delayMs, () => this.#sweep());
  }

  /** The task went on to this version. */
  forget(taskId: string, version: number): void {
    const noted = this.#tasks.get(taskId);
    if (noted && noted.task.version <= version) this.#tasks.delete(taskId);
  }

  clear(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#tasks.clear();
  }

  #sweep(): void {
    this.#timer = undefined;
    const { clock } = this.#options;
    const due: Task[] = [];
    for (const [taskId, { task, dueAt }] of this.#tasks) {
      const waitMs = dueAt - clock.monotonic();
      if (waitMs > 0) {
        this.#timer = clock.after(waitMs, () => this.#sweep());
        break;
      }
      this.#tasks.delete(taskId);
      due.push(task);
    }
    if (due.length > 0) this.#options.onDue(due);
  }
}
