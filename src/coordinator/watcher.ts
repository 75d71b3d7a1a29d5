import { missedAttempts, type Step, seenOf, stepsSince } from "../task/life.js";
import type { LogEntry } from "../task/log.js";
import { isFinal, type Task } from "../task/task.js";
import { Bell } from "./bell.js";
import type { TaskEvent } from "./coordinator.js";
import type { Parts } from "./parts.js";
import { notFound } from "./reader.js";
import { isUnsettled, type TaskLoader } from "./task-loader.js";
import { LogScout } from "./log-scout.js";
import { closing, firstCause, type NewsBy, type TaskListener, type Waiters } from "./waiters.js";
import {
  decodeCursor,
  encodeCursor,
  type Position,
  progressDigest,
  scopeOf,
  startPosition,
} from "./watch-cursor.js";

/** Entries of one event, and of one read of history. */
const logBatch = 100;

/** What is told of one task; without the cursor, which is of all. */
type Told = TaskEvent extends infer E ? (E extends unknown ? Omit<E, "cursor"> : never) : never;

interface Watched {
  readonly taskId: string;
  position: Position;
  /** Look at the task again; at its logs, too. */
  changed: boolean;
  logged: boolean;
  /** There are logs: it was said so. */
  surelyLogged: boolean;
  /** What asked for this look; undefined: its beginning. */
  by: NewsBy | undefined;
  ended: boolean;
}

/** A task as it was read, and what asked for it. */
interface Look {
  readonly one: Watched;
  readonly task: Task;
  readonly by: NewsBy | undefined;
}

const watchedFrom = (taskId: string, position: Position): Watched => ({
  taskId,
  position,
  changed: true,
  logged: true,
  surelyLogged: false,
  by: undefined,
  ended: false,
});

function note(one: Watched, news: "changed" | "logged", by: NewsBy): void {
  one.by = firstCause(one.by, by);
  if (news === "changed") one.changed = true;
  else one.logged = true;
  if (news === "logged" && by === "hint") one.surelyLogged = true;
}

/**
 * Watches are positions in the stores, never queues: an event is made when the stream takes it, so
 * a slow watcher holds nothing but its place.
 */
export class Watcher {
  readonly #parts: Parts;
  readonly #waiters: Waiters;
  readonly #loader: TaskLoader;
  readonly #scout: LogScout;

  constructor(parts: Parts, waiters: Waiters, loader: TaskLoader) {
    this.#parts = parts;
    this.#scout = new LogScout(parts);
    this.#waiters = waiters;
    this.#loader = loader;
  }

