import { DroverError } from "../errors.js";
import type { NewTick, ScheduleName, TakeReply, TickChange } from "../history/history.js";
import { limits } from "../limits.js";
import { type Plan, planTicks } from "../task/schedule/plan.js";
import type { Schedule, ScheduleState } from "../task/schedule/schedule.js";
import { dueOf } from "../task/schedule/timing.js";
import type { EarlierTasks, LiveTask } from "./earlier-tasks.js";
import type { Parts } from "./parts.js";
import type { Submitter } from "./submitter.js";
import type { TaskMaker } from "./task-maker.js";
import type { TickEnds } from "./tick-ends.js";
import { tickTask } from "./tick-tasks.js";

/** Where the loop that minds the time brings it. */
export interface TickDesk {
  /** Takes ticks that are due; returns in how many ms there may be more to do. */
  takeDue(): Promise<number>;
  /** Called when a schedule was changed here, so that its next tick is not slept through. */
  onChanged: () => void;
}

/** Longest sleep: so late at most is seen what another coordinator changed. */
const sleepMs = 1_000;
/** A schedule whose earlier tasks nobody can tell of is looked at again after this. */
const blindMs = 1_000;
/** One that cannot be dealt with at all, by a defect, is left alone for this long. */
const brokenMs = 60_000;
/** Schedules planned in one turn: reckoning in a time zone may take 200 us each. */
const turnSchedules = 25;
/** Behind a coordinator that is quicker: between 40 and 100 ms. */
const behindMs = 40;
const behindSpreadMs = 60;

export interface TickerParts {
  readonly tasks: TaskMaker;
  readonly earlier: EarlierTasks;
  readonly ends: TickEnds;
  readonly submitter: Submitter;
}

/**
 * Takes ticks. Leaderless: every coordinator tries, and the revision of the schedule's row lets one
 * commit. Who loses stays a little behind from then on, so that usually one does the work while the
 * others look whether it is done; it needs no lock that a frozen holder could keep.
 */
export class Ticker implements TickDesk {
  onChanged: () => void = () => undefined;
  readonly #parts: Parts;
  readonly #own: TickerParts;
  #behind = false;
  #waited = false;
  /** The last batch was full: there is more without asking. */
  #more = false;

  constructor(parts: Parts, own: TickerParts) {
    this.#parts = parts;
    this.#own = own;
    own.ends.onNews = () => this.onChanged();
  }

  async takeDue(): Promise<number> {
    const { history, random } = this.#parts;
    if (!history.available) return sleepMs;
    if (await this.#takeFreed()) return 0;
    if (this.#more) return (await this.#takeBatch()) > 0 ? 0 : behindMs;
    const { now, dueAt } = await history.schedules.nextDue();
    const waited = this.#waited;
    this.#waited = false;
    if (dueAt === undefined) return sleepMs;
    if (dueAt > now) return Math.min(sleepMs, dueAt - now);
    if (this.#behind && !waited) {
      this.#waited = true;
      return behindMs + random.next() * behindSpreadMs;
    }
    // Nothing after all: another coordinator was quicker.
    return (await this.#takeBatch()) > 0 ? 0 : behindMs;
  }

  async #takeBatch(): Promise<number> {
    this.#more = false;
    const { schedules: history } = this.#parts.history;
    const { now, schedules } = await history.due(limits.schedulesAtOnce);
    if (schedules.length === 0) return 0;
    const outcomes = await this.#take(schedules, now, await this.#own.earlier.live(schedules));
    this.#behind = outcomes.every((outcome) => outcome === "stale");
    this.#more = !this.#behind && schedules.length === limits.schedulesAtOnce;
    return schedules.length;
  }

  /** Ticks that waited for tasks which have ended just now. */
  async #takeFreed(): Promise<boolean> {
    const names = this.#own.ends.drain(limits.schedulesAtOnce);
    if (names.length === 0) return false;
    const { now, schedules } = await this.#parts.history.schedules.named(names);
    const waiting = schedules.filter((each) => each.waiting.length > 0 && !each.paused);
    this.#forget(names, waiting);
    const live = await this.#own.earlier.live(waiting);
    const free: Schedule[] = [];
    for (const [place, schedule] of waiting.entries()) {
      if (live[place]?.length === 0) free.push(schedule);
      else if (live[place]) this.#own.ends.follow(schedule, idsOf(live[place]));
    }
    if (free.length > 0) await this.#take(free, now, free.map(nobody));
    return true;
  }

  /** Those of them that are gone, or wait no more: another coordinator has taken their ticks. */
  #forget(names: readonly ScheduleName[], waiting: readonly Schedule[]): void {
    for (const name of names) {
      const waits = waiting.some((it) => it.namespace === name.namespace && it.name === name.name);
      if (!waits) this.#own.ends.follow(name, []);
    }
  }

