import { hash } from "node:crypto";
import { DroverError } from "../errors.js";
import type { NewTick, ScheduleName, TickChange } from "../history/history.js";
import { limits } from "../limits.js";
import { formTaskId, slotOfId, timeOfId } from "../task/ids.js";
import { refuse } from "../task/rules.js";
import type { Schedule, ScheduleState, Tick } from "../task/schedule/schedule.js";
import { ticksBetween } from "../task/schedule/timing.js";
import type { Parts } from "./parts.js";
import type { ScheduleBook } from "./schedule-book.js";
import type { Backfilled, BackfillRange, Triggered } from "./schedules.js";
import { requestIdOf } from "./request-id.js";
import type { Submitter } from "./submitter.js";
import type { TaskMaker } from "./task-maker.js";
import { tickTask } from "./tick-tasks.js";

/** Tries of a write that ticks keep overtaking. */
const writeTries = 10;
/** Most ms before the second try, and as much more before each later one. */
const againMs = 20;
/** Ms after its own moment in which the tick of a trigger is looked for; some may be others'. */
const triggersNear = 1_000;

export interface TickOrdersParts {
  readonly book: ScheduleBook;
  readonly tasks: TaskMaker;
  readonly submitter: Submitter;
}

/** Ticks that people ask for: one now, or those of a time that has passed. */
export class TickOrders {
  readonly #parts: Parts;
  readonly #own: TickOrdersParts;

  constructor(parts: Parts, own: TickOrdersParts) {
    this.#parts = parts;
    this.#own = own;
  }

  /**
   * The tick is the moment of the request, as its id says it, or one soon after that which is free;
   * the id of the task tells whose it is: so a repeated request meets the tick it made before.
   */
  async trigger(namespace: string, name: string, requestId: string): Promise<Triggered> {
    const { clock, history, random } = this.#parts;
    const request =
      requestIdOf(requestId, clock.now()) ??
      formTaskId(await history.schedules.now(), 0, random.bytes(8));
    const mark = new TriggerMark(namespace, name, request);
    const from = timeOfId(request);
    const near = { from, until: from + triggersNear, limit: triggersNear + 1 };
    let known: string | undefined;
    const [taskId] = await this.#write(namespace, name, async (schedule) => {
      const ticks = await history.schedules.ticks(schedule, near);
      known = ticks.find((tick) => mark.isOn(tick.taskId))?.taskId;
      if (known !== undefined) return undefined;
      const at = freeTick(from, ticks);
      const task = await tickTask(this.#own.tasks, schedule, at, mark.idIn);
      const tick = { at, outcome: "taken", cause: "trigger", task, error: "" } as const;
      return { ticks: [tick], state: { lastTaken: { at, taskId: task.id } } };
    });
    if (known !== undefined) return { taskId: known, existing: true };
    if (taskId !== undefined) return { taskId, existing: false };
    throw new DroverError("stale_schedule", `schedule "${name}" was changed meanwhile`);
  }

  async backfill(namespace: string, name: string, range: BackfillRange): Promise<Backfilled> {
    const schedule = await this.#own.book.find(namespace, name);
    const now = await this.#parts.history.schedules.now();
    checkRange(schedule, range, now);
    const open = await this.#openTicks(schedule, range);
    const existing = open.known;
    if (range.overlap === "buffer_all") {
      const waiting = await this.#queueUp(schedule, open.ticks);
      return { taskIds: [], waiting, existing };
    }
    const taskIds: string[] = [];
    for (let from = 0; from < open.ticks.length; from += limits.ticksAtOnce) {
      const slice = open.ticks.slice(from, from + limits.ticksAtOnce);
      taskIds.push(...(await this.#takeAll(schedule, slice)));
    }
    return { taskIds, waiting: 0, existing };
  }

  /** Ticks of the range that were neither taken before nor wait already. */
  async #openTicks(
    schedule: Schedule,
    { from, until }: BackfillRange,
  ): Promise<{ ticks: number[]; known: number }> {
    const most = limits.backfillTicks;
    const all = ticksBetween(schedule.timing, from - 1, until, most + 1);
    if (all.length > most) {
      refuse("end", `a range of at most ${most} ticks`, `more, by ${iso(all.at(-1)!)}`);
    }
    const limit = limits.backfillTicks * 5;
    const past = await this.#parts.history.schedules.ticks(schedule, { from, until, limit });
    const done = new Set(
      past
        .filter((tick) => tick.outcome === "taken" || tick.outcome === "waiting")
        .map(({ at }) => at),
    );
    const ticks = all.filter((at) => !done.has(at));
    return { ticks, known: all.length - ticks.length };
  }

  #takeAll({ namespace, name }: ScheduleName, times: readonly number[]): Promise<string[]> {
    return this.#write(namespace, name, async (schedule) => {
      const ticks = await Promise.all(
        times.map(async (at) => {
          const task = await tickTask(this.#own.tasks, schedule, at);
          return { at, outcome: "taken", cause: "backfill", task, error: "" } as const;
        }),
      );
      return { ticks };
    });
  }

  async #queueUp({ namespace, name }: Schedule, times: readonly number[]): Promise<number> {
    await this.#write(namespace, name, async (schedule) => {
      const waiting = [...schedule.waiting, ...times];
      const { waitingTicks: most } = limits;
      if (waiting.length > most) {
        refuse("overlap_policy", `room for them among ${most} waiting ticks`, waiting.length);
      }
      const dueAt = schedule.paused ? undefined : await this.#parts.history.schedules.now();
      const ticks = times.map((at): NewTick => {
        return { at, outcome: "waiting", cause: "backfill", task: undefined, error: "" };
      });
      return { ticks, state: { waiting, dueAt } };
    });
    return times.length;
  }

  /**
   * Writes beside the ticks of the timing; returns ids of the tasks that came of it. `change`:
   * undefined for nothing; nobody else has written since it was asked.
   */
  async #write(
    namespace: string,
    name: string,
    change: (
      schedule: Schedule,
    ) => Promise<{ ticks: readonly NewTick[]; state?: Partial<ScheduleState> } | undefined>,
  ): Promise<string[]> {
    const { clock, history, random } = this.#parts;
    for (let tries = 1; tries <= writeTries; tries += 1) {
      const schedule = await this.#own.book.find(namespace, name);
      const changed = await change(schedule);
      if (!changed) return [];
      const { ticks, state = {} } = changed;
      const taken = ticks.filter(({ task }) => task);
      const counts = { ...schedule.counts, taken: schedule.counts.taken + taken.length };
      const next: TickChange = { schedule, state: { ...schedule, counts, ...state }, ticks };
      const reply = await history.schedules.take([next]);
      if (reply.outcomes[0] === "stale") {
        await clock.sleep(random.next() * tries * againMs);
        continue;
      }
      this.#own.submitter.enqueueTaken(reply.tasks, reply.marker);
      this.#own.book.onChanged();
      return reply.tasks.map(({ id }) => id);
    }
    throw new DroverError("stale_schedule", `schedule "${name}" keeps being changed`);
  }
}