  async *watch(
    namespace: string,
    taskIds: readonly string[],
    cursor: string,
    signal: AbortSignal,
  ): AsyncGenerator<TaskEvent> {
    const scope = scopeOf(namespace, taskIds);
    const positions =
      cursor === ""
        ? taskIds.map(() => startPosition)
        : decodeCursor(scope, taskIds.length, cursor);
    const all = taskIds.map((taskId, nth) => watchedFrom(taskId, positions[nth]!));
    const byId = new Map(all.map((one) => [one.taskId, one]));
    const bell = new Bell(this.#parts.clock);
    let closed = false;
    const listener: TaskListener = (news, taskId, by) => {
      if (news === "closing") closed = true;
      else note(byId.get(taskId)!, news, by);
      bell.ring();
    };
    try {
      await this.#waiters.listen(taskIds, listener);
      for (;;) {
        signal.throwIfAborted();
        const tasks = await this.#look(namespace, all);
        for (const { one, task, by } of tasks) {
          let told = 0;
          for await (const event of this.#tell(one, task)) {
            if ((told += 1) === 1 && by) this.#parts.events.emit("watch.told", { by });
            const at = all.map(({ position }) => position);
            yield { ...event, cursor: encodeCursor(scope, at) };
            if (closed) throw closing();
            signal.throwIfAborted();
          }
        }
        if (all.every(({ ended }) => ended)) return;
        if (closed) throw closing();
        await bell.wait(undefined, signal);
      }
    } finally {
      this.#waiters.leave(taskIds, listener);
    }
  }

  /** The tasks of which there may be news, as they stand. Unknown ones are refused by name. */
  async #look(namespace: string, all: readonly Watched[]): Promise<Look[]> {
    const open = all.filter((one) => (one.changed || one.logged) && !one.ended);
    const causes = open.map(({ by }) => by);
    for (const one of open) {
      one.changed = false;
      one.by = undefined;
    }
    const tasks = await Promise.all(open.map(({ taskId }) => this.#loader.load(taskId)));
    return open.map((one, nth) => {
      const task = tasks[nth];
      if (task?.namespace !== namespace) throw notFound(one.taskId);
      return { one, task, by: causes[nth] };
    });
  }

  /** In the order of the task's life: an attempt's logs stand between its start and its end. */
  async *#tell(one: Watched, task: Task): AsyncGenerator<Told> {
    // Its end is on its way into history: it is told once it stands there.
    if (isUnsettled(task)) return;
    const { taskId } = one;
    const { seen } = one.position;
    const missed = missedAttempts(seen, task);
    const attempts = missed ? await this.#parts.history.attempts(task.namespace, taskId) : [];
    const steps = stepsSince(seen, task, attempts);
    const logs = new LogFeed(this.#parts, this.#scout, one, steps.length > 0 || one.logged);
    for (const step of steps) {
      const before = step.status === "running" ? step.attempt - 1 : step.attempt;
      yield* logs.upTo(before);
      one.position = { ...one.position, seen: seenAfter(step, task, one.position) };
      const shown = step.current ? task : undefined;
      yield { taskId, kind: "status", step, task: shown };
    }
    one.position = { ...one.position, seen: steps.length > 0 ? seenOf(task) : seen };
    yield* this.#progress(one, task);
    yield* logs.upTo(Infinity);
    one.ended = isFinal(task.status) && one.position.seen.stage === "final";
  }

  *#progress(one: Watched, task: Task): Generator<Told> {
    const { progress, attempt } = task;
    const digest = progressDigest(attempt, progress);
    if (!progress || digest === one.position.progress || task.status !== "running") return;
    one.position = { ...one.position, progress: digest };
    yield { taskId: one.taskId, kind: "progress", attempt, progress };
  }
}

/** Between two steps of one reading: a watch resumed here hears the ones that follow. */
function seenAfter(step: Step, task: Task, { seen }: Position): Position["seen"] {
  if (step.current) return seenOf(task);
  const stage = step.status === "running" ? "running" : "waiting";
  // Version 1 at least, so that the beginning is not told again; below the one of the last step.
  const version = Math.max(1, seen.version);
  return { version, run: step.run, attempt: step.attempt, stage, cancelRequested: false };
}

/** The log entries behind a position, read when they are asked for. */
class LogFeed {
  readonly #parts: Parts;
  readonly #scout: LogScout;
  readonly #one: Watched;
  #waiting: LogEntry[] = [];
  #open: boolean;
  #sure: boolean;

  constructor(parts: Parts, scout: LogScout, one: Watched, open: boolean) {
    this.#parts = parts;
    this.#scout = scout;
    this.#one = one;
    this.#open = open;
    this.#sure = one.surelyLogged;
    if (!open) return;
    one.logged = false;
    one.surelyLogged = false;
  }

  /** Entries of this attempt and those before it. */
  async *upTo(attempt: number): AsyncGenerator<Told> {
    const one = this.#one;
    const { taskId } = one;
    for (;;) {
      if (this.#waiting.length === 0) await this.#read();
      const entries: LogEntry[] = [];
      while (this.#waiting[0] && this.#waiting[0].attempt <= attempt) {
        entries.push(this.#waiting.shift()!);
      }
      const last = entries.at(-1);
      if (!last) return;
      const { fencingToken, sequence } = last;
      one.position = { ...one.position, logs: { fencingToken, sequence } };
      yield { taskId, kind: "logs", entries };
    }
  }

  async #read(): Promise<void> {
    if (!this.#open) return;
    const { taskId, position } = this.#one;
    const place = { taskId, after: position.logs };
    this.#open = this.#sure || (await this.#scout.anyBehind(place));
    if (!this.#open) return;
    this.#sure = true;
    this.#waiting = await this.#parts.history.logs({ ...place, limit: logBatch });
    this.#open = this.#waiting.length === logBatch;
  }
}
