import type { Redis } from "ioredis";
import { describe, expect, it } from "vitest";
import type { Broker, EnqueueReply, LeaseRequest } from "../../src/broker/broker.js";
import { systemClock } from "../../src/clock.js";
import type { Task } from "../../src/task/task.js";
import { makeRedisBroker } from "../support/redis-harness.js";
import { createSeededRandom } from "../support/seeded-random.js";
import { ownRedis } from "../support/stores.js";
import { createTaskFactory, laneOf, sessionInfo } from "../support/task-factory.js";
import { itemOf } from "../support/outbox-items.js";

const factory = createTaskFactory(createSeededRandom(17), () => systemClock.now());
const sessionId = "session-1";

interface Alone {
  readonly broker: Broker;
  readonly redis: Redis;
  readonly submit: (task: Task, generation?: number) => Promise<EnqueueReply>;
  /** Commands that Redis ran meanwhile, the script itself among them. */
  readonly commandsOf: (step: () => Promise<unknown>) => Promise<number>;
}

/** A task has come and gone, so that queue, lane and tombstones are there. */
async function withBroker(run: (alone: Alone) => Promise<void>): Promise<void> {
  const own = await ownRedis();
  const more = { testSkew: false };
  const harness = await makeRedisBroker({ url: own.url, more });
  const { broker, redis } = harness;
  try {
    await broker.open(0, 1);
    const about = { generation: 1, leaseMs: 15_000, heldTokens: [], partitions: [0] };
    await broker.openSession({ sessionId, info: sessionInfo({ sessionId }), ...about });
    const submit = (task: Task, generation = 1): Promise<EnqueueReply> => {
      const sessions = [{ sessionId, generation, slots: 5 }];
      const request: LeaseRequest = {
        partition: 0,
        lanes: [laneOf(task)],
        sessions,
        maxBytes: 1e6,
      };
      return broker.enqueue([{ task, origin: "submit" }], request);
    };
    const commandsOf = async (step: () => Promise<unknown>): Promise<number> => {
      await redis.config("RESETSTAT");
      await step();
      const stats = await redis.info("commandstats");
      const counts = [...stats.matchAll(/cmdstat_(?!config|info)\S+?:calls=(\d+)/g)];
      return counts.reduce((sum, [, calls]) => sum + Number(calls), 0);
    };
    await end(broker, await submit(factory.task()));
    await run({ broker, redis, submit, commandsOf });
  } finally {
    await harness.stop();
  }
}

async function end(broker: Broker, { leases }: EnqueueReply): Promise<string> {
  expect(leases).toHaveLength(1);
  const { token, task: leased } = leases[0]!;
  const complete = { kind: "complete", result: undefined, token, sessionId, leased } as const;
  const [reply] = await broker.settle([complete]);
  return reply!.verdict;
}

