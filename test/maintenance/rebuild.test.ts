import { afterEach, describe, expect, it } from "vitest";
import type { Lease } from "../../src/broker/broker.js";
import type { History } from "../../src/history/history.js";
import { limits } from "../../src/limits.js";
import { fencingEpochUnit } from "../../src/task/ids.js";
import type { QueueSettings, Task } from "../../src/task/task.js";
import { over, type Site, submit, Worker, World, type WorldOptions } from "./world.js";

let world: World;
afterEach(() => world.stop());

async function start(options: WorldOptions = {}): Promise<Site> {
  world = new World(options);
  const site = await world.site();
  await site.maintenance.start();
  await world.turn();
  return site;
}

async function waiting(site: Site, count: number, change: Partial<Task> = {}): Promise<Task[]> {
  const tasks = Array.from({ length: count }, () => world.tasks.task(change));
  for (const task of tasks) await submit(site, task);
  return tasks;
}

const isCold = async (site: Site, partition = 0): Promise<boolean> =>
  (await site.broker.status(partition)).cold;

/** Everything that may be leased now, in the order of the grants. */
async function drain(site: Site, worker: Worker, like: Task): Promise<Lease[]> {
  const all: Lease[] = [];
  for (;;) {
    const leases = await worker.lease(like, 200);
    if (leases.length === 0) return all;
    all.push(...leases);
    for (const lease of leases) {
      const { transition } = await worker.complete(lease);
      await site.recorder.record(transition!);
    }
  }
}

const settings = (change: Partial<QueueSettings>): QueueSettings => ({
  namespace: "default",
  name: "default",
  paused: false,
  durability: "durable",
  maxRetries: 3,
  retry: world.tasks.task().retry,
  retentionMs: limits.retentionMs,
  types: {},
  version: 0,
  ...change,
});

describe("the first start", () => {
  it("opens every partition at once, since nothing can be running", async () => {
    const site = await start({ partitions: 4 });
    await world.clock.advance(10);
    expect(await Promise.all([0, 1, 2, 3].map((p) => isCold(site, p)))).toEqual([
      false,
      false,
      false,
      false,
    ]);
    expect(site.count("partition.cold")).toBe(4);
    expect(site.count("partition.rebuilt")).toBe(4);
    expect(await site.broker.status(0)).toMatchObject({ epoch: 1 });
  });

  it("opens nothing while history is away", async () => {
    world = new World();
    world.historyDown = true;
    const site = await world.site();
    await site.maintenance.start();
    await world.clock.advance(30_000);
    expect(await isCold(site)).toBe(true);
    expect(site.count("partition.cold")).toBe(1);
    expect(site.count("loop.failed")).toBe(0);
    world.historyDown = false;
    await site.history.start();
    await world.clock.advance(2_000);
    expect(await isCold(site)).toBe(false);
  });
});

