import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import {
  noTicks,
  type Schedule,
  type ScheduleSpec,
  type Timing,
} from "../task/schedule/schedule.js";
import { dueOf, nextTick, ticksBetween } from "../task/schedule/timing.js";
import { checkSchedule } from "../task/schedule/validate.js";
import { refuse } from "../task/rules.js";
import type { Page } from "./coordinator.js";
import { decodePageToken, encodePageToken, namePattern } from "./page.js";
import type { Parts } from "./parts.js";
import type { Preview, PreviewAsk, ScheduleView, WantedSchedule } from "./schedules.js";

/** Tries of a change that ticks keep overtaking. */
const changeTries = 10;

/** Schedules as people make, read and change them. */
export class ScheduleBook {
  readonly #parts: Parts;
  /** Called after every change. */
  onChanged: () => void = () => undefined;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async create(namespace: string, wanted: WantedSchedule): Promise<ScheduleView> {
    const { name } = wanted;
    const { schedules } = this.#parts.history;
    const spec = judged(wanted);
    const now = await schedules.now();
    requireAhead(spec.timing, now);
    const paused = wanted.paused ?? false;
    const asked = { namespace, name, ...spec, paused, note: wanted.note ?? "" };
    const outcome = await schedules.create(
      {
        ...asked,
        cursor: now,
        dueAt: paused ? undefined : firstDue(asked, now),
        waiting: [],
        counts: noTicks,
        lastTaken: undefined,
        lastError: undefined,
      },
      limits.schedulesPerNamespace,
    );
    if (outcome.kind !== "created") throw notCreated(outcome.kind, name);
    this.onChanged();
    return viewOf(outcome.schedule);
  }

  async get(namespace: string, name: string): Promise<ScheduleView> {
    const schedule = await this.find(namespace, name);
    const range = { from: 0, until: Number.MAX_SAFE_INTEGER, limit: limits.recentTicks };
    const recentTicks = await this.#parts.history.schedules.ticks(schedule, range);
    return { ...viewOf(schedule), recentTicks };
  }

  async find(namespace: string, name: string): Promise<Schedule> {
    const schedule = await this.#parts.history.schedules.get(namespace, name);
    if (schedule) return schedule;
    throw new DroverError("schedule_not_found", `there is no schedule "${name}"`, {
      field: "name",
    });
  }

  async list(
    namespace: string,
    page: Page,
  ): Promise<{ schedules: ScheduleView[]; nextPageToken: string }> {
    const after = decodePageToken("schedules", page.pageToken, namePattern);
    const found = await this.#parts.history.schedules.list(namespace, after, page.pageSize + 1);
    const shown = found.slice(0, page.pageSize);
    const last = shown.at(-1);
    const nextPageToken =
      found.length > page.pageSize && last ? encodePageToken("schedules", last.name) : "";
    return { schedules: shown.map(viewOf), nextPageToken };
  }