describe("a task that comes alone", () => {
  it.each(["relaxed", "durable"] as const)("costs Redis few commands (%s)", async (durability) => {
    await withBroker(async ({ broker, redis, submit, commandsOf }) => {
      let reply!: EnqueueReply;
      const submitted = await commandsOf(async () => {
        reply = await submit(factory.task({ durability }));
      });
      expect(submitted).toBeLessThanOrEqual(14);
      const ended = await commandsOf(() => end(broker, reply));
      expect(ended).toBeLessThanOrEqual(12);
      // Redis has taken all scripts as one library.
      expect(await redis.function("LIST")).toHaveLength(1);
    });
  });

  it("costs Redis few commands where the next one is leased with its result", async () => {
    await withBroker(async ({ broker, submit, commandsOf }) => {
      const first = factory.task({ durability: "relaxed" });
      const { leases } = await submit(first);
      const waiting = [1, 2].map(() => factory.task({ durability: "relaxed" }));
      await broker.enqueue(waiting.map((task) => ({ task, origin: "submit" }) as const));
      const { token, task: leased } = leases[0]!;
      const ending = { kind: "complete", result: undefined, token, sessionId, leased } as const;
      const sessions = [{ sessionId, generation: 1, slots: 1 }];
      const request = { partition: 0, lanes: [laneOf(first)], sessions, maxBytes: 1e6 };
      let ids: string[] = [];
      const commands = await commandsOf(async () => {
        const both = await broker.settleAndLease([ending], request);
        ids = both.leased.leases.map(({ task }) => task.id);
      });
      expect(ids).toEqual([waiting[0]!.id]);
      expect(commands).toBeLessThanOrEqual(28);
    });
  });

  it.each([0, 1, 2, 3] as const)("is counted among those of priority %i", async (priority) => {
    await withBroker(async ({ broker, submit }) => {
      const running = async () =>
        (await broker.counts("default"))
          .filter(({ status, tasks }) => status === "running" && tasks > 0)
          .map((count) => [count.priority, count.tasks]);
      const reply = await submit(factory.task({ priority }));
      expect(await running()).toEqual([[priority, 1]]);
      expect(await end(broker, reply)).toBe("accepted");
      expect(await running()).toEqual([]);
    });
  });

  it("is told of by the outbox entry that its answer names", async () => {
    await withBroker(async ({ broker, redis, submit }) => {
      const outbox = (await redis.keys("*:ob"))[0]!;
      const before = await redis.xlen(outbox);
      const durable = await submit(factory.task({ durability: "durable" }));
      expect(durable).toMatchObject({ births: [], outcomes: [{ outboxId: undefined }] });
      const task = factory.task({ durability: "relaxed" });
      const { births, leases } = await submit(task);
      expect(leases).toMatchObject([{ task: { id: task.id, payload: task.payload } }]);
      expect(await redis.xlen(outbox)).toBe(before + 1);
      await broker.recorded([itemOf(births[0]!.transitionOf(0))]);
      expect(await redis.xlen(outbox)).toBe(before);
    });
  });

  it("is granted with the next fencing number, and keeps its place behind those before it", async () => {
    await withBroker(async ({ broker, submit }) => {
      const [first, second, waiting, last] = [1, 2, 3, 4].map(() => factory.task());
      const tokens = [];
      for (const task of [first!, second!]) {
        const { leases, outcomes } = await submit(task);
        expect(outcomes).toMatchObject([{ kind: "enqueued" }]);
        expect(leases).toMatchObject([
          { sessionId, task: { id: task.id, attempt: 1, version: 2 } },
        ]);
        expect((await broker.get([task.id]))[0]).toMatchObject({ status: "running" });
        tokens.push(leases[0]!.task.fencingToken);
      }
      expect(tokens[1]).toBe(tokens[0]! + 1);
      await broker.enqueue([{ task: waiting!, origin: "submit" }]);
      // Something waits in the lane: it is no longer the direct way.
      const { leases } = await submit(last!);
      expect(leases).toEqual([]);
      const counts = await broker.counts("default");
      const byStatus = counts.map(({ status, tasks }) => [status, tasks] as const);
      expect(Object.fromEntries(byStatus)).toEqual({ pending: 2, running: 2 });
    });
  });

  it("is known the second time, and not granted in a paused queue or to an older session", async () => {
    await withBroker(async ({ broker, submit }) => {
      const task = factory.task();
      const reply = await submit(task);
      expect((await submit(task)).outcomes).toEqual([{ kind: "known" }]);
      expect(await end(broker, reply)).toBe("accepted");
      expect(await end(broker, reply)).toBe("duplicate");
      expect((await submit(task)).outcomes).toEqual([{ kind: "known" }]);
      await broker.setQueue({ namespace: "default", queue: task.queue, paused: true });
      expect((await submit(factory.task())).leases).toEqual([]);
      await broker.setQueue({ namespace: "default", queue: task.queue, paused: false });
      const late = factory.task();
      expect((await submit(late, 2)).leases).toEqual([]);
      expect((await broker.get([late.id]))[0]).toMatchObject({ status: "pending" });
    });
  });
});
