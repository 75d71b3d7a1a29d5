import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import type { Schedule } from "../task/schedule/schedule.js";
import { isFinal, type Task } from "../task/task.js";
import type { Canceller } from "./canceller.js";
import type { Parts } from "./parts.js";

/** A task of an earlier tick that has not ended. */
export interface LiveTask {
  readonly id: string;
  /** Its cancel was asked for before. */
  readonly leaving: boolean;
}

/**
 * Live tasks looked at for one schedule. Where only the question is whether there is one, a few
 * more than one: the oldest may have ended without history having been told.
 */
const liveMost = 100;

/** What has become of the tasks of earlier ticks. */
export class EarlierTasks {
  readonly #parts: Parts;
  readonly #canceller: Canceller;

  constructor(parts: Parts, canceller: Canceller) {
    this.#parts = parts;
    this.#canceller = canceller;
  }

  /**
   * Those that live, by schedule. Undefined: history holds some as live, and the broker does not
   * say whether they have ended since. Where the policy does not ask, there are none.
   */
  async live(schedules: readonly Schedule[]): Promise<(readonly LiveTask[] | undefined)[]> {
    const asked = schedules.filter(
      ({ counts, overlap, waiting }) =>
        counts.taken > 0 && (overlap !== "allow_all" || waiting.length > 0),
    );
    if (asked.length === 0) return schedules.map(() => []);
    const ids = await this.#parts.history.schedules.liveTasks(asked, liveMost);
    const known = await this.#known(ids.flat());
    const bySchedule = new Map(asked.map((schedule, place) => [schedule, ids[place]!]));
    return schedules.map((schedule) => {
      const own = bySchedule.get(schedule) ?? [];
      if (!known && own.length > 0) return undefined;
      return own.flatMap((id) => liveOf(id, known?.get(id)));
    });
  }

  /** Undefined: the broker does not answer. */
  async #known(ids: readonly string[]): Promise<Map<string, Task | undefined> | undefined> {
    if (ids.length === 0) return new Map();
    try {
      const tasks = await this.#parts.broker.get(ids);
      return new Map(ids.map((id, place) => [id, tasks[place]]));
    } catch {
      return undefined;
    }
  }

  /** Asks each once to end; true: all of them have. */
  async cancel(schedule: Schedule, tasks: readonly LiveTask[]): Promise<boolean> {
    const ended = await Promise.all(tasks.map((task) => this.#cancel(schedule, task)));
    return ended.every(Boolean);
  }

  async #cancel({ namespace, name }: Schedule, { id, leaving }: LiveTask): Promise<boolean> {
    if (leaving) return false;
    const reason = `a later tick of schedule ${name} takes its place`;
    const item = { taskId: id, namespace, graceMs: limits.cancelGraceMs, reason };
    try {
      const task = await this.#canceller.cancel(item);
      return isFinal(task.status);
    } catch (thrown) {
      const { id: why } = DroverError.from(thrown);
      return why === "task_already_final" || why === "task_not_found";
    }
  }
}

/** One that the broker does not know is committed and not enqueued yet. */
function liveOf(id: string, task: Task | undefined): LiveTask[] {
  if (task && isFinal(task.status)) return [];
  return [{ id, leaving: task?.cancelRequestedAt !== undefined }];
}
