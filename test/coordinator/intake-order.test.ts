import { afterEach, beforeEach, expect, it } from "vitest";
import type { SubmitOutcome } from "../../src/coordinator/coordinator.js";
import { createWorld, draft, type World } from "./world.js";

let world: World;
beforeEach(() => {
  world = createWorld();
});
afterEach(async () => {
  await world.stop();
});

const many = (count: number, queue: string) =>
  Array.from({ length: count }, () => ({ draft: draft({ queue }), requestId: "" }));

it("takes a long request in by portions, and what came later after it", async () => {
  const node = await world.node();
  const { broker, coordinator } = node;
  await world.wait("update", coordinator.updateQueue("default", "q", { durability: "relaxed" }));
  const enqueue = broker.enqueue.bind(broker);
  const calls: string[][] = [];
  Object.assign(broker, {
    enqueue: (...args: Parameters<typeof enqueue>) => {
      calls.push(args[0].map(({ task }) => task.id));
      return enqueue(...args);
    },
  });
  const long = coordinator.submit("default", many(1_000, "q"));
  const short = coordinator.submit("default", many(3, "q"));
  const idOf = (it: SubmitOutcome) => (it.kind === "submitted" ? it.taskId : it.kind);
  const ids = (await world.wait("submits", Promise.all([long, short]))).flat().map(idOf);
  expect(calls.flat()).toEqual(ids);
  expect(calls[0]).toHaveLength(200);
});
