import { afterEach, describe, expect, it } from "vitest";
import { limits } from "../../src/limits.js";
import type { Task } from "../../src/task/task.js";
import { type Site, submit, submitted, Worker, World, type WorldOptions } from "./world.js";

let world: World;
afterEach(() => world.stop());

async function start(options: WorldOptions = {}): Promise<Site> {
  world = new World(options);
  const site = await world.site();
  await site.maintenance.start();
  await world.clock.advance(10);
  return site;
}

describe("a coordinator that dies between commit and enqueue", () => {
  it("leaves a marker, by which another brings its tasks to the broker", async () => {
    const site = await start();
    const dead = await world.site();
    const tasks = Array.from({ length: 30 }, () => world.tasks.task());
    await dead.history.insert(tasks);
    await world.clock.advance(limits.commitMarkerIdleMs - 1_000);
    expect(world.historyStore.markers.size).toBe(1);
    await world.clock.advance(4_000);
    const found = await site.broker.get(tasks.map((task) => task.id));
    expect(found.every((task) => task?.status === "pending")).toBe(true);
    expect(world.historyStore.markers.size).toBe(0);
  });

  it("may also have died after the enqueue: then nothing changes", async () => {
    const site = await start();
    const task = world.tasks.task();
    await site.history.insert([task]);
    await site.broker.enqueue([{ task, origin: "submit" }]);
    const worker = new Worker(site.broker);
    await worker.open();
    const [lease] = await worker.lease(task);
    await world.advance(limits.commitMarkerIdleMs + 4_000, worker);
    expect(await site.broker.get([task.id])).toMatchObject([{ status: "running", attempt: 1 }]);
    expect(world.historyStore.markers.size).toBe(0);
    expect(await worker.complete(lease!)).toMatchObject({ verdict: "accepted" });
  });

  it("keeps its marker while the broker is away", async () => {
    const site = await start();
    const task = world.tasks.task();
    await site.history.insert([task]);
    await site.broker.stop();
    await world.clock.advance(60_000);
    expect(world.historyStore.markers.size).toBe(1);
    await site.broker.start();
    await world.clock.advance(3_000);
    expect(await site.broker.get([task.id])).toMatchObject([{ status: "pending" }]);
    expect(world.historyStore.markers.size).toBe(0);
  });

  it("finds every commit of a long outage, some at a time", async () => {
    const site = await start();
    await site.broker.stop();
    const ids: string[] = [];
    for (let batch = 0; batch < 25; batch += 1) {
      const tasks = Array.from({ length: 20 }, () => world.tasks.task());
      await site.history.insert(tasks);
      ids.push(...tasks.map((task) => task.id));
    }
    await world.clock.advance(limits.commitMarkerIdleMs);
    await site.broker.start();
    await world.clock.advance(3_000);
    expect((await site.broker.get(ids)).every((task) => task?.status === "pending")).toBe(true);
    expect(world.historyStore.markers.size).toBe(0);
  });
});

