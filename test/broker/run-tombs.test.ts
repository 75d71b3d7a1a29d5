import { describe, expect, it } from "vitest";
import type { Lease } from "../../src/broker/broker.js";
import { partitionKey } from "../../src/broker/redis/keys.js";
import { limits } from "../../src/limits.js";
import type { Task } from "../../src/task/task.js";
import { uuidText } from "../../src/task/uuid.js";
import { done, ids, type Kit } from "../conformance/broker/kit.js";
import type { RedisHarness } from "../support/redis-harness.js";
import { bundleMs as ms, completions, idOf, withKit } from "./bundle-kit.js";

const relaxed = { durability: "relaxed" } as const;

async function leaseAll(kit: Kit, taskIds: readonly string[]): Promise<Lease[]> {
  await kit.submit(...taskIds.map((id) => kit.task({ ...relaxed, id })));
  const leases = await kit.lease(await kit.session(), taskIds.length);
  expect(ids(leases)).toEqual(taskIds);
  return leases;
}

const idsOf = (count: number): string[] => Array.from({ length: count }, (_, nth) => idOf(nth));

const verdictsOf = async (kit: Kit, leases: readonly Lease[]): Promise<Set<string>> =>
  new Set((await kit.broker.settle(completions(leases))).map(({ verdict }) => verdict));

const kindsOf = async (kit: Kit, tasks: readonly Task[]): Promise<Set<string>> =>
  new Set((await kit.enqueue(...tasks)).map(({ kind }) => kind));

/** The fields of all tombstones. */
async function tombFields({ redis, prefix }: RedisHarness): Promise<Buffer[]> {
  const keys = await redis.keys(`${partitionKey(prefix, 0)}x:*`);
  return (await Promise.all(keys.map((key) => redis.hkeysBuffer(key)))).flat();
}