/** What tells the task of a trigger, whatever queue the schedule names by then. */
class TriggerMark {
  readonly #time: number;
  readonly #digest: Buffer;

  constructor(namespace: string, name: string, request: string) {
    this.#time = timeOfId(request);
    this.#digest = hash("sha256", `${namespace}\0trigger\0${name}\0${request}`, "buffer");
  }

  readonly idIn = (slot: number): string => formTaskId(this.#time, slot, this.#digest);

  /** "" is no task's. */
  isOn(taskId: string): boolean {
    return taskId !== "" && taskId === this.idIn(slotOfId(taskId));
  }
}

/** A tick of a cron expression is at a whole second, and would be taken for a trigger there. */
function freeTick(from: number, ticks: readonly Pick<Tick, "at">[]): number {
  const taken = new Set(ticks.map(({ at }) => at));
  let at = from;
  while (at % 1_000 === 0 || taken.has(at)) at += 1;
  return at;
}

function checkRange(schedule: Schedule, range: BackfillRange, now: number): void {
  const { from, until, overlap } = range;
  if (!(from < until)) refuse("end", `a time after start (${iso(from)})`, iso(until));
  if (until > now) refuse("end", "a time that has passed", iso(until));
  const known = now - limits.tickKeepMs;
  if (from < known && until >= schedule.createdAt && schedule.createdAt < known) {
    const hint = "Which of them ran is forgotten. Trigger single ones, or choose a later start.";
    const message = `start: expected a time after ${iso(known)}, got ${iso(from)}`;
    throw new DroverError("invalid_field", message, { field: "start", hint });
  }
  if (overlap === undefined || overlap === "allow_all") return;
  if (overlap !== "buffer_all") refuse("overlap_policy", "ALLOW_ALL or BUFFER_ALL", overlap);
  if (schedule.overlap === "cancel_other") {
    refuse("overlap_policy", "ALLOW_ALL, as the schedule's own policy drops what waits", overlap);
  }
}

const iso = (time: number): string =>
  Math.abs(time) <= 8.64e15 ? new Date(time).toISOString() : String(time);
