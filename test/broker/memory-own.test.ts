import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ExpiringMap } from "../../src/broker/memory/expiring-map.js";
import { Heap, type HeapNode } from "../../src/broker/memory/heap.js";
import { Kit, done, ids } from "../conformance/broker/kit.js";
import { makeMemoryBroker } from "../support/memory-harness.js";

async function setup() {
  const harness = await makeMemoryBroker();
  const kit = new Kit(harness, await harness.broker.now());
  await kit.openAll();
  return { harness, kit };
}

describe("Heap", () => {
  const node = (key: number, tie: number): HeapNode => ({ key, tie, heapAt: -1 });

  it("gives back in order what was not removed, whatever came and went", () => {
    const acts = fc.array(fc.tuple(fc.constantFrom("push", "pop", "remove"), fc.nat(20), fc.nat()));
    fc.assert(
      fc.property(acts, (given) => {
        const heap = new Heap<HeapNode>();
        let kept: HeapNode[] = [];
        for (const [index, [act, key, at]] of given.entries()) {
          if (act === "push") {
            const added = node(key, index);
            heap.push(added);
            kept.push(added);
          } else if (act === "pop") {
            const first = heap.pop();
            expect(first).toBe(kept.toSorted((a, b) => a.key - b.key || a.tie - b.tie)[0]);
            kept = kept.filter((one) => one !== first);
          } else if (kept.length > 0) {
            const gone = kept[at % kept.length]!;
            expect(heap.remove(gone)).toBe(true);
            expect(heap.remove(gone)).toBe(false);
            kept = kept.filter((one) => one !== gone);
          }
          expect(heap.size).toBe(kept.length);
        }
      }),
    );
  });

  it("takes nothing out that stands in another heap, and nothing in twice", () => {
    const [one, other] = [new Heap<HeapNode>(), new Heap<HeapNode>()];
    const item = node(1, 1);
    one.push(item);
    other.push(node(1, 2));
    expect(other.remove(item)).toBe(false);
    expect([one.has(item), other.has(item)]).toEqual([true, false]);
    expect(() => other.push(item)).toThrow("stands in a heap already");
  });
});

describe("ExpiringMap", () => {
  it("ends entries after their time, and starts it anew when they are set again", () => {
    const map = new ExpiringMap<number>(100);
    map.set("a", 1, 0);
    map.set("b", 2, 50);
    map.set("a", 3, 60);
    expect([map.get("a", 159), map.get("b", 149), map.get("b", 150)]).toEqual([3, 2, undefined]);
    map.expire(155);
    expect([map.size, map.get("a", 155)]).toEqual([1, 3]);
    map.set("c", 4, 500);
    expect(map.size).toBe(1);
  });
});

describe("the memory broker's clock", () => {
  it("goes on at its own pace when the wall clock is set back", async () => {
    const { harness, kit } = await setup();
    const before = await kit.broker.now();
    const task = await kit.submitOne({ runAt: before + 60_000 });
    harness.clock.stepWall(-3_600_000);
    expect(await kit.broker.now()).toBeGreaterThanOrEqual(before);
    await kit.elapse(61_000);
    expect(await kit.statusOf(task)).toBe("pending");
    expect(await kit.broker.now()).toBe(before + 61_000);
  });

  it("reaps nobody when the wall clock is set forward", async () => {
    const { harness, kit } = await setup();
    await kit.warmUp();
    const task = await kit.submitOne();
    const holder = await kit.session();
    const lease = await kit.take(holder);
    harness.clock.stepWall(3_600_000);
    expect(await kit.broker.sweep(0)).toMatchObject({ lost: [], timedOut: [] });
    const resumed = await kit.resume({ ...holder, generation: 2 }, [lease.token]);
    expect(resumed).toMatchObject({ kind: "opened", kept: [{ task: { id: task.id } }] });
    await kit.end(lease, done);
  });
});

describe("the memory broker", () => {
  it("gives every level below the top its share", async () => {
    const { kit } = await setup();
    for (const priority of [3, 2, 1, 0] as const) await kit.submitMany(100, { priority });
    const holder = await kit.session();
    const below = new Set<number>();
    for (let n = 0; n < 96; n += 1) {
      const { priority } = (await kit.take(holder)).task;
      if (priority < 3) below.add(priority);
    }
    expect(below).toEqual(new Set([0, 1, 2]));
  });

  it("ends its waits and refuses calls once it is stopped", async () => {
    const { harness, kit } = await setup();
    const other = await harness.another();
    const lanes = [{ namespace: "n", queue: "q", type: "t", requiredLabels: {} }];
    const waiting = kit.broker.waitForWork(0, lanes, 60_000, new AbortController().signal);
    const elsewhere = other.waitForWork(0, lanes, 60_000, new AbortController().signal);
    await kit.broker.stop();
    expect(await waiting).toBeUndefined();
    expect(kit.broker.available).toBe(false);
    await expect(kit.broker.sweep(0)).rejects.toMatchObject({ id: "broker_unavailable" });
    await expect(kit.broker.counts("n")).rejects.toMatchObject({ id: "broker_unavailable" });
    expect(harness.clock.pending).toBe(1);
    await other.stop();
    expect(await elsewhere).toBeUndefined();
    expect(harness.clock.pending).toBe(0);
    await kit.broker.start();
    expect((await kit.broker.status(0)).cold).toBe(false);
  });

  it("refuses a partition that does not exist", async () => {
    const { kit } = await setup();
    await expect(kit.broker.sweep(1)).rejects.toThrow("partition 1: expected 0 to 0");
  });

  it("keeps no trace of groups and lanes that have gone quiet", async () => {
    const { harness, kit } = await setup();
    const holder = await kit.session();
    for (let n = 0; n < 300; n += 1) {
      const { type } = await kit.submitOne({ groupKey: `customer-${n}` });
      const lease = await kit.take(holder);
      expect(lease.task.type).toBe(type);
      await kit.recorded(await kit.end(lease, done));
    }
    const [queue] = harness.store.partitions[0]!.queues.values();
    const [lane] = queue!.lanes.values();
    expect([lane!.live, lane!.level(1).groups]).toEqual([0, 0]);
    expect(harness.store.partitions[0]!.records.size).toBe(0);
  });

  it("finds the next task of a deep backlog without walking it", async () => {
    const { harness, kit } = await setup();
    const tasks = await kit.submitMany(20_000);
    const holder = await kit.session();
    const partition = harness.store.partitions[0]!;
    const walked = Object.assign(partition.records, {
      values: () => {
        throw new Error("walked the backlog");
      },
    });
    const leases = await kit.lease(holder, 200);
    expect(ids(leases)).toEqual(ids(tasks.slice(0, 200)));
    await kit.end(leases[0]!, done);
    await kit.cancel(tasks.at(-1)!);
    await kit.broker.sweep(0);
    expect(await kit.broker.counts("default")).toHaveLength(2);
    expect(walked.size).toBe(20_000);
  });
});
