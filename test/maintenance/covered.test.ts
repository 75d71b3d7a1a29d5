import { afterEach, describe, expect, it } from "vitest";
import type { History, Told } from "../../src/history/history.js";
import { limits } from "../../src/limits.js";
import { over, type Site, Worker, World } from "./world.js";

let world: World;
afterEach(() => world.stop());

interface Scene {
  readonly site: Site;
  readonly worker: Worker;
  /** What history was asked to record, call by call. */
  readonly told: Told[][];
}

async function start(): Promise<Scene> {
  const told: Told[][] = [];
  const wrapHistory = (history: History): History =>
    over(history, {
      record(transitions) {
        told.push([...transitions]);
        return history.record(transitions);
      },
    });
  world = new World({ wrapHistory });
  const site = await world.site();
  await site.broker.open(0, 1);
  await site.recorder.start();
  const worker = new Worker(site.broker);
  await worker.open();
  return { site, worker, told };
}

const versions = (told: readonly Told[][]) =>
  told.map((call) => call.map(({ task }) => task.version));

describe("a birth whose task has ended before it was written", () => {
  it("is not told for itself, and leaves the outbox with the end", async () => {
    const { site, worker, told } = await start();
    const birth = await world.relaxed(site);
    site.recorder.keep(birth);
    await world.clock.advance(40);
    const [lease] = await worker.lease(birth.task);
    const { transition } = await worker.complete(lease!);
    site.recorder.keep(transition!);
    expect(await site.broker.readOutbox(0, 0, 10)).toHaveLength(2);
    await world.clock.advance(limits.recordGatherMs - 41);
    expect(told).toEqual([]);
    await world.clock.advance(1);
    expect(versions(told)).toEqual([[transition!.task.version]]);
    expect(world.row(birth.task.id)).toMatchObject({
      status: "completed",
      payload: birth.task.payload,
    });
    expect(await site.history.attempts("default", birth.task.id)).toHaveLength(1);
    expect(await site.broker.readOutbox(0, 0, 10)).toEqual([]);
    expect(site.recorder.bytes).toBe(0);
    expect(world.clock.pending).toBe(0);
  });

  it("is answered with the end when somebody drains its entry meanwhile", async () => {
    const { site, worker, told } = await start();
    const birth = await world.relaxed(site);
    site.recorder.keep(birth);
    const [lease] = await worker.lease(birth.task);
    const { transition } = await worker.complete(lease!);
    site.recorder.keep(transition!);
    const left = await site.broker.readOutbox(0, 0, 10);
    const answers = left.map((entry) => site.recorder.record(entry));
    await site.recorder.flush();
    expect(await Promise.all(answers)).toEqual(["applied", "applied"]);
    expect(versions(told)).toEqual([[transition!.task.version]]);
  });

  it("is not dropped with an end that history had no time for", async () => {
    const { site, worker } = await start();
    world.historyDown = true;
    const birth = await world.relaxed(site);
    site.recorder.keep(birth);
    const [lease] = await worker.lease(birth.task);
    site.recorder.keep((await worker.complete(lease!)).transition!);
    await world.clock.advance(3_000);
    expect(await site.broker.readOutbox(0, 0, 10)).toHaveLength(2);
    await site.recorder.stop();
    world.historyDown = false;
    const other = await world.site();
    await other.recorder.start();
    const left = await other.broker.readOutbox(0, 0, 10);
    expect(left.map(({ task }) => task.status).toSorted()).toEqual(["completed", "pending"]);
    await Promise.all(left.map((entry) => other.recorder.record(entry, true)));
    expect(world.row(birth.task.id)?.status).toBe("completed");
    expect(await other.broker.readOutbox(0, 0, 10)).toEqual([]);
  });

  it("confirms both where history had learned of the end already", async () => {
    const { site, worker } = await start();
    const birth = await world.relaxed(site);
    site.recorder.keep(birth);
    const [lease] = await worker.lease(birth.task);
    const { transition } = await worker.complete(lease!);
    await site.history.record([birth, transition!]);
    site.recorder.keep(transition!);
    await site.recorder.flush();
    expect(await site.broker.readOutbox(0, 0, 10)).toEqual([]);
    expect(await site.broker.get([birth.task.id])).toEqual([undefined]);
  });

  it.each([
    ["its end is told without what was asked", {}, { payloadOmitted: true }],
    ["a unique key is won with its row", { terms: { batchId: "b" } }, {}],
    ["an idempotency key is won with its row", { idempotencyKey: "k" }, {}],
  ])("is told for itself where %s", async (_, change, omitted) => {
    const { site, worker, told } = await start();
    const birth = await world.relaxed(site, change);
    site.recorder.keep(birth);
    const [lease] = await worker.lease(birth.task);
    const { transition } = await worker.complete(lease!);
    site.recorder.keep({ ...transition!, ...omitted });
    await site.recorder.flush();
    expect(versions(told)).toEqual([[1, transition!.task.version]]);
    expect(world.row(birth.task.id)?.status).toBe("completed");
    expect(await site.broker.readOutbox(0, 0, 10)).toEqual([]);
  });
});
