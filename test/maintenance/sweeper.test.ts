import { afterEach, describe, expect, it } from "vitest";
import { limits } from "../../src/limits.js";
import type { Task } from "../../src/task/task.js";
import { type Site, submit, Worker, World } from "./world.js";

let world: World;
afterEach(() => world.stop());

/** Sites at work on an open partition, past the caution that every first sweep starts with. */
async function start(sites = 1): Promise<Site[]> {
  world = new World();
  const all: Site[] = [];
  for (let n = 0; n < sites; n += 1) all.push(await world.site());
  for (const site of all) await site.maintenance.start();
  await world.clock.advance(limits.reapGraceMs + 2_000);
  return all;
}

async function waiting(site: Site, change: Partial<Task> = {}): Promise<Task> {
  const task = world.tasks.task(change);
  await submit(site, task);
  return task;
}

const read = async (site: Site, id: string): Promise<Task> =>
  (await site.broker.get([id]))[0] ?? world.row(id)!;

/** A worker takes the task and is never heard of again. */
async function loseOnce(site: Site, task: Task, name: string): Promise<void> {
  const worker = new Worker(site.broker, name);
  await worker.open();
  expect(await worker.lease(task)).toHaveLength(1);
  await world.clock.advance(limits.sessionLeaseMs + limits.sweepMs);
}

describe("lost sessions", () => {
  it("give their tasks back at once the first time, the handler's budget untouched", async () => {
    const [site] = await start();
    const task = await waiting(site!);
    await loseOnce(site!, task, "s1");
    expect(await read(site!, task.id)).toMatchObject({
      status: "pending",
      leaseLosses: 1,
      retryCount: 0,
      attempt: 1,
    });
    expect(world.row(task.id)).toMatchObject({ status: "pending", leaseLosses: 1 });
    const lost = site!.happened.filter((event) => event.name === "session.lost");
    expect(lost.map((event) => event.fields)).toEqual([{ sessionId: "s1", leases: 1 }]);
    const attempts = await site!.history.attempts("default", task.id);
    expect(attempts).toMatchObject([{ attempt: 1, outcome: "lost", sessionId: "s1" }]);
  });

  it("make a task wait after the second, and end it as poison after the third", async () => {
    const [site] = await start();
    const task = await waiting(site!, { maxRetries: 100 });
    await loseOnce(site!, task, "s1");
    await loseOnce(site!, task, "s2");
    const second = await read(site!, task.id);
    expect(second).toMatchObject({ leaseLosses: 2, status: "retrying" });
    await world.clock.advance(5_000);
    expect(await read(site!, task.id)).toMatchObject({ status: "pending" });
    await loseOnce(site!, task, "s3");
    expect(world.row(task.id)).toMatchObject({
      status: "failed",
      leaseLosses: 3,
      retryCount: 0,
      error: { code: "poison" },
    });
    expect(await site!.broker.get([task.id])).toEqual([undefined]);
  });

  it("charge nothing when the worker said goodbye", async () => {
    const [site] = await start();
    const task = await waiting(site!);
    const worker = new Worker(site!.broker, "s1");
    await worker.open();
    await worker.lease(task);
    await site!.broker.closeSession("s1", 1);
    await world.clock.advance(limits.sweepMs + 1);
    expect(await read(site!, task.id)).toMatchObject({
      status: "pending",
      leaseLosses: 0,
      retryCount: 0,
      releases: 1,
    });
  });

  it("are taken back by slices, one right after the other", async () => {
    const [site] = await start();
    const task = await waiting(site!);
    for (let n = 1; n < 450; n += 1) await waiting(site!);
    const worker = new Worker(site!.broker, "s1");
    await worker.open();
    for (let n = 0; n < 3; n += 1) await worker.lease(task, 200);
    expect(worker.held).toHaveLength(450);
    await world.clock.advance(limits.sessionLeaseMs + limits.sweepMs);
    const back = await site!.broker.get(worker.held.map((lease) => lease.task.id));
    expect(back.filter((it) => it?.status === "pending")).toHaveLength(450);
  });
});

