import type { ScheduleName } from "../history/history.js";
import type { TaskListener, Waiters } from "./waiters.js";

/** Tasks followed of one schedule; where more live, the next ones once these have ended. */
const followedMost = 10;

interface Followed {
  readonly taskIds: readonly string[];
  readonly listener: TaskListener;
}

/**
 * Hears of tasks for whose end ticks wait, so that a tick is taken as soon as it may be. What is
 * missed here (a lost hint, too many waits, a coordinator that died) is found by looking again.
 */
export class TickEnds {
  /** Called when there is something to `drain`. */
  onNews: () => void = () => undefined;
  readonly #waiters: Pick<Waiters, "listen" | "leave">;
  readonly #followed = new Map<string, Followed>();
  readonly #news = new Map<string, ScheduleName>();

  constructor(waiters: Pick<Waiters, "listen" | "leave">) {
    this.#waiters = waiters;
  }

  /** In place of those followed before. */
  follow({ namespace, name }: ScheduleName, live: readonly string[]): void {
    const key = keyOf({ namespace, name });
    const taskIds = live.slice(0, followedMost);
    const before = this.#followed.get(key);
    if (before && String(before.taskIds) === String(taskIds)) return;
    if (before) this.#waiters.leave(before.taskIds, before.listener);
    this.#followed.delete(key);
    if (taskIds.length === 0) return;
    const note = (): void => {
      this.#news.set(key, { namespace, name });
      this.onNews();
    };
    const listener: TaskListener = (news, _taskId, by) => {
      if (news === "changed" && by === "hint") note();
    };
    const followed = { taskIds, listener };
    this.#followed.set(key, followed);
    // It may have ended before anybody listened.
    this.#waiters.listen(taskIds, listener).then(note, () => this.#drop(key, followed));
  }

  #drop(key: string, followed: Followed): void {
    this.#waiters.leave(followed.taskIds, followed.listener);
    if (this.#followed.get(key) === followed) this.#followed.delete(key);
  }

  /** Schedules whose tasks changed, at most so many. */
  drain(most: number): ScheduleName[] {
    const drained = [...this.#news].slice(0, most);
    for (const [key] of drained) this.#news.delete(key);
    return drained.map(([, name]) => name);
  }
}

const keyOf = ({ namespace, name }: ScheduleName): string => `${namespace}\0${name}`;