describe("an emptied store", () => {
  it("is filled again in the order of ids, and no task is lost", async () => {
    const site = await start();
    const tasks = await waiting(site, 1_200);
    world.brokerStore.wipe();
    await world.clock.advance(2_000);
    expect(await isCold(site)).toBe(true);
    const worker = new Worker(site.broker);
    await worker.open();
    expect(await worker.lease(tasks[0]!)).toEqual([]);
    await world.advance(limits.sessionLeaseMs, worker);
    expect(await isCold(site)).toBe(false);
    const leases = await drain(site, worker, tasks[0]!);
    expect(leases.map((lease) => lease.task.id)).toEqual(tasks.map((task) => task.id).toSorted());
    expect(tasks.every((task) => world.row(task.id)?.status === "completed")).toBe(true);
    const rebuilt = site.happened.findLast((event) => event.name === "partition.rebuilt");
    expect(rebuilt?.fields).toMatchObject({ partition: 0, tasks: 1_200, epoch: 2 });
  });

  it("stays cold for one session lease, so that workers keep what they run", async () => {
    const site = await start();
    const tasks = await waiting(site, 3);
    const worker = new Worker(site.broker, "s1");
    await worker.open();
    const [lease] = await worker.lease(tasks[0]!);
    world.brokerStore.wipe();
    await world.clock.advance(4_000);
    expect(await worker.open()).toMatchObject({
      kind: "opened",
      kept: [{ task: { id: lease!.task.id, status: "running", attempt: 1 } }],
      missing: [],
      revoked: [],
    });
    await world.advance(limits.sessionLeaseMs - 4_100, worker);
    expect(await isCold(site)).toBe(true);
    await world.advance(1_500, worker);
    expect(await isCold(site)).toBe(false);
    const other = new Worker(site.broker, "s2");
    await other.open();
    const others = await other.lease(tasks[0]!, 10);
    expect(others.map(({ task }) => task.id)).not.toContain(lease!.task.id);
    expect(others).toHaveLength(2);
    const reply = await worker.complete(lease!);
    expect(reply.verdict).toBe("accepted");
    expect(await site.recorder.record(reply.transition!)).toBe("applied");
    expect(world.row(lease!.task.id)).toMatchObject({ status: "completed", attempt: 1 });
    expect(others[0]!.task.fencingToken).toBeGreaterThan(2 * fencingEpochUnit);
    expect(others[0]!.task.fencingToken).toBeGreaterThan(lease!.task.fencingToken);
  });

  it("runs a task again whose worker did not come back, and accepts only one end", async () => {
    const site = await start();
    const [task] = await waiting(site, 1);
    const gone = new Worker(site.broker, "s1");
    await gone.open();
    const [old] = await gone.lease(task!);
    world.brokerStore.wipe();
    await world.clock.advance(limits.sessionLeaseMs + 2_000);
    const worker = new Worker(site.broker, "s2");
    await worker.open();
    const [lease] = await worker.lease(task!);
    expect(lease!.task).toMatchObject({ id: task!.id, leaseLosses: 0, retryCount: 0 });
    expect(await gone.complete(old!)).toMatchObject({ verdict: "stale" });
    const reply = await worker.complete(lease!);
    expect(await site.recorder.record(reply.transition!)).toBe("applied");
    expect(world.row(task!.id)).toMatchObject({ status: "completed", sessionId: "s2" });
  });

  it("keeps ended tasks ended, whoever enqueues them once more", async () => {
    const site = await start();
    const [task] = await waiting(site, 1);
    const worker = new Worker(site.broker);
    await worker.open();
    await drain(site, worker, task!);
    world.brokerStore.wipe();
    await world.clock.advance(limits.sessionLeaseMs + 2_000);
    const { outcomes } = await site.broker.enqueue([{ task: task!, origin: "submit" }]);
    expect(outcomes).toEqual([{ kind: "known" }]);
  });

  it("starts over when the store is emptied once more while workers are awaited", async () => {
    const site = await start();
    const tasks = await waiting(site, 10);
    world.brokerStore.wipe();
    await world.clock.advance(9_000);
    expect(await site.broker.get([tasks[0]!.id])).toMatchObject([{ status: "pending" }]);
    world.brokerStore.wipe();
    await world.clock.advance(10_000);
    expect(await isCold(site)).toBe(true);
    await world.clock.advance(limits.sessionLeaseMs);
    expect(await isCold(site)).toBe(false);
    const found = await site.broker.get(tasks.map((task) => task.id));
    expect(found.filter((it) => it?.status === "pending")).toHaveLength(10);
  });

  it("is a restart of the memory broker too: history fills it", async () => {
    const site = await start();
    const tasks = await waiting(site, 5, { runAt: world.clock.now() + 3_600_000 });
    await world.stop();
    world.brokerStore.wipe();
    const next = await world.site();
    await next.maintenance.start();
    await world.clock.advance(limits.sessionLeaseMs + 2_000);
    const found = await next.broker.get(tasks.map((task) => task.id));
    expect(found.map((task) => task?.status)).toEqual(tasks.map(() => "scheduled"));
    expect(await isCold(next)).toBe(false);
  });

  it("is rebuilt by one coordinator, whichever comes first", async () => {
    const site = await start();
    const other = await world.site();
    await other.maintenance.start();
    const tasks = await waiting(site, 20);
    world.brokerStore.wipe();
    await world.clock.advance(limits.sessionLeaseMs + 3_000);
    const rebuilt = [site, other].flatMap(({ happened }) =>
      happened.filter((event) => event.name === "partition.rebuilt"),
    );
    expect(rebuilt).toHaveLength(2);
    expect(await site.broker.status(0)).toMatchObject({ cold: false, epoch: 2 });
    expect(await site.broker.get([tasks[19]!.id])).toMatchObject([{ status: "pending" }]);
  });

  it("is opened once, even by two coordinators that both believe to hold the lock", async () => {
    const wrapHistory = (history: History): History =>
      over(history, { exclusively: (_, work) => work(new AbortController().signal) });
    const site = await start({ wrapHistory });
    const other = await world.site();
    await other.maintenance.start();
    await waiting(site, 3);
    world.brokerStore.wipe();
    await world.clock.advance(2 * limits.sessionLeaseMs);
    expect(site.count("partition.rebuilt") + other.count("partition.rebuilt")).toBe(2);
    expect(await isCold(site)).toBe(false);
  });

  it("goes on where history may learn the more of the past only later", async () => {
    const site = await start();
    const [task] = await waiting(site, 1);
    const worker = new Worker(site.broker);
    await worker.open();
    const [before] = await worker.lease(task!);
    const late = (await worker.fail(before!, 1_000)).transition!;
    world.brokerStore.wipe();
    await world.clock.advance(limits.sessionLeaseMs + 2_000);
    const next = new Worker(site.broker, "s2");
    await next.open();
    const [after] = await next.lease(task!);
    expect(await site.recorder.record(late)).toBe("applied");
    const { transition } = await next.fail(after!, 1_000);
    expect(await site.recorder.record(transition!)).toBe("applied");
    expect(world.row(task!.id)?.fencingToken).toBe(after!.task.fencingToken);
  });

  it("is taken over when the coordinator that rebuilds it stops half-way", async () => {
    const site = await start();
    const other = await world.site();
    const [task] = await waiting(site, 1);
    world.brokerStore.wipe();
    await world.clock.advance(5_000);
    await other.maintenance.start();
    await world.clock.advance(1_000);
    await site.maintenance.stop();
    await world.clock.advance(limits.sessionLeaseMs + 2_000);
    expect(await isCold(other)).toBe(false);
    expect(await other.broker.get([task!.id])).toMatchObject([{ status: "pending" }]);
    expect(other.count("partition.rebuilt")).toBe(1);
  });

  it("leases nothing of a paused queue", async () => {
    const site = await start();
    await site.history.putQueue(settings({ paused: true }), undefined);
    await site.broker.setQueue({ namespace: "default", queue: "default", paused: true });
    const [task] = await waiting(site, 1);
    world.brokerStore.wipe();
    const worker = new Worker(site.broker);
    await world.clock.advance(1_000);
    await worker.open();
    await world.advance(limits.sessionLeaseMs + 2_000, worker);
    expect(await isCold(site)).toBe(false);
    expect(await worker.lease(task!)).toEqual([]);
  });

  it("stays cold while history is away, however long", async () => {
    const site = await start();
    await waiting(site, 3);
    world.historyDown = true;
    world.brokerStore.wipe();
    await world.clock.advance(60_000);
    expect(await isCold(site)).toBe(true);
    world.historyDown = false;
    await world.clock.advance(3_000);
    expect(await isCold(site)).toBe(false);
  });
});

