import { expect, it } from "vitest";
import { byFlow } from "../../src/broker/redis/enqueue.js";
import { limits } from "../../src/limits.js";
import type { Task } from "../../src/task/task.js";
import { ids } from "../conformance/broker/kit.js";
import { createTaskFactory, laneOf } from "../support/task-factory.js";
import { systemClock, systemRandom } from "../../src/clock.js";
import { completions, keysOf, withKit } from "./bundle-kit.js";

const enough = 2 * limits.bundleTasks;
const { task } = createTaskFactory(systemRandom, () => systemClock.now());
const placed = (tasks: readonly Task[]) =>
  tasks.map((one, index) => ({ item: { task: one, origin: "submit" as const }, index }));

/** By turns of each. */
const mixed = (count: number, ...changes: readonly Partial<Task>[]): Partial<Task>[] =>
  Array.from({ length: count * changes.length }, (_, n) => changes[n % changes.length]!);

it("tells lanes and priorities apart, and keeps the order of each", () => {
  const kinds = [
    { type: "a" },
    { type: "b" },
    { type: "a", priority: 3 as const },
    { type: "a", requiredLabels: { gpu: "yes" } },
  ];
  const all = placed(mixed(enough, ...kinds, { type: "a" }).map(task));
  const parts = byFlow(all, enough);
  expect(parts.map(({ length }) => length)).toEqual([enough, 2 * enough, enough, enough]);
  expect(parts[0]![0]!.item.task.priority).toBe(3);
  expect(parts.flat().toSorted((a, b) => a.index - b.index)).toEqual(all);
  for (const part of parts) {
    const places = part.map(({ index }) => index);
    expect(places).toEqual(places.toSorted((a, b) => a - b));
  }
});

it("leaves those of few together, and all where there is one lane", () => {
  const few = placed([...mixed(enough - 1, { type: "a" }, { type: "b" })].map(task));
  expect(byFlow(few, enough)).toEqual([few]);
  const one = placed(mixed(3 * enough, { type: "a" }).map(task));
  expect(byFlow(one, enough)).toEqual([one]);
  const some = placed([...mixed(enough, { type: "a" }), { type: "b" }, { type: "c" }].map(task));
  expect(byFlow(some, enough)).toEqual([some.slice(0, enough), some.slice(enough)]);
  // One of a higher priority among the few is not kept waiting by the many.
  const urgent = placed(
    [...mixed(enough, { type: "a" }), { type: "b", priority: 3 as const }].map(task),
  );
  expect(byFlow(urgent, enough)).toEqual([urgent.slice(enough), urgent.slice(0, enough)]);
});

it("few tasks of several lanes in one call come each into its own", async () => {
  await withKit(async (kit) => {
    const changes = mixed(2, { type: "a" }, { type: "b" }, { type: "c", queue: "other" });
    const tasks = changes.map((change) => kit.task({ ...change, durability: "relaxed" }));
    await kit.enqueue(...tasks);
    for (const type of ["a", "b"]) {
      const leases = await kit.lease(await kit.session(), 9, [laneOf(kit.task({ type }))]);
      expect(ids(leases.map((lease) => lease.task))).toEqual(
        ids(tasks.filter((one) => one.type === type)),
      );
    }
  });
});

it("tasks of several lanes that come by turns stand in a bundle for each", async () => {
  await withKit(async (kit, harness) => {
    const changes = mixed(enough, { type: "a" }, { type: "b" });
    const tasks = [...changes, { type: "c" }].map((change) =>
      kit.task({ ...change, durability: "relaxed" }),
    );
    const outcomes = await kit.enqueue(...tasks);
    expect(outcomes.map(({ kind }) => kind)).toEqual(tasks.map(() => "enqueued"));
    expect(await keysOf(harness, "b")).toBe(2);
    expect(await kit.broker.get(ids(tasks))).toEqual(tasks);
    const leases = await kit.lease(await kit.session(), tasks.length);
    const leased = leases.map((lease) => lease.task);
    for (const type of ["a", "b", "c"]) {
      const isOfType = (one: Task): boolean => one.type === type;
      expect(ids(leased.filter(isOfType))).toEqual(ids(tasks.filter(isOfType)));
    }
    const replies = await kit.broker.settle(completions(leases));
    expect(replies.map(({ verdict }) => verdict)).toEqual(tasks.map(() => "accepted"));
    const fresh = kit.task({ type: "a", durability: "relaxed" });
    const again = await kit.enqueue(...tasks.slice(0, enough), fresh, ...tasks.slice(enough));
    const known = tasks.map(() => "known");
    expect(again.map(({ kind }) => kind)).toEqual(known.toSpliced(enough, 0, "enqueued"));
  });
});
