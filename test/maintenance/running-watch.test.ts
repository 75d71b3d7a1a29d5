import { beforeEach, describe, expect, it } from "vitest";
import { RunningWatch } from "../../src/maintenance/running-watch.js";
import type { Task } from "../../src/task/task.js";
import { createManualClock, type ManualClock } from "../support/manual-clock.js";
import { createSeededRandom } from "../support/seeded-random.js";
import { createTaskFactory } from "../support/task-factory.js";

const delayMs = 1_000;

let clock: ManualClock;
let task: (change?: Partial<Task>) => Task;
let due: { id: string; at: number }[];
let watch: RunningWatch;

beforeEach(() => {
  clock = createManualClock();
  const tasks = createTaskFactory(createSeededRandom(3), () => clock.now());
  task = (change) => tasks.task(change);
  due = [];
  watch = watchOf({});
});

function watchOf(bounds: { maxTasks?: number; maxBytes?: number }): RunningWatch {
  return new RunningWatch({
    clock,
    delayMs,
    maxTasks: 100,
    maxBytes: 10_000,
    seed: 5,
    ...bounds,
    onDue: (tasks) => due.push(...tasks.map(({ id }) => ({ id, at: clock.monotonic() }))),
  });
}

/** Noted one after another, so long apart. */
async function noteAll(count: number, apartMs: number): Promise<Task[]> {
  const noted: Task[] = [];
  for (let n = 0; n < count; n += 1) {
    noted.push(task());
    watch.note(noted.at(-1)!);
    await clock.advance(apartMs);
  }
  return noted;
}

const idsDue = (): string[] => due.map(({ id }) => id);
const idsOf = (tasks: readonly Task[]): string[] => tasks.map(({ id }) => id);

describe("the watch over what runs", () => {
  it("tells of each once, in their order, once it has lasted and no more than 0.2 s later", async () => {
    const noted = await noteAll(40, 30);
    await clock.advance(2_000);
    expect(idsDue()).toEqual(idsOf(noted));
    const late = due.map(({ at }, nth) => at - nth * 30 - delayMs);
    expect(Math.min(...late)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...late)).toBeLessThanOrEqual(200);
  });

  it("tells of none that has gone on, and gives it back as it was noted", async () => {
    const noted = await noteAll(40, 30);
    const gone = noted.filter((_, nth) => nth % 3 === 0 && nth >= 6);
    const back = gone.map(({ id, version }) => watch.forget(id, version + 1));
    expect(back.map((one, nth) => one === gone[nth])).toEqual(gone.map(() => true));
    expect(watch.forget(gone[0]!.id, 99)).toBeUndefined();
    await clock.advance(2_000);
    expect(idsDue()).toEqual(idsOf(noted.filter((one) => !gone.includes(one))));
  });

  it("keeps a task of which something older is told", async () => {
    const noted = task({ version: 4 });
    watch.note(noted);
    expect(watch.forget(noted.id, 3)).toBeUndefined();
    expect(watch.forget(noted.id, 4)).toBe(noted);
  });

  it("counts from the last time that it was noted", async () => {
    const noted = task();
    watch.note(noted);
    await clock.advance(900);
    watch.note({ ...noted, version: 5 });
    await clock.advance(900);
    expect(due).toEqual([]);
    await clock.advance(400);
    expect(idsDue()).toEqual([noted.id]);
  });

  it("remembers no more tasks than it may, and others once those have gone", async () => {
    watch = watchOf({ maxTasks: 3 });
    const noted = await noteAll(5, 0);
    watch.forget(noted[1]!.id, 9);
    const next = await noteAll(2, 0);
    await clock.advance(1_500);
    expect(idsDue()).toEqual(idsOf([noted[0]!, noted[2]!, next[0]!]));
    const later = await noteAll(1, 0);
    await clock.advance(1_500);
    expect(idsDue().at(-1)).toBe(later[0]!.id);
  });

  it("tells of many that were noted at once", async () => {
    watch = watchOf({ maxTasks: 3_000, maxBytes: 1_000_000 });
    const noted = await noteAll(2_600, 0);
    const gone = noted.filter((_, nth) => nth % 2 === 0);
    const back = gone.map(({ id, version }) => watch.forget(id, version));
    expect(back).toEqual(gone);
    await clock.advance(1_500);
    expect(idsDue()).toEqual(idsOf(noted.filter((_, nth) => nth % 2 === 1)));
  });

  it("holds no more bytes of payloads than it may, and others once those have gone", async () => {
    watch = watchOf({ maxBytes: 1_000 });
    const payload = { contentType: "application/json", data: Buffer.alloc(600) };
    const [first, second, third] = [task({ payload }), task({ payload }), task({ payload })];
    watch.note(first);
    watch.note(second);
    watch.forget(first.id, first.version);
    watch.note(third);
    await clock.advance(1_500);
    expect(idsDue()).toEqual([third.id]);
    watch.note(second);
    await clock.advance(1_500);
    expect(idsDue()).toEqual([third.id, second.id]);
  });

  it("needs no timer once all have gone on, and is empty once cleared", async () => {
    const [noted] = await noteAll(1, 0);
    expect(clock.pending).toBe(1);
    watch.forget(noted!.id, 9);
    await clock.advance(100);
    expect(clock.pending).toBe(0);
    const [other] = await noteAll(1, 0);
    watch.clear();
    expect(clock.pending).toBe(0);
    expect(watch.forget(other!.id, 9)).toBeUndefined();
    const last = await noteAll(1, 0);
    await clock.advance(2_000);
    expect(idsDue()).toEqual(idsOf(last));
  });
});