describe("Tombstones of tasks that ended one behind another", () => {
  it("stand once for all of them where they came in a few milliseconds", async () => {
    await withKit(async (kit, harness) => {
      const leases = await leaseAll(kit, idsOf(40));
      for (const from of [0, 10, 20]) await verdictsOf(kit, leases.slice(from, from + 10));
      // Of each run one, one of their time, and the newest time.
      expect(await tombFields(harness)).toHaveLength(3 + 1 + 1);
      expect(await verdictsOf(kit, leases.slice(0, 30))).toEqual(new Set(["duplicate"]));
      const ended = leases.slice(0, 30).map(({ task }) => task);
      expect(await kindsOf(kit, ended.slice(5, 25))).toEqual(new Set(["known"]));
      expect(await kindsOf(kit, ended.slice(7, 8))).toEqual(new Set(["known"]));
      expect(await verdictsOf(kit, leases.slice(30))).toEqual(new Set(["accepted"]));
    });
  });

  it("stand once also where others of their bundle came at many other times", async () => {
    await withKit(async (kit, harness) => {
      const times = [0, 1, 2, 3, 4].flatMap((at) => [at, at, at, at]);
      const leases = await leaseAll(
        kit,
        times.map((at, nth) => idOf(nth, ms + at)),
      );
      await verdictsOf(kit, leases.slice(4, 8));
      expect(await tombFields(harness)).toHaveLength(1 + 1 + 1);
      await verdictsOf(kit, leases.slice(9, 19));
      expect(await tombFields(harness)).toHaveLength(2 + 5 + 1);
      const ended = [...leases.slice(4, 8), ...leases.slice(9, 19)];
      expect(await verdictsOf(kit, ended)).toEqual(new Set(["duplicate"]));
      const tasks = ended.map(({ task }) => kit.task({ ...relaxed, id: task.id }));
      expect(await kindsOf(kit, tasks)).toEqual(new Set(["known"]));
      expect(await verdictsOf(kit, [leases[0]!, leases[8]!, leases[19]!])).toEqual(
        new Set(["accepted"]),
      );
    });
  });

  it("stand one by one where each came at another time", async () => {
    await withKit(async (kit, harness) => {
      const leases = await leaseAll(
        kit,
        Array.from({ length: 10 }, (_, nth) => idOf(nth, ms + nth)),
      );
      expect(await verdictsOf(kit, leases)).toEqual(new Set(["accepted"]));
      const alone = (await tombFields(harness)).filter((field) => field.length === 16);
      expect(alone.map((field) => uuidText(field)).toSorted()).toEqual(ids(leases));
      expect(await verdictsOf(kit, leases)).toEqual(new Set(["duplicate"]));
    });
  });

  it("are found among many runs of a time, in one call and in several", async () => {
    await withKit(async (kit) => {
      const leases = await leaseAll(kit, idsOf(200));
      // Pairs, with one left out behind each: 66 runs.
      const pairs = leases.filter((_, nth) => nth % 3 !== 2);
      expect(await verdictsOf(kit, pairs.slice(0, 40))).toEqual(new Set(["accepted"]));
      for (let from = 40; from < pairs.length; from += 2) {
        expect(await verdictsOf(kit, pairs.slice(from, from + 2))).toEqual(new Set(["accepted"]));
      }
      expect(await verdictsOf(kit, pairs)).toEqual(new Set(["duplicate"]));
      expect(await kindsOf(kit, [pairs.at(-1)!.task])).toEqual(new Set(["known"]));
    });
  });

  it("tell tasks apart whose ids differ in their time alone", async () => {
    await withKit(async (kit) => {
      const twins = [ms, ms + 1].flatMap((at) =>
        Array.from({ length: 5 }, (_, nth) => idOf(nth, at)),
      );
      const leases = await leaseAll(kit, twins);
      expect(await verdictsOf(kit, leases)).toEqual(new Set(["accepted"]));
      expect(await verdictsOf(kit, leases)).toEqual(new Set(["duplicate"]));
      const stranger = kit.task({ ...relaxed, id: idOf(3, ms + 2) });
      const other = kit.task({ ...relaxed, id: idOf(9, ms) });
      expect(await kindsOf(kit, [stranger, other])).toEqual(new Set(["enqueued"]));
    });
  });

  it("leave a task of a later run alone, and stay for the others", async () => {
    await withKit(async (kit) => {
      const tasks = idsOf(10).map((id) => kit.note(kit.task({ ...relaxed, id })));
      const items = tasks.map((task) => ({ task, origin: "submit" as const }));
      const [born] = (await kit.broker.enqueue(items)).births;
      const leases = await kit.lease(await kit.session(), 10);
      await verdictsOf(kit, leases);
      const again: Task = { ...kit.task(relaxed), id: idOf(4), run: 2 };
      expect(await kindsOf(kit, [again])).toEqual(new Set(["enqueued"]));
      expect(await verdictsOf(kit, [leases[4]!])).toEqual(new Set(["stale"]));
      const [lease] = await kit.lease(await kit.session(), 1);
      expect(lease!.task.id).toBe(again.id);
      await kit.cancel(again);
      const others = leases.filter((_, nth) => nth !== 4);
      const nths = [3, 4, 5];
      const { told } = await kit.broker.covered({ births: born!, nths });
      expect(told).toEqual([3, 5]);
      expect(await verdictsOf(kit, others)).toEqual(new Set(["duplicate"]));
      const held = [...ids(others)].map((id) => kit.task({ ...relaxed, id }));
      expect(await kindsOf(kit, held)).toEqual(new Set(["known"]));
    });
  });

  it("are found where one that ended before them was younger", async () => {
    await withKit(async (kit) => {
      const leases = await leaseAll(kit, idsOf(10));
      const young = kit.task({ ...relaxed, id: idOf(0, ms + 5) });
      await kit.submit(young);
      const [only] = await kit.lease(await kit.session(), 1);
      await kit.end(only!, done);
      await verdictsOf(kit, leases);
      expect(await verdictsOf(kit, leases)).toEqual(new Set(["duplicate"]));
      expect(await verdictsOf(kit, [only!])).toEqual(new Set(["duplicate"]));
    });
  });

  it("are found of some hundred at once", async () => {
    await withKit(async (kit) => {
      const first = await leaseAll(kit, idsOf(150));
      const second = await leaseAll(
        kit,
        Array.from({ length: 150 }, (_, nth) => idOf(nth, ms + 9)),
      );
      await verdictsOf(kit, first);
      await verdictsOf(kit, second);
      const found = await kit.broker.get(ids([...first, ...second]));
      expect(found.filter((task) => task?.status === "completed")).toHaveLength(300);
    });
  });

  it("end with their time", async () => {
    await withKit(async (kit) => {
      const leases = await leaseAll(kit, idsOf(10));
      await verdictsOf(kit, leases);
      for (const told of await kit.outbox()) await kit.recorded(told);
      await kit.harness.advance(limits.tombstoneMs - 1);
      expect(await verdictsOf(kit, leases)).toEqual(new Set(["duplicate"]));
      await kit.harness.advance(1);
      expect(await verdictsOf(kit, leases)).toEqual(new Set(["stale"]));
    });
  });
});
