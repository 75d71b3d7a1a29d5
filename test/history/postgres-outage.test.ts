import { beforeAll, describe, expect, test } from "vitest";
import { systemClock, systemRandom } from "../../src/clock.js";
import type { History } from "../../src/history/history.js";
import { createPostgresHistory } from "../../src/history/postgres/postgres-history.js";
import type { Task } from "../../src/task/task.js";
import { createEvents } from "../../src/telemetry/events.js";
import { createTaskFactory } from "../support/task-factory.js";
import { freshSchema, type OwnServer, ownPostgres } from "../support/stores.js";

const factory = createTaskFactory(systemRandom, () => systemClock.now());
const task = (): Task => factory.task();
const unavailable = { id: "history_unavailable" };

/** Milliseconds until the call was rejected as unavailable. */
async function refusalMs(call: () => Promise<unknown>): Promise<number> {
  const start = systemClock.monotonic();
  await expect(call()).rejects.toMatchObject(unavailable);
  return systemClock.monotonic() - start;
}

describe("a Postgres that goes away", () => {
  let postgres: OwnServer;
  const started: History[] = [];

  async function open(events = createEvents()): Promise<History> {
    const history = createPostgresHistory({ url: postgres.url, schema: freshSchema(), events });
    started.push(history);
    await history.start();
    return history;
  }
  const heard = (events: ReturnType<typeof createEvents>, wanted: string) =>
    new Promise<void>((resolve) => {
      events.subscribe((name) => name === wanted && resolve());
    });

  beforeAll(async () => {
    postgres = await ownPostgres();
    return async () => void (await Promise.all(started.map((history) => history.stop())));
  }, 60_000);

  test("calls are refused within 3 s while it is frozen, and answered again after", async () => {
    const events = createEvents();
    const history = await open(events);
    const [before, during, after] = [task(), task(), task()];
    await history.insert([before]);
    const gone = heard(events, "store.unavailable");
    postgres.freeze();
    try {
      const calls = [
        () => history.insert([during]),
        () => history.get(undefined, [before.id]),
        () => history.record([{ ...told(before), payloadOmitted: true }]),
        () => history.exclusively("x", async () => 1),
      ];
      for (const ms of await Promise.all(calls.map(refusalMs))) expect(ms).toBeLessThan(3_000);
      await gone;
      expect(history.available).toBe(false);
    } finally {
      const back = heard(events, "store.available");
      postgres.thaw();
      await back;
    }
    expect(history.available).toBe(true);
    expect((await history.insert([after])).outcomes).toEqual([{ kind: "inserted" }]);
    expect((await history.get(undefined, [before.id]))[0]?.id).toBe(before.id);
  }, 30_000);

  test("calls are refused at once while it is dead; it is found again by itself", async () => {
    const events = createEvents();
    const history = await open(events);
    const one = task();
    await history.insert([one]);
    await postgres.kill();
    const refusals = Array.from({ length: 15 }, () => refusalMs(() => history.insert([task()])));
    for (const ms of await Promise.all(refusals)) expect(ms).toBeLessThan(3_000);
    expect(history.available).toBe(false);
    const back = heard(events, "store.available");
    await postgres.restart();
    await back;
    expect(history.available).toBe(true);
    expect((await history.get(undefined, [one.id]))[0]?.id).toBe(one.id);
  }, 60_000);

  test("the work of a lock is told to stop when its connection is lost", async () => {
    const history = await open();
    const work = history.exclusively("rebuild", async (signal) => {
      const told = new Promise((resolve) => signal.addEventListener("abort", resolve));
      await postgres.kill();
      await told;
      return "stopped";
    });
    expect(await work).toBe("stopped");
    await postgres.restart();
  }, 60_000);

  test("a start without a server is refused, and may be repeated", async () => {
    await postgres.kill();
    const history = createPostgresHistory({ url: postgres.url, schema: freshSchema() });
    started.push(history);
    await expect(history.start()).rejects.toMatchObject(unavailable);
    await postgres.restart();
    await history.start();
    expect(history.available).toBe(true);
  }, 60_000);

  test("a stopped history refuses calls as unavailable, and stop may be repeated", async () => {
    const history = await open();
    await history.stop();
    await history.stop();
    expect(history.available).toBe(false);
    await expect(history.get(undefined, [task().id])).rejects.toMatchObject(unavailable);
  });
});

function told(one: Task) {
  const done = { ...one, status: "completed" as const, version: 3 };
  return { partition: 0, outboxId: "1-0", outboxPlace: 0, task: done, attempt: undefined };
}
