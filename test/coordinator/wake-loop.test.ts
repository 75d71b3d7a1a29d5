import { expect, it } from "vitest";
import type { EnqueueItem, Lane } from "../../src/broker/broker.js";
import { systemClock } from "../../src/clock.js";
import type { Dispatcher } from "../../src/coordinator/dispatcher.js";
import { laneKey, laneOf, lanesOf } from "../../src/coordinator/lanes.js";
import type { Parts } from "../../src/coordinator/parts.js";
import { WakeLoop } from "../../src/coordinator/wake-loop.js";
import { createSeededRandom } from "../support/seeded-random.js";
import { createTaskFactory } from "../support/task-factory.js";

const { task } = createTaskFactory(createSeededRandom(7), () => systemClock.now());
const lane = (type: string): Lane => laneOf(task({ type }));

it("waits for a lane more once it is wanted, and goes on waiting while none is", async () => {
  let wanted = [lane("a")];
  const waits: string[][] = [];
  const ends: AbortSignal[] = [];
  let began = (): void => undefined;
  const begins = () => new Promise<void>((resolve) => (began = resolve));
  const broker = {
    serves: () => true,
    waitForWork: (_: number, lanes: readonly Lane[], _ms: number, signal: AbortSignal) => {
      waits.push(lanes.map(({ type }) => type));
      ends.push(signal);
      began();
      return new Promise<undefined>((resolve) => {
        signal.addEventListener("abort", () => resolve(undefined));
      });
    },
  };
  const dispatcher = { wantedLanes: () => new Map(wanted.map((one) => [laneKey(one), one])) };
  const parts = { broker, clock: systemClock, events: { emit: () => undefined } };
  const loop = new WakeLoop(parts as unknown as Parts, 0, dispatcher as unknown as Dispatcher);
  const first = begins();
  await loop.start();
  await first;
  loop.want();
  expect(ends.map(({ aborted }) => aborted)).toEqual([false]);
  const second = begins();
  wanted = [lane("a"), lane("b")];
  loop.want();
  await second;
  expect(waits).toEqual([["a"], ["a", "b"]]);
  await loop.stop();
});

it("lanes of what may be leased at once, each named once", () => {
  const item = (type: string, status: "pending" | "scheduled" = "pending"): EnqueueItem => ({
    task: task({ type, status }),
    origin: "submit",
  });
  const typesOf = (...items: EnqueueItem[]): string[] => lanesOf(items).map(({ type }) => type);
  expect(typesOf()).toEqual([]);
  expect(typesOf(item("a", "scheduled"))).toEqual([]);
  expect(typesOf(item("a"))).toEqual(["a"]);
  expect(typesOf(item("a"), item("b"), item("a"), item("c", "scheduled"))).toEqual(["a", "b"]);
});