describe("timeouts", () => {
  it("charge the retry budget, within two seconds of the deadline", async () => {
    const [site] = await start();
    const task = await waiting(site!, { timeoutMs: 20_000 });
    const worker = new Worker(site!.broker, "s1");
    await worker.open();
    await worker.lease(task);
    await world.advance(19_900, worker);
    expect(await read(site!, task.id)).toMatchObject({ status: "running" });
    await world.advance(700, worker);
    expect(await read(site!, task.id)).toMatchObject({
      status: "retrying",
      retryCount: 1,
      leaseLosses: 0,
      error: { code: "timeout", message: "attempt 1 ran longer than its timeout of 20000 ms" },
    });
    expect(world.row(task.id)).toMatchObject({ status: "retrying", retryCount: 1 });
  });

  it("end a task that has no retry left, and refuse what its worker reports later", async () => {
    const [site] = await start();
    const task = await waiting(site!, { timeoutMs: 1_000, maxRetries: 0 });
    const worker = new Worker(site!.broker, "s1");
    await worker.open();
    const [lease] = await worker.lease(task);
    await world.advance(2_000, worker);
    expect(world.row(task.id)).toMatchObject({ status: "failed", error: { code: "timeout" } });
    expect(await worker.complete(lease!)).toMatchObject({ verdict: "stale" });
  });

  it("do not retry what the policy excludes", async () => {
    const [site] = await start();
    const retry = { ...world.tasks.task().retry, nonRetryableCodes: ["timeout"] };
    const task = await waiting(site!, { timeoutMs: 1_000, retry });
    const worker = new Worker(site!.broker, "s1");
    await worker.open();
    await worker.lease(task);
    await world.advance(2_000, worker);
    expect(world.row(task.id)).toMatchObject({ status: "failed", retryCount: 0 });
  });
});

describe("sweeps", () => {
  it("end a cancelled task once its grace is over", async () => {
    const [site] = await start();
    const task = await waiting(site!);
    const worker = new Worker(site!.broker, "s1");
    await worker.open();
    await worker.lease(task);
    await site!.broker.cancel([{ taskId: task.id, namespace: "default", graceMs: 3_000 }]);
    await world.advance(2_500, worker);
    expect(await read(site!, task.id)).toMatchObject({ status: "running" });
    await world.advance(1_500, worker);
    expect(world.row(task.id)).toMatchObject({ status: "cancelled" });
  });

  it("promote a delayed task within a sweep of its time, and no sooner", async () => {
    const [site] = await start();
    const task = await waiting(site!, { runAt: world.clock.now() + 7_000 });
    await world.clock.advance(6_990);
    expect(await read(site!, task.id)).toMatchObject({ status: "scheduled" });
    await world.clock.advance(limits.sweepMs);
    expect(await read(site!, task.id)).toMatchObject({ status: "pending" });
  });

  it("look again right when the next task falls due", async () => {
    const [site] = await start();
    const task = await waiting(site!, { runAt: world.clock.now() + 900 });
    await world.clock.advance(920);
    expect(await read(site!, task.id)).toMatchObject({ status: "pending" });
  });

  it("are harmless by any number of coordinators at once", async () => {
    const sites = await start(3);
    const [site] = sites;
    const task = await waiting(site!, { maxRetries: 0 });
    const others = [await waiting(site!), await waiting(site!, { timeoutMs: 16_000 })];
    const worker = new Worker(site!.broker, "s1");
    await worker.open();
    await worker.lease(task, 3);
    await world.clock.advance(limits.sessionLeaseMs + 2_000);
    for (const { id } of [task, ...others]) {
      const attempts = await site!.history.attempts("default", id);
      expect(attempts).toHaveLength(1);
      expect(await read(site!, id)).toMatchObject({
        status: "pending",
        leaseLosses: 1,
        retryCount: 0,
      });
    }
    const told = sites.flatMap(({ happened }) => happened.filter((e) => e.name === "session.lost"));
    expect(told.reduce((sum, { fields }) => sum + (fields as { leases: number }).leases, 0)).toBe(
      3,
    );
    expect(sites.map((s) => s.count("loop.failed"))).toEqual([0, 0, 0]);
  });

  it("go on while history is away", async () => {
    const [site] = await start();
    const task = await waiting(site!, { timeoutMs: 1_000 });
    const worker = new Worker(site!.broker, "s1");
    await worker.open();
    await worker.lease(task);
    world.historyDown = true;
    await world.advance(10_000, worker);
    expect(await read(site!, task.id)).toMatchObject({ retryCount: 1, status: "pending" });
    expect(world.row(task.id)).toMatchObject({ status: "pending", retryCount: 0 });
    world.historyDown = false;
    await world.advance(6_000, worker);
    expect(world.row(task.id)).toMatchObject({ status: "retrying", retryCount: 1 });
    expect(await site!.broker.readOutbox(0, 0, 10)).toEqual([]);
  });
});
