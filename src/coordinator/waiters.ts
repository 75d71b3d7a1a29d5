import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { createLoop, type Loop } from "../service.js";
import { Bell } from "./bell.js";
import type { Parts } from "./parts.js";

/** `closing`: the coordinator drains, and nothing more will be heard here. */
export type TaskNews = "changed" | "logged" | "closing";
export type TaskListener = (news: TaskNews, taskId: string) => void;

/** The sure way behind lossy hints: everybody looks again, and watches are renewed. */
const sweepMs = limits.watchMs / 3;
/** While the broker does not answer, watches do not stand: look more often. */
const brokenSweepMs = 1_000;
const waitersMax = 20_000;
const listenersMax = 100_000;

/**
 * Those who wait for tasks to change, or watch them. The broker hints changes only of tasks that
 * were enrolled here or on another coordinator, so the hot path pays nothing for tasks that nobody
 * looks at.
 */
export class Waiters {
  readonly #parts: Parts;
  readonly #byTask = new Map<string, Set<TaskListener>>();
  /** Monotonic ms of the enrolment that stands. */
  readonly #enrolled = new Map<string, number>();
  readonly #sweeps: Loop;
  #enrolling: { ids: Set<string>; done: Promise<void> } | undefined;
  #listeners = 0;
  #waiting = 0;
  #released = false;
  #unsubscribe: (() => void) | undefined;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#sweeps = createLoop({
      name: "waiters",
      clock: parts.clock,
      everyMs: sweepMs,
      run: () => this.#sweep(),
      onError: (error, loop) => parts.events.emit("loop.failed", { loop, error }),
    });
  }

  start(): void {
    this.#unsubscribe ??= this.#parts.broker.onHint((hint) => {
      if (hint.kind === "changed" || hint.kind === "logged") this.#tell(hint.kind, hint.taskId);
      else if (hint.kind === "gap") this.#sweeps.poke();
    });
    void this.#sweeps.start();
  }

  async stop(): Promise<void> {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    await this.#sweeps.stop();
  }

  /** The coordinator drains: waits are answered with what stands now, and no new one begins. */
  release(): void {
    this.#released = true;
    for (const taskId of this.#byTask.keys()) this.#tell("closing", taskId);
  }

  changed(taskId: string): void {
    this.#tell("changed", taskId);
  }

  #tell(news: TaskNews, taskId: string): void {
    for (const listener of this.#byTask.get(taskId) ?? []) listener(news, taskId);
  }

  /**
   * From the time it resolves on, every change is heard, by hint or with the next sweep; so look
   * once after it. `leave` ends it.
   */
  async listen(taskIds: readonly string[], listener: TaskListener): Promise<void> {
    if (this.#released) throw closing();
    if (this.#listeners + taskIds.length > listenersMax) throw tooMany(listenersMax);
    for (const id of taskIds) {
      const listeners = this.#byTask.get(id) ?? new Set();
      this.#byTask.set(id, listeners);
      if (!listeners.has(listener)) this.#listeners += 1;
      listeners.add(listener);
    }
    await this.#enrol(taskIds);
  }

  leave(taskIds: readonly string[], listener: TaskListener): void {
    for (const id of taskIds) {
      const listeners = this.#byTask.get(id);
      if (!listeners?.delete(listener)) continue;
      this.#listeners -= 1;
      if (listeners.size > 0) continue;
      this.#byTask.delete(id);
      this.#enrolled.delete(id);
    }
  }

  /**
   * Calls `look` at once and after each change until it gives a value, or undefined when the time
   * is over.
   */
  async until<T>(
    taskId: string,
    timeoutMs: number,
    signal: AbortSignal,
    look: () => Promise<T | undefined>,
  ): Promise<T | undefined> {
    const { clock } = this.#parts;
    const endsAt = clock.monotonic() + Math.min(timeoutMs, limits.waitTaskMs);
    // Many ask for what has ended already: they need no enrolment.
    const found = await look();
    if (found !== undefined || timeoutMs <= 0 || this.#released) return found;
    if (this.#waiting >= waitersMax) throw tooMany(waitersMax);
    this.#waiting += 1;
    const bell = new Bell(clock);
    const listener = () => bell.ring();
    try {
      await this.listen([taskId], listener);
      for (;;) {
        const seen = await look();
        if (seen !== undefined) return seen;
        const leftMs = endsAt - clock.monotonic();
        if (leftMs <= 0 || signal.aborted || this.#released) return undefined;
        await bell.wait(leftMs, signal);
      }
    } finally {
      this.#waiting -= 1;
      this.leave([taskId], listener);
    }
  }

  /** What is asked for in one turn rides in one call. A broker that is away is asked by sweeps. */
  #enrol(taskIds: readonly string[]): Promise<void> {
    const freshAfter = this.#parts.clock.monotonic() - limits.watchMs / 2;
    const open = taskIds.filter((id) => (this.#enrolled.get(id) ?? -Infinity) < freshAfter);
    if (open.length === 0) return Promise.resolve();
    if (!this.#enrolling) {
      const ids = new Set<string>();
      const turn = new Promise<void>((resolve) => setImmediate(resolve));
      this.#enrolling = { ids, done: turn.then(() => this.#flush(ids)) };
    }
    for (const id of open) this.#enrolling.ids.add(id);
    return this.#enrolling.done;
  }

  async #flush(ids: ReadonlySet<string>): Promise<void> {
    this.#enrolling = undefined;
    await this.#watch([...ids]).catch(() => this.#sweeps.poke());
  }

  async #watch(ids: readonly string[]): Promise<void> {
    const askedAt = this.#parts.clock.monotonic();
    await this.#parts.broker.watch(ids);
    for (const id of ids) if (this.#byTask.has(id)) this.#enrolled.set(id, askedAt);
  }

  async #sweep(): Promise<number | undefined> {
    const ids = [...this.#byTask.keys()];
    const stands = ids.length === 0 || (await this.#watch(ids).then(yes, no));
    for (const id of ids) {
      this.#tell("changed", id);
      this.#tell("logged", id);
    }
    return stands ? undefined : brokenSweepMs;
  }
}

const yes = (): boolean => true;
const no = (): boolean => false;

export const closing = (): DroverError =>
  new DroverError("shutting_down", "this coordinator stops", { retryAfterMs: 0 });

const tooMany = (most: number): DroverError =>
  new DroverError("overloaded", `${most} tasks are waited for here already`, {
    retryAfterMs: 1_000,
  });
