import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { createLoop, type Loop } from "../service.js";
import { Bell } from "./bell.js";
import type { Parts } from "./parts.js";

/** `closing`: the coordinator drains, and nothing more will be heard here. */
export type TaskNews = "changed" | "logged" | "closing";
/** `by`: what brought it to mind; a sweep only asks to look. */
export type TaskListener = (news: TaskNews, taskId: string, by: NewsBy) => void;
export type NewsBy = "hint" | "sweep";

/** The sure way behind lossy hints: everybody looks again, and watches are renewed. */
const sweepMs = limits.watchMs / 3;
const roundMs = 1_000;
/** While the broker does not answer, watches do not stand: look more often. */
const brokenSweepMs = 1_000;
/** Looks of one round, so that thousands of watches are never in the way of the work. */
const roundTasks = 1_000;
const nextRoundMs = 25;
const waitersMax = 20_000;
const listenersMax = 100_000;

interface Heard {
  readonly listeners: Set<TaskListener>;
  /** Monotonic ms of the enrolment that stands; and of the next look of a sweep. */
  enrolledAt: number;
  lookAt: number;
}

/**
 * Those who wait for tasks to change, or watch them. The broker hints changes only of tasks that
 * were enrolled here or on another coordinator, so the hot path pays nothing for tasks that nobody
 * looks at.
 */
export class Waiters {
  readonly #parts: Parts;
  readonly #byTask = new Map<string, Heard>();
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
      everyMs: roundMs,
      run: () => this.#sweep(),
      onError: (error, loop) => parts.events.emit("loop.failed", { loop, error }),
    });
  }

  start(): void {
    this.#unsubscribe ??= this.#parts.broker.onHint((hint) => {
      if (hint.kind === "changed" || hint.kind === "logged") this.#tell(hint.kind, hint.taskId);
      else if (hint.kind === "gap") this.#lookSoon(this.#byTask.keys());
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
    // Most tasks nobody waits for: their ids are not hashed then.
    if (this.#byTask.size > 0) this.#tell("changed", taskId);
  }

  #tell(news: TaskNews, taskId: string, by: NewsBy = "hint"): void {
    const heard = this.#byTask.get(taskId);
    if (heard) for (const listener of heard.listeners) listener(news, taskId, by);
  }

  /**
   * From the time it resolves on, every change is heard, by hint or with the next sweep; so look
   * once after it. `leave` ends it.
   */
  async listen(taskIds: readonly string[], listener: TaskListener): Promise<void> {
    if (this.#released) throw closing();
    if (this.#listeners + taskIds.length > listenersMax) throw tooMany(listenersMax);
    const lookAt = this.#parts.clock.monotonic() + sweepMs;
    for (const id of taskIds) {
      const heard = this.#byTask.get(id) ?? {
        listeners: new Set(),
        enrolledAt: -Infinity,
        lookAt,
      };
      this.#byTask.set(id, heard);
      if (!heard.listeners.has(listener)) this.#listeners += 1;
      heard.listeners.add(listener);
    }
    await this.#enrol(taskIds);
  }

  leave(taskIds: readonly string[], listener: TaskListener): void {
    for (const id of taskIds) {
      const heard = this.#byTask.get(id);
      if (!heard?.listeners.delete(listener)) continue;
      this.#listeners -= 1;
      if (heard.listeners.size === 0) this.#byTask.delete(id);
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
    const { clock, events } = this.#parts;
    const endsAt = clock.monotonic() + Math.min(timeoutMs, limits.waitTaskMs);
    // Many ask for what has ended already: they need no enrolment.
    const found = await look();
    if (found !== undefined || timeoutMs <= 0 || this.#released) return found;
    if (this.#waiting >= waitersMax) throw tooMany(waitersMax);
    this.#waiting += 1;
    const bell = new Bell(clock);
    let rung: NewsBy | undefined;
    const listener: TaskListener = (_news, _taskId, by) => {
      rung = firstCause(rung, by);
      bell.ring();
    };
    try {
      await this.listen([taskId], listener);
      for (;;) {
        const by = rung;
        rung = undefined;
        const seen = await look();
        if (seen !== undefined && by) events.emit("watch.told", { by });
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
    const open = taskIds.filter((id) => this.#byTask.get(id)!.enrolledAt < freshAfter);
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
    await this.#watch([...ids]).catch(() => this.#lookSoon(ids));
  }

  async #watch(ids: readonly string[]): Promise<void> {
    const askedAt = this.#parts.clock.monotonic();
    await this.#parts.broker.watch(ids);
    for (const id of ids) {
      const heard = this.#byTask.get(id);
      if (heard) heard.enrolledAt = askedAt;
    }
  }

  #lookSoon(ids: Iterable<string>): void {
    for (const id of ids) {
      const heard = this.#byTask.get(id);
      if (heard) heard.lookAt = -Infinity;
    }
    this.#sweeps.poke();
  }

  /** A task is looked at every 10 s; those that came together are, a round at a time. */
  async #sweep(): Promise<number | undefined> {
    const now = this.#parts.clock.monotonic();
    const due: string[] = [];
    for (const [id, { lookAt }] of this.#byTask) {
      if (lookAt <= now) due.push(id);
      if (due.length === roundTasks) break;
    }
    if (due.length === 0) return undefined;
    const stands = await this.#watch(due).then(yes, no);
    const lookAt = now + (stands ? sweepMs : brokenSweepMs);
    for (const id of due) {
      const heard = this.#byTask.get(id);
      if (heard) heard.lookAt = lookAt;
      this.#tell("changed", id, "sweep");
      this.#tell("logged", id, "sweep");
    }
    return due.length < roundTasks ? undefined : nextRoundMs;
  }
}

/** Of several rings before one look, a hint would have been enough. */
export const firstCause = (before: NewsBy | undefined, by: NewsBy): NewsBy =>
  before === "hint" ? before : by;

const yes = (): boolean => true;
const no = (): boolean => false;

export const closing = (): DroverError =>
  new DroverError("shutting_down", "this coordinator stops", { retryAfterMs: 0 });

const tooMany = (most: number): DroverError =>
  new DroverError("overloaded", `${most} tasks are waited for here already`, {
    retryAfterMs: 1_000,
  });
