import { afterEach, describe, expect, it } from "vitest";
import type { Births, Transition } from "../../src/broker/broker.js";
import type { History, Told } from "../../src/history/history.js";
import { limits } from "../../src/limits.js";
import { over, type Site, Worker, World, type WorldOptions } from "./world.js";

let world: World;
afterEach(() => world.stop());

interface Scene {
  readonly site: Site;
  readonly worker: Worker;
  /** What history was asked to record, call by call. */
  readonly told: Told[][];
}

async function start(options: WorldOptions = {}): Promise<Scene> {
  const told: Told[][] = [];
  const wrapHistory = (history: History): History =>
    over(history, {
      record(transitions) {
        told.push([...transitions]);
        return history.record(transitions);
      },
    });
  world = new World({ ...options, wrapHistory });
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

describe("births that came in together", () => {
  /** Of so many tasks, as a call of the broker gave them to the recorder. */
  async function born({ site }: Scene, count: number): Promise<Births> {
    const tasks = Array.from({ length: count }, () => world.tasks.task({ durability: "relaxed" }));
    const { births } = await site.broker.enqueue(
      tasks.map((task) => ({ task, origin: "submit" }) as const),
    );
    site.recorder.born(births[0]!);
    return births[0]!;
  }

  /** The end of the oldest that waits. */
  async function end({ site, worker }: Scene, births: Births): Promise<Transition> {
    const [lease] = await worker.lease(births.transitionOf(0).task);
    const { transition } = await worker.complete(lease!);
    site.recorder.keep(transition!);
    return transition!;
  }

  it("are not told for themselves once their tasks have ended", async () => {
    const scene = await start();
    const births = await born(scene, 3);
    expect(scene.site.recorder.bytes).toBe(births.bytes);
    await world.clock.advance(40);
    const ends: Transition[] = [];
    for (let n = 0; n < 3; n += 1) ends.push(await end(scene, births));
    await world.clock.advance(limits.recordGatherMs - 41);
    expect(scene.told).toEqual([]);
    await world.clock.advance(1);
    expect(scene.told.map((call) => call.map(({ task }) => task.id))).toEqual([births.ids]);
    expect(versions(scene.told)).toEqual([ends.map(({ task }) => task.version)]);
    expect(await scene.site.broker.readOutbox(0, 0, 10)).toEqual([]);
    expect(scene.site.recorder.bytes).toBe(0);
    expect(world.clock.pending).toBe(0);
  });

  it("are told as they came where their tasks go on", async () => {
    const scene = await start();
    const births = await born(scene, 3);
    const { task } = await end(scene, births);
    await world.clock.advance(limits.recordGatherMs);
    expect(versions(scene.told)).toEqual([[1, 1, task.version]]);
    const [done, ...others] = births.ids.map((id) => world.row(id));
    expect(done?.status).toBe("completed");
    expect(others).toMatchObject([1, 2].map((nth) => births.transitionOf(nth).task));
    expect(await scene.site.broker.readOutbox(0, 0, 10)).toEqual([]);
    expect(scene.site.recorder.bytes).toBe(0);
  });

  it("wait longer while many do, a batch at a time when their time has come", async () => {
    const scene = await start();
    const first = await born(scene, 700);
    await born(scene, 30);
    await world.clock.advance(limits.recordHoldMs - 1);
    expect(scene.told).toEqual([]);
    await world.clock.advance(limits.recordGatherMs / 2 + 1);
    expect(scene.told.map((call) => call.length)).toEqual([500, 230]);
    expect(scene.told.flat().map(({ task }) => task.id)).toEqual(
      expect.arrayContaining([...first.ids]),
    );
    expect(await scene.site.broker.readOutbox(0, 0, 10)).toEqual([]);
    expect(scene.site.recorder.bytes).toBe(0);
    expect(world.clock.pending).toBe(0);
  });

  it("are answered where somebody drains their entries meanwhile", async () => {
    const scene = await start();
    const births = await born(scene, 3);
    const left = await scene.site.broker.readOutbox(0, 0, 10);
    const answers = left.map((entry) => scene.site.recorder.record(entry, true));
    await scene.site.recorder.flush();
    expect(await Promise.all(answers)).toEqual(["applied", "applied", "applied"]);
    expect(scene.told.flat()).toHaveLength(3);
    expect(births.ids.map((id) => world.row(id)?.status)).toEqual(births.ids.map(() => "pending"));
    expect(scene.site.recorder.bytes).toBe(0);
  });

  it("are written by a flush, and come again after an outage with what happened since", async () => {
    const scene = await start();
    world.historyDown = true;
    const births = await born(scene, 2);
    await world.clock.advance(3_000);
    const { task } = await end(scene, births);
    await world.clock.advance(100);
    world.historyDown = false;
    const flushed = scene.site.recorder.flush();
    await world.clock.advance(5_000);
    await flushed;
    expect(world.row(task.id)?.status).toBe("completed");
    expect(world.row(births.ids[1]!)?.status).toBe("pending");
    expect(await scene.site.broker.readOutbox(0, 0, 10)).toEqual([]);
    expect(scene.site.recorder.bytes).toBe(0);
  });

  it("go behind what somebody waits for, before it", async () => {
    const scene = await start();
    const births = await born(scene, 2);
    const { task } = births.transitionOf(1);
    const later = { ...births.transitionOf(1), outboxId: "9-9", payloadOmitted: true };
    const change = { ...later, task: { ...task, version: 2 } };
    expect(await scene.site.recorder.record(change, true)).toBe("applied");
    expect(scene.told.map((call) => call.map((told) => [told.task.id, told.task.version]))).toEqual(
      [
        [
          [task.id, 1],
          [task.id, 2],
        ],
      ],
    );
  });

  it("are left to the outbox where there is no room for them, or the recorder stops", async () => {
    const scene = await start({ recorderBytes: 2_000 });
    await born(scene, 10);
    expect(scene.site.recorder.bytes).toBe(0);
    await born(scene, 1);
    expect(scene.site.recorder.bytes).toBeGreaterThan(0);
    await scene.site.recorder.stop();
    expect(scene.site.recorder.bytes).toBe(0);
    expect(await scene.site.broker.readOutbox(0, 0, 20)).toHaveLength(11);
    expect(world.clock.pending).toBe(0);
  });
});

describe("births whose tasks end by another coordinator", () => {
  interface Pair extends Scene {
    readonly other: Site;
    /** As they were told to the first. */
    born(count: number): Promise<Births>;
    /** Of the oldest that waits, as it was told to the other. */
    end(births: Births): Promise<Transition>;
  }

  async function pair(): Promise<Pair> {
    const scene = await start();
    const other = await world.site();
    await other.recorder.start();
    return {
      ...scene,
      other,
      async born(count) {
        const tasks = Array.from({ length: count }, () =>
          world.tasks.task({ durability: "relaxed" }),
        );
        const items = tasks.map((task) => ({ task, origin: "submit" }) as const);
        const { births } = await scene.site.broker.enqueue(items);
        scene.site.recorder.born(births[0]!);
        return births[0]!;
      },
      async end(births) {
        const [lease] = await scene.worker.lease(births.transitionOf(0).task);
        const { transition } = await scene.worker.complete(lease!);
        other.recorder.keep(transition!);
        return transition!;
      },
    };
  }

  const idsOf = (told: readonly Told[][]) => told.flat().map(({ task }) => task.id);

  it("are one row written once, and leave the outbox with a recorded end", async () => {
    const scene = await pair();
    const births = await scene.born(3);
    const ends: Transition[] = [];
    for (let n = 0; n < 3; n += 1) ends.push(await scene.end(births));
    await scene.other.recorder.flush();
    expect(await scene.site.broker.readOutbox(0, 0, 10)).toHaveLength(3);
    await world.clock.advance(limits.recordGatherMs);
    expect(versions(scene.told)).toEqual([ends.map(({ task }) => task.version)]);
    expect(await scene.site.broker.readOutbox(0, 0, 10)).toEqual([]);
    expect(scene.site.recorder.bytes).toBe(0);
    expect(births.ids.map((id) => world.row(id)?.status)).toEqual(Array(3).fill("completed"));
    expect(world.clock.pending).toBe(0);
  });

  it("wait for an end that is about to be recorded, while the others are written", async () => {
    const scene = await pair();
    const births = await scene.born(3);
    await world.clock.advance(limits.recordGatherMs - 1);
    const { task } = await scene.end(births);
    await world.clock.advance(1);
    expect(idsOf(scene.told)).toEqual(births.ids.slice(1));
    await world.clock.advance(2 * limits.recordGatherMs);
    expect(idsOf(scene.told)).toEqual([...births.ids.slice(1), task.id]);
    expect(world.row(task.id)?.status).toBe("completed");
    expect(await scene.site.broker.readOutbox(0, 0, 10)).toEqual([]);
    expect(scene.site.recorder.bytes).toBe(0);
    expect(world.clock.pending).toBe(0);
  });

  it("are written where nobody records the end for so long that a drain would", async () => {
    const scene = await pair();
    const births = await scene.born(1);
    const [lease] = await scene.worker.lease(births.transitionOf(0).task);
    await scene.worker.complete(lease!);
    await world.clock.advance(limits.outboxIdleMs);
    expect(scene.told).toEqual([]);
    await world.clock.advance(2 * limits.recordGatherMs);
    expect(versions(scene.told)).toEqual([[1]]);
    expect(await scene.site.broker.readOutbox(0, 0, 10)).toMatchObject([
      { task: { id: lease!.task.id, status: "completed" } },
    ]);
    expect(scene.site.recorder.bytes).toBe(0);
    expect(world.clock.pending).toBe(0);
  });

  it("are written by a flush, whoever is to record their ends", async () => {
    const scene = await pair();
    const births = await scene.born(1);
    await world.clock.advance(limits.recordGatherMs - 1);
    const { task } = await scene.end(births);
    await scene.site.recorder.flush();
    expect(versions(scene.told)).toEqual([[1]]);
    await scene.other.recorder.flush();
    expect(world.row(task.id)?.status).toBe("completed");
    expect(await scene.site.broker.readOutbox(0, 0, 10)).toEqual([]);
  });

  it("are written as they came where the broker is away, or does not know them any more", async () => {
    for (const lose of [() => world.brokerStore.wipe(), (site: Site) => site.broker.stop()]) {
      const scene = await pair();
      const births = await scene.born(2);
      await lose(scene.site);
      await world.clock.advance(limits.recordGatherMs);
      expect(versions(scene.told)).toEqual([[1, 1]]);
      expect(births.ids.map((id) => world.row(id)?.status)).toEqual(["pending", "pending"]);
      await world.stop();
    }
  });
});
