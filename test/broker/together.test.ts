import { describe, expect, it } from "vitest";
import type { Transition } from "../../src/broker/broker.js";
import { recordsOf, togetherIn, TogetherTasks } from "../../src/broker/redis/bundle.js";
import { outboxKey, partitionKey } from "../../src/broker/redis/keys.js";
import { packTask, unpackTask } from "../../src/broker/redis/record.js";
import { packTogether } from "../../src/broker/redis/together.js";
import type { Task } from "../../src/task/task.js";
import { done, failed, ids, type Kit } from "../conformance/broker/kit.js";
import { createSeededRandom } from "../support/seeded-random.js";
import { createTaskFactory } from "../support/task-factory.js";
import { completions, keysOf, withKit } from "./bundle-kit.js";

const relaxed = { durability: "relaxed" } as const;
const payloadOf = (bytes: number) => ({ contentType: "a/b", data: Buffer.alloc(bytes, bytes) });

/** What is each one's own, by how much of it there is. */
const kinds: readonly [string, (nth: number) => Partial<Task>][] = [
  ["id alone", () => relaxed],
  ["payload", (nth) => ({ ...relaxed, payload: payloadOf(nth * 50) })],
  ["age", (nth) => ({ ...relaxed, createdAt: 1_700_000_000_000 + nth * 90_000 })],
  ["tags", (nth) => ({ ...relaxed, tags: [`t${nth}`] })],
  ["a trace of some bytes", (nth) => ({ ...relaxed, traceContext: { a: "b".repeat(nth * 30) } })],
  [
    "tags of hundreds of bytes",
    (nth) => ({ ...relaxed, tags: ["t".repeat(120), `${nth}`, "u".repeat(126)] }),
  ],
];

const some = (change: (nth: number) => Partial<Task>, count = 20): Task[] => {
  const { task } = createTaskFactory(createSeededRandom(3), () => 1_700_000_000_000);
  return Array.from({ length: count }, (_, nth) => task(change(nth)));
};

const itemOf = (task: Task) => ({ task, origin: "submit" as const });

describe.each(kinds)("Tasks that differ in %s", (_, change) => {
  it("are packed as one, from which each is read as it was", () => {
    const tasks = some(change);
    const { packed, starts } = packTogether(tasks.map(itemOf))!;
    const read = recordsOf(togetherIn(packed)!);
    expect(read.map(({ id, record }) => unpackTask(id, record))).toEqual(tasks);
    const later = new TogetherTasks(packed, starts);
    for (const nth of [7, 0, 19, 7]) expect(later.taskOf(nth, tasks[nth]!.id)).toEqual(tasks[nth]);
  });

  it("are leased, end and are told of as each would alone", async () => {
    await withKit(async (kit, harness) => {
      const tasks = await submitAll(kit, change);
      expect(await keysOf(harness, "b")).toBe(1);
      expect((await kit.outbox()).map(({ task }) => task)).toEqual(tasks);
      const holder = await kit.session();
      const leases = [...(await kit.lease(holder, 2)), ...(await kit.lease(holder, 12))];
      expect(ids(leases)).toEqual(ids(tasks.slice(0, 14)));
      expect(leases.map(({ task }) => askedOf(task))).toEqual(tasks.slice(0, 14).map(askedOf));
      expect(await kit.broker.get(ids(leases))).toEqual(leases.map(({ task }) => task));
      // Some alone, some as a run.
      const ends = [5, 3, 8, 9, 10].map((n) => completions(leases)[n]!);
      const replies = await kit.broker.settle(ends);
      const told = (await kit.outbox()).slice(20);
      expect(told.toSorted(byOutboxId)).toEqual(
        replies.map(({ transition }) => transition!).toSorted(byOutboxId),
      );
      expect(told.map(({ task }) => askedOf(task)).toSorted(byId)).toEqual(
        [3, 5, 8, 9, 10].map((n) => askedOf(tasks[n]!)),
      );
      await kit.end(leases[4]!, failed(1_000));
      expect((await kit.cancel(tasks[17]!)).kind).toBe("cancelled");
      expect(await keysOf(harness, "b")).toBe(0);
      const rest = [4, 6, 12, 13, 15, 19].map((n) => tasks[n]!);
      const found = await kit.broker.get(ids(rest));
      expect(found.map((task) => askedOf(task!))).toEqual(rest.map(askedOf));
    });
  });

  it("stand each by itself where one of them has come before", async () => {
    await withKit(async (kit, harness) => {
      const tasks = some(change);
      await kit.submit(tasks[3]!);
      const outcomes = await kit.enqueue(...tasks);
      expect(outcomes.map(({ kind }) => kind)).toEqual(
        tasks.map((_task, nth) => (nth === 3 ? "known" : "enqueued")),
      );
      expect(await keysOf(harness, "b")).toBe(0);
      expect(await kit.broker.get(ids(tasks))).toEqual(tasks);
      expect((await kit.outbox()).map(({ task }) => task)).toEqual([
        tasks[3],
        ...tasks.filter((_task, nth) => nth !== 3),
      ]);
    });
  });
});