  async update(
    namespace: string,
    wanted: WantedSchedule,
    ifVersion: number | undefined,
  ): Promise<ScheduleView> {
    const spec = judged(wanted);
    return this.#change(namespace, wanted.name, ifVersion, (before, now) => {
      const retimed = !sameTiming(before.timing, spec.timing);
      if (retimed) requireAhead(spec.timing, now);
      const paused = wanted.paused ?? before.paused;
      const note = wanted.note ?? before.note;
      const resumed = before.paused && !paused;
      const cursor = retimed || resumed ? now : before.cursor;
      return withDue({ ...before, ...spec, paused, note, cursor }, now);
    });
  }

  async remove(namespace: string, name: string, ifVersion: number | undefined): Promise<void> {
    const outcome = await this.#parts.history.schedules.remove(namespace, name, ifVersion);
    if (outcome === "unknown") await this.find(namespace, name);
    if (outcome === "changed") throw stale(name);
  }

  pause(namespace: string, name: string, note: string | undefined): Promise<ScheduleView> {
    return this.#change(namespace, name, undefined, (before) => ({
      ...before,
      paused: true,
      dueAt: undefined,
      note: note ?? before.note,
    }));
  }

  resume(namespace: string, name: string, note: string | undefined): Promise<ScheduleView> {
    return this.#change(namespace, name, undefined, (before, now) => {
      const cursor = before.paused ? now : before.cursor;
      return withDue({ ...before, paused: false, note: note ?? before.note, cursor }, now);
    });
  }

  async preview(namespace: string, name: string, ask: PreviewAsk): Promise<Preview> {
    return this.#preview((await this.find(namespace, name)).timing, ask);
  }

  async previewWanted(wanted: WantedSchedule, ask: PreviewAsk): Promise<Preview> {
    return this.#preview(judged(wanted).timing, ask);
  }

  async #preview(timing: Timing, { after, count }: PreviewAsk): Promise<Preview> {
    const from = after ?? (await this.#parts.history.schedules.now());
    return {
      ticks: ticksBetween(timing, from, Number.POSITIVE_INFINITY, count),
      timeZone: timing.kind === "cron" ? timing.timeZone : "UTC",
    };
  }

  /**
   * Ticks are written between reading and changing: then it is tried anew, unless people changed
   * it.
   */
  async #change(
    namespace: string,
    name: string,
    ifVersion: number | undefined,
    to: (before: Schedule, now: number) => Schedule,
  ): Promise<ScheduleView> {
    const { schedules } = this.#parts.history;
    for (let tries = 1; tries <= changeTries; tries += 1) {
      const before = await this.find(namespace, name);
      if (ifVersion !== undefined && before.version !== ifVersion) throw stale(name);
      const changed = await schedules.change(to(before, await schedules.now()));
      if (!changed) continue;
      this.onChanged();
      return viewOf(changed);
    }
    throw stale(name);
  }
}

function notCreated(kind: "exists" | "full", name: string): DroverError {
  if (kind === "full") {
    const message = `this namespace has ${limits.schedulesPerNamespace} schedules already`;
    return new DroverError("too_many_schedules", message);
  }
  const message = `there is a schedule "${name}" already`;
  return new DroverError("schedule_exists", message, { field: "schedule.name" });
}

function judged(wanted: WantedSchedule): ScheduleSpec {
  const { timing, task, overlap, catchUpMs, jitterMs } = wanted;
  const spec: ScheduleSpec = { timing, task, overlap, catchUpMs, jitterMs };
  checkSchedule(wanted.name, spec, wanted.note ?? "");
  return spec;
}

/** A time that has passed would never come, and nobody be told. */
function requireAhead(timing: Timing, now: number): void {
  if (nextTick(timing, now) !== undefined) return;
  const field = timing.kind === "once" ? "schedule.at" : "schedule.cron";
  refuse(
    field,
    "a time ahead",
    timing.kind === "once" ? new Date(timing.at).toISOString() : "none",
  );
}

type Timed = Pick<Schedule, "namespace" | "name" | "timing" | "jitterMs">;

function firstDue(schedule: Timed, after: number): number | undefined {
  const next = nextTick(schedule.timing, after);
  return next === undefined ? undefined : dueOf(schedule, next);
}

/** Ticks that wait are looked at soon. */
function withDue(schedule: Schedule, now: number): Schedule {
  const { paused, waiting, cursor } = schedule;
  if (paused) return { ...schedule, dueAt: undefined };
  return { ...schedule, dueAt: waiting.length > 0 ? now : firstDue(schedule, cursor) };
}

const sameTiming = (a: Timing, b: Timing): boolean => JSON.stringify(a) === JSON.stringify(b);

function viewOf(schedule: Schedule): ScheduleView {
  const { timing, cursor, paused } = schedule;
  const nextTickAt = paused ? undefined : nextTick(timing, cursor);
  return { ...schedule, nextTickAt, recentTicks: [] };
}

const stale = (name: string): DroverError =>
  new DroverError("stale_schedule", `schedule "${name}" was changed by somebody else`, {
    field: "schedule.etag",
  });