  async #take(
    schedules: readonly Schedule[],
    now: number,
    live: readonly (readonly LiveTask[] | undefined)[],
  ): Promise<TakeReply["outcomes"]> {
    const changes: TickChange[] = [];
    for (let from = 0; from < schedules.length; from += turnSchedules) {
      if (from > 0) await new Promise<void>((resolve) => setImmediate(resolve));
      const some = schedules
        .slice(from, from + turnSchedules)
        .map((schedule, nth) =>
          this.#change(schedule, now, live[from + nth]).catch((error: unknown) =>
            laterWith(schedule, now, error),
          ),
        );
      changes.push(...(await Promise.all(some)));
    }
    const { outcomes, tasks, marker } = await this.#parts.history.schedules.take(changes);
    this.#own.submitter.enqueueTaken(tasks, marker);
    for (const [place, change] of changes.entries()) {
      if (outcomes[place] !== "written") continue;
      this.#tell(change, now);
      this.#followEnds(change, live[place]);
    }
    return outcomes;
  }

  #followEnds({ schedule, state, ticks }: TickChange, live: readonly LiveTask[] = []): void {
    const taken = ticks.flatMap(({ task }) => (task ? [task.id] : []));
    const waits = state.waiting.length > 0;
    this.#own.ends.follow(schedule, waits ? [...idsOf(live), ...taken] : []);
  }

  async #change(
    schedule: Schedule,
    now: number,
    live: readonly LiveTask[] | undefined,
  ): Promise<TickChange> {
    if (!live) return { schedule, state: { ...schedule, dueAt: now + blindMs }, ticks: [] };
    let plan = planTicks(schedule, now, live.length > 0);
    if (plan.cancels && live.length > 0) {
      const ended = await this.#own.earlier.cancel(schedule, live);
      if (ended) plan = planTicks(schedule, now, false);
    }
    const ticks = await Promise.all(plan.ticks.map((tick) => this.#newTick(schedule, tick)));
    return { schedule, state: stateAfter(schedule, plan, ticks), ticks };
  }

  /** What the plan takes gets its task; where none can be made the tick is refused. */
  async #newTick(schedule: Schedule, { at, outcome }: Plan["ticks"][number]): Promise<NewTick> {
    const tick = { at, outcome, cause: "timing", task: undefined, error: "" } as const;
    if (outcome !== "taken") return tick;
    try {
      return { ...tick, task: await tickTask(this.#own.tasks, schedule, at) };
    } catch (thrown) {
      const error = DroverError.from(thrown);
      // The store is away: nothing is decided yet.
      if (error.id === "history_unavailable") throw error;
      return { ...tick, outcome: "refused", error: error.message };
    }
  }

  #tell({ schedule, state, ticks }: TickChange, now: number): void {
    const { namespace, name } = schedule;
    const emit = (outcome: TickTold, count: number, lateMs?: number) =>
      this.#parts.events.emit("schedule.ticked", {
        namespace,
        schedule: name,
        outcome,
        ticks: count,
        lateMs,
      });
    for (const { at, outcome } of ticks) {
      const lateMs = schedule.waiting.includes(at) ? undefined : now - dueOf(schedule, at);
      emit(outcome, 1, lateMs);
    }
    const missed = state.counts.missed - schedule.counts.missed;
    if (missed > 0) emit("missed", missed);
  }
}

const idsOf = (live: readonly LiveTask[]): string[] => live.map(({ id }) => id);
const nobody = (): readonly LiveTask[] => [];

/** What one schedule cannot do must not stop the others. */
function laterWith(schedule: Schedule, now: number, thrown: unknown): TickChange {
  const error = DroverError.from(thrown);
  if (error.id === "history_unavailable") throw error;
  const lastError = error.message;
  return { schedule, state: { ...schedule, dueAt: now + brokenMs, lastError }, ticks: [] };
}

type TickTold = "taken" | "skipped" | "waiting" | "missed" | "refused";

function stateAfter(schedule: Schedule, plan: Plan, ticks: readonly NewTick[]): ScheduleState {
  const { cursor, dueAt, waiting, counts } = plan;
  const refused = ticks.filter(({ outcome }) => outcome === "refused");
  const taken = ticks.findLast(({ task }) => task);
  return {
    cursor,
    dueAt,
    waiting,
    counts: {
      ...counts,
      taken: counts.taken - refused.length,
      refused: counts.refused + refused.length,
    },
    lastTaken: taken ? { at: taken.at, taskId: taken.task!.id } : schedule.lastTaken,
    lastError: refused.at(-1)?.error ?? (taken ? undefined : schedule.lastError),
  };
}
