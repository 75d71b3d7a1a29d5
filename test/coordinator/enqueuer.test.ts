import { expect, it } from "vitest";
import type { Births, EnqueueReply, Lease, LeaseRequest } from "../../src/broker/broker.js";
import { systemClock } from "../../src/clock.js";
import { type Demand, Enqueuer } from "../../src/coordinator/enqueuer.js";
import type { Parts } from "../../src/coordinator/parts.js";
import { createSeededRandom } from "../support/seeded-random.js";
import { createTaskFactory } from "../support/task-factory.js";

const { task } = createTaskFactory(createSeededRandom(3), () => systemClock.now());

/** What is heard of a task that the broker takes in and, if asked, leases at once. */
async function heardOf(leases: readonly Lease[]): Promise<string[]> {
  const heard: string[] = [];
  const item = { task: task({ durability: "relaxed" }), origin: "submit" } as const;
  const births = { ids: [item.task.id], bytes: 1 } as Partial<Births> as Births;
  const place = { outboxId: undefined, outboxPlace: 0 };
  const outcome = { kind: "enqueued", ...place, born: true } as const;
  const reply: EnqueueReply = { outcomes: [outcome], births: [births], leases: [...leases] };
  const demand: Demand = {
    reserve: () => ({ request: { partition: 0 } as LeaseRequest }),
    took() {
      heard.push("took");
      // As HTTP/2 sends what was written to it: at the end of the turn.
      setImmediate(() => heard.push("left"));
    },
    nudge: () => void heard.push("nudged"),
  };
  const broker = { partitions: 1, enqueue: async () => reply };
  const recorder = { born: () => void heard.push("born") };
  const parts = { broker, recorder, clock: systemClock } as unknown as Parts;
  expect(await new Enqueuer(parts, demand).enqueue([item])).toEqual([outcome]);
  return [...heard, "answered"];
}

it("lets a lease leave before anybody else hears of its task", async () => {
  const lease = {} as Lease;
  expect(await heardOf([lease])).toEqual(["took", "left", "born", "answered"]);
});

it("waits for nothing where there is no lease to leave", async () => {
  expect(await heardOf([])).toEqual(["took", "nudged", "born", "answered"]);
});