describe("a coordinator that dies after the script, before it recorded", () => {
  /** Its recorder never sees what its broker calls decided. */
  async function endUnrecorded(dead: Site, change: Partial<Task> = {}): Promise<Task> {
    const task = world.tasks.task(change);
    await submit(dead, task);
    const worker = new Worker(dead.broker);
    await worker.open();
    const [lease] = await worker.lease(task);
    expect(await worker.complete(lease!)).toMatchObject({ verdict: "accepted" });
    return task;
  }

  it("leaves its outbox entries to another, which records them once they are idle", async () => {
    const site = await start();
    const dead = await world.site();
    const task = await endUnrecorded(dead);
    await world.clock.advance(limits.outboxIdleMs - 1_000);
    expect(world.row(task.id)).toMatchObject({ status: "pending" });
    await world.clock.advance(2_000);
    expect(world.row(task.id)).toMatchObject({ status: "completed", attempt: 1 });
    expect(await site.broker.readOutbox(0, 0, 10)).toEqual([]);
    expect(await site.broker.get([task.id])).toEqual([undefined]);
    const drained = site.happened.filter((event) => event.name === "outbox.drained");
    expect(drained.map((event) => event.fields)).toEqual([{ partition: 0, entries: 1 }]);
  });

  it("leaves RELAXED tasks whole, with what became of them", async () => {
    const site = await start();
    const dead = await world.site();
    const task = world.tasks.task({ durability: "relaxed" });
    await dead.broker.enqueue([{ task, origin: "submit" }]);
    const worker = new Worker(dead.broker);
    await worker.open();
    const [lease] = await worker.lease(task);
    await worker.complete(lease!);
    await world.clock.advance(limits.outboxIdleMs + 1_000);
    expect(world.row(task.id)).toMatchObject({ status: "completed", payload: task.payload });
    expect(await site.broker.readOutbox(0, 0, 10)).toEqual([]);
  });

  it("changes nothing when its entries are told twice", async () => {
    const site = await start();
    const dead = await world.site();
    const task = await endUnrecorded(dead);
    const [entry] = await dead.broker.readOutbox(0, 0, 10);
    expect(await dead.recorder.record(entry!)).toBe("applied");
    const row = world.row(task.id);
    const attempts = await site.history.attempts("default", task.id);
    expect(await site.recorder.record(entry!)).toBe("superseded");
    expect(world.row(task.id)).toBe(row);
    expect(await site.history.attempts("default", task.id)).toEqual(attempts);
  });

  it("leaves more than one read of the outbox brings", async () => {
    const site = await start();
    const dead = await world.site();
    const tasks = Array.from({ length: 1_300 }, () => world.tasks.task({ durability: "relaxed" }));
    await dead.broker.enqueue(tasks.map((task) => ({ task, origin: "submit" as const })));
    await world.clock.advance(limits.outboxIdleMs + 1_000);
    expect(world.historyStore.tasks.size).toBe(1_300);
    expect(await site.broker.readOutbox(0, 0, 10)).toEqual([]);
  });

  it("leaves an entry that tells of more than one read brings", async () => {
    const { broker } = await start();
    const dead = await world.site();
    const read = broker.readOutbox.bind(broker);
    const recorded = broker.recorded.bind(broker);
    const names: string[] = [];
    broker.readOutbox = async (...query) =>
      (await read(...query)).map((entry) => {
        const outboxPlace = names.push(entry.outboxId!) - 1;
        return { ...entry, outboxId: "all", outboxPlace };
      });
    broker.recorded = (items, born) =>
      recorded(
        items.map((item) => ({ ...item, outboxId: names[item.outboxPlace]!, outboxPlace: 0 })),
        born,
      );
    const tasks = Array.from({ length: 1_300 }, () => world.tasks.task({ durability: "relaxed" }));
    await dead.broker.enqueue(tasks.map((task) => ({ task, origin: "submit" as const })));
    await world.clock.advance(limits.outboxIdleMs + 1_000);
    expect(world.historyStore.tasks.size).toBe(1_300);
    expect(await read(0, 0, 10)).toEqual([]);
  });
});

describe("an outage of history beyond what coordinators may hold", () => {
  it("loses nothing: the outbox is read again", async () => {
    const site = await start({ recorderBytes: 50_000 });
    const worker = new Worker(site.broker);
    await worker.open();
    const tasks = Array.from({ length: 100 }, () => world.tasks.task({ maxRetries: 0 }));
    for (const task of tasks) await submit(site, task);
    world.historyDown = true;
    const acked: string[] = [];
    for (const lease of await worker.lease(tasks[0]!, 100)) {
      const { transition } = await worker.complete(lease);
      site.recorder.record(transition!).then(
        () => acked.push(lease.task.id),
        () => undefined,
      );
    }
    await world.advance(30_000, worker);
    expect(site.recorder.bytes).toBeLessThanOrEqual(50_000);
    expect(acked).toEqual([]);
    world.historyDown = false;
    await world.advance(15_000, worker);
    expect(tasks.every((task) => world.row(task.id)?.status === "completed")).toBe(true);
    expect(await site.broker.readOutbox(0, 0, 10)).toEqual([]);
    expect(acked.length).toBeGreaterThan(0);
  });
});

describe("an outbox entry of a task that neither store knows any more", () => {
  it("is dropped after a while, and said to be", async () => {
    const site = await start();
    const task = world.tasks.task({ durability: "relaxed" });
    const { outcomes } = await site.broker.enqueue([{ task, origin: "submit" }]);
    const outboxId = outcomes[0]!.kind === "enqueued" ? outcomes[0]!.outboxId : undefined;
    // As after a prune: the row went, the entry came back.
    const partition = world.brokerStore.partitions[0]!;
    partition.bury(partition.records.get(task.id)!);
    const read = site.broker.readOutbox.bind(site.broker);
    site.broker.readOutbox = async (...query) =>
      (await read(...query)).map((entry) => ({
        ...entry,
        payloadOmitted: true,
        task: { ...submitted(task, outboxId).task, payload: undefined },
      }));
    await world.clock.advance(120_000);
    expect(await read(0, 0, 10)).toEqual([]);
    expect(world.row(task.id)).toBeUndefined();
    expect(site.count("loop.failed")).toBe(1);
  });
});

describe("retention", () => {
  it("takes ended rows out of history, however many, and leaves live ones", async () => {
    const site = await start();
    const live = world.tasks.task({ retentionMs: 1_000, runAt: world.clock.now() + 86_400_000 });
    await submit(site, live);
    const ended = Array.from({ length: 2_500 }, () => world.tasks.task({ retentionMs: 1_000 }));
    await site.history.insert(ended);
    for (const task of ended) await site.history.cancelLive("default", task.id);
    await world.clock.advance(65_000);
    expect([...world.historyStore.tasks.keys()]).toEqual([live.id]);
  });
});