describe("a store that came back with its records", () => {
  it("is open again within two seconds, with higher fencing numbers", async () => {
    const site = await start();
    const [task] = await waiting(site, 2);
    const worker = new Worker(site.broker);
    await worker.open();
    const [before] = await worker.lease(task!);
    world.brokerStore.replace();
    expect(await worker.lease(task!)).toEqual([]);
    await world.clock.advance(2_000);
    expect(await isCold(site)).toBe(false);
    const [after] = await worker.lease(task!);
    expect(Math.floor(after!.task.fencingToken / fencingEpochUnit)).toBe(2);
    expect(await worker.complete(before!)).toMatchObject({ verdict: "accepted" });
  });

  it("learns what history committed while it forgot: ends and new tasks", async () => {
    const site = await start();
    const [ended, kept] = await waiting(site, 2);
    // The lost tail of an AOF: the end of one task, and the enqueue of another.
    await site.history.cancelLive("default", ended!.id);
    const fresh = world.tasks.task();
    const { marker } = await site.history.insert([fresh]);
    await site.history.clearMarkers([marker!]);
    world.brokerStore.replace();
    await world.clock.advance(2_000);
    const worker = new Worker(site.broker);
    await worker.open();
    const leases = await drain(site, worker, kept!);
    expect(leases.map(({ task }) => task.id).toSorted()).toEqual([kept!.id, fresh.id].toSorted());
    expect(world.row(ended!.id)).toMatchObject({ status: "cancelled" });
  });

  it("is compared in full afterwards, so that an old hole heals as well", async () => {
    const site = await start();
    const tasks = await waiting(site, 700);
    await world.clock.advance(2 * limits.submitIdAgeMs);
    for (const { id } of tasks.slice(500, 510)) world.forget(id);
    world.brokerStore.replace();
    await world.clock.advance(2_000);
    const found = await site.broker.get(tasks.map((task) => task.id));
    expect(found.every((task) => task?.status === "pending")).toBe(true);
  });
});

describe("the slow compare", () => {
  it("finds a task that the broker forgot without anybody noticing", async () => {
    const site = await start();
    const tasks = await waiting(site, 5);
    await world.clock.advance(70_000);
    const { id } = tasks[2]!;
    world.forget(id);
    await world.clock.advance(70_000);
    expect(await site.broker.get([id])).toMatchObject([{ status: "pending" }]);
    expect(site.count("commit.recovered")).toBe(1);
  });

  it("leaves alone what ended between its reading and its asking", async () => {
    let late: (() => Promise<void>) | undefined;
    const wrapHistory = (history: History): History =>
      over(history, {
        async liveTasks(...query) {
          const rows = await history.liveTasks(...query);
          await late?.();
          late = undefined;
          return rows;
        },
      });
    const site = await start({ wrapHistory });
    const [task] = await waiting(site, 1);
    const worker = new Worker(site.broker);
    await worker.open();
    late = async () => void (await drain(site, worker, task!));
    await world.advance(70_000, worker);
    expect(world.row(task!.id)).toMatchObject({ status: "completed" });
    expect(await site.broker.get([task!.id])).toEqual([undefined]);
    expect(await worker.lease(task!)).toEqual([]);
  });
});