async function submitAll(kit: Kit, change: (nth: number) => Partial<Task>): Promise<Task[]> {
  const tasks = Array.from({ length: 20 }, (_, nth) => kit.task(change(nth)));
  const items = tasks.map((task) => itemOf(kit.note(task)));
  const { births } = await kit.broker.enqueue(items);
  expect(births.map((born) => ids(tasks).map((_, nth) => born.transitionOf(nth).task))).toEqual([
    tasks,
  ]);
  return tasks;
}

/** What was asked, which no transition changes. */
const askedOf = ({ id, type, queue, payload, tags, traceContext, createdAt, timeoutMs }: Task) => ({
  id,
  type,
  queue,
  payload,
  tags,
  traceContext,
  createdAt,
  timeoutMs,
});

const byId = (a: { id: string }, b: { id: string }): number => (a.id < b.id ? -1 : 1);
const byOutboxId = (a: Transition, b: Transition): number =>
  a.outboxId === b.outboxId ? a.outboxPlace - b.outboxPlace : a.outboxId! < b.outboxId! ? -1 : 1;

describe("Tasks that come together", () => {
  it("stand each by itself where their entry of the outbox has too high a number", async () => {
    await withKit(async (kit, harness) => {
      const base = partitionKey(harness.prefix, 0);
      await kit.submitOne(relaxed);
      // From now on entries count on within a millisecond that is far away.
      await harness.redis.call("XSETID", outboxKey(base), `${2 ** 42}-40`);
      const tasks = await kit.submitMany(20, relaxed);
      expect(await keysOf(harness, "b")).toBe(0);
      expect(await kit.broker.get(ids(tasks))).toEqual(tasks);
      expect((await kit.outbox()).slice(1).map(({ task }) => task)).toEqual(tasks);
      const leases = (await kit.lease(await kit.session(), 21)).slice(1);
      expect(ids(leases)).toEqual(ids(tasks));
      const replies = await kit.broker.settle(completions(leases));
      expect(new Set(replies.map(({ verdict }) => verdict))).toEqual(new Set(["accepted"]));
    });
  });

  it("are each refused that comes twice in a call, ended before, or stands there", async () => {
    await withKit(async (kit, harness) => {
      const [ended, there, ...fresh] = some(() => relaxed);
      await kit.submit(ended!);
      const [lease] = await kit.lease(await kit.session(), 1);
      await kit.end(lease!, done);
      await kit.submit(there!);
      for (const known of [ended!, there!, fresh[7]!]) {
        const tasks = fresh.map((task) => ({ ...task, id: kit.task().id }));
        const call = [
          ...tasks.slice(0, 9),
          known === fresh[7] ? tasks[3]! : known,
          ...tasks.slice(9),
        ];
        const kinds = (await kit.enqueue(...call)).map(({ kind }) => kind);
        expect(kinds).toEqual(call.map((_, nth) => (nth === 9 ? "known" : "enqueued")));
        expect(await keysOf(harness, "b")).toBe(0);
        expect(await kit.broker.get(ids(tasks))).toEqual(tasks);
      }
    });
  });
});

describe("Tasks of two bundles", () => {
  it("are told of each by its own where they end in one call, as runs and alone", async () => {
    await withKit(async (kit) => {
      const first = await submitAll(kit, () => relaxed);
      const second = await submitAll(kit, (nth) => ({ ...relaxed, tags: ["t"], maxRetries: nth }));
      const one = await kit.lease(await kit.session(), 20);
      const other = await kit.lease(await kit.session(), 20);
      expect(ids([...one, ...other])).toEqual(ids([...first, ...second]));
      const ended = [...one.slice(3, 12), ...other.slice(0, 9), one[15]!, other[15]!];
      await kit.broker.settle(completions(ended));
      const told = (await kit.outbox()).slice(40).map(({ task }) => task);
      expect(told.map(grantOf)).toEqual(ended.map(({ task }) => grantOf(task)));
    });
  });
});

const grantOf = (task: Task) => ({
  asked: askedOf(task),
  maxRetries: task.maxRetries,
  sessionId: task.sessionId,
  fencingToken: task.fencingToken,
});

describe("Tasks that are not all alike", () => {
  it.each<[string, Partial<Task>]>([
    ["type", { type: "other" }],
    ["priority", { priority: 3 }],
    ["timeout", { timeoutMs: 7 }],
    ["durability", { durability: "durable" }],
    ["group", { groupKey: "g" }],
    ["size of the payload", { payload: payloadOf(2_000) }],
    ["time to run", { runAt: 1_800_000_000_000 }],
  ])("are not packed as one: %s", (_, change) => {
    const like = (nth: number, at: number) => (nth === at ? { ...relaxed, ...change } : relaxed);
    for (const at of [0, 6]) {
      expect(packTogether(some((nth) => like(nth, at)).map(itemOf))).toBeUndefined();
    }
  });

  it("are none where all have the same that keeps them from standing together", () => {
    expect(packTogether(some(() => ({ ...relaxed, groupKey: "g" })).map(itemOf))).toBeUndefined();
  });
});

describe("Packed tasks", () => {
  it("take next to nothing but ids and payloads where they share a spec", () => {
    const { packed } = packTogether(some(() => relaxed, 200).map(itemOf))!;
    expect(packed.length / 200).toBeLessThan(16 + 7 + 6);
    expect(
      packTask(some(() => relaxed, 1)[0]!, { inHistory: false, restored: false }).record.length,
    ).toBeGreaterThan(140);
  });
});
