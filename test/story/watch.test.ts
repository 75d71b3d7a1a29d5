import { expect, it } from "vitest";
import type { TaskEvent } from "../../src/client/index.js";
import { systemClock } from "../../src/clock.js";
import { startCoordinator, startWorker } from "../support/processes.js";
import { invalidUnless, newsBy, soak, storyClient, storyStores, until } from "../support/story.js";

const steps = soak ? 200 : 24;
const runMs = soak ? 60_000 : 4_000;

const words = (events: readonly TaskEvent[]): string[] =>
  events.flatMap((event) => {
    if (event.type === "status") return [`${event.status} ${event.attempt}`];
    if (event.type === "logs") return event.entries.map(({ message }) => message);
    return [];
  });

/** Gathers what a watch tells, and when. */
function gather(watch: AsyncIterable<TaskEvent>) {
  const events: TaskEvent[] = [];
  const done = (async () => {
    for await (const event of watch) events.push(event);
  })();
  return { events, done };
}

it(
  "a watch goes on over the kill of its coordinator, with every status and log in order",
  async () => {
    const stores = await storyStores();
    const [doomed, alive] = await Promise.all([
      startCoordinator(stores.env),
      startCoordinator(stores.env),
    ]);
    await startWorker([alive.grpc]);
    const client = storyClient([alive.grpc]);
    const watcher = storyClient([doomed.grpc, alive.grpc]);
    const other = storyClient([doomed.grpc]);
    const { id } = await client.submit("tell", { steps, ms: runMs }, { maxRetries: 3 });

    // Of this one nobody takes care when its coordinator is gone: a cursor is all that is left.
    const first = gather(other.watch(id, { giveUpMs: 1_000 }));
    const whole = gather(watcher.watch(id));
    const told = () => words(first.events).length;
    await until("the watch tells", async () => told() >= steps / 4, 20_000, told);
    const failed = first.done.catch((error: unknown) => error);
    await doomed.kill();
    expect(await failed).toMatchObject({ code: 14 });
    const seen = first.events.length;
    invalidUnless(words(first.events).length < steps, "the task ended before the kill");

    const rest = gather(client.watch(id, { cursor: first.events.at(-1)!.cursor }));
    await Promise.all([whole.done, rest.done]);
    const resumed = [...first.events.slice(0, seen), ...rest.events];
    const half = Math.ceil(steps / 2);
    const expected = [
      "pending 0",
      "running 1",
      ...Array.from({ length: half }, (_, n) => `step ${n + 1}`),
      "retrying 1",
      "running 2",
      ...Array.from({ length: steps - half }, (_, n) => `step ${half + n + 1}`),
      "completed 2",
    ];
    for (const events of [resumed, whole.events]) {
      // A promotion after the backoff may be seen or not.
      expect(words(events).filter((word) => word !== "pending 1")).toEqual(expected);
      expectMonotone(events);
      expect(events.filter((event) => event.type === "status" && event.final)).toHaveLength(1);
    }
    expect(rest.events.at(-1)).toMatchObject({ task: { result: { steps }, progress: 1 } });
  },
  soak ? 180_000 : 60_000,
);

function expectMonotone(events: readonly TaskEvent[]): void {
  const progress = events.filter((event) => event.type === "progress");
  expect(progress.length).toBeGreaterThan(2);
  for (const [nth, event] of progress.entries()) {
    const before = progress[nth - 1];
    if (before) expect(event.fraction).toBeGreaterThan(before.fraction);
  }
}

const rounds = 20;
const median = (all: readonly number[]): number => all.toSorted((a, b) => a - b)[all.length >> 1]!;

it("a wait on one coordinator ends within 50 ms of the acceptance on another", async () => {
  const stores = await storyStores();
  const [here, there] = await Promise.all([
    startCoordinator(stores.env),
    startCoordinator(stores.env),
  ]);
  const worker = await startWorker([there.grpc]);
  const waiting = storyClient([here.grpc]);
  const tooksMs: number[] = [];
  const submitsMs: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const askedAt = systemClock.monotonic();
    const { id } = await waiting.submit("sleep", { ms: 200 });
    submitsMs.push(systemClock.monotonic() - askedAt);
    const task = await waiting.wait(id);
    const answeredAt = systemClock.now();
    expect(task.status).toBe("completed");
    tooksMs.push(answeredAt - task.completedAt!.getTime());
  }
  const { hint } = await newsBy(here.http);
  await worker.kill();
  expect(hint).toBeGreaterThan(rounds / 2);
  // Counted from when the script ended it: the commit, and so the acceptance, comes after. A busy
  // machine takes as much longer as it does for a submit, which is a commit and its answer as well.
  const boundMs = 50 + 4 * median(submitsMs);
  expect(median(tooksMs), JSON.stringify({ tooksMs, submitsMs })).toBeLessThan(boundMs);
}, 60_000);
