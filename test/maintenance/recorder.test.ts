import { afterEach, describe, expect, it } from "vitest";
import type { Transition } from "../../src/broker/broker.js";
import { DroverError } from "../../src/errors.js";
import type { History, RecordOutcome, Told } from "../../src/history/history.js";
import { limits } from "../../src/limits.js";
import { over, type Site, submit, submitted, Worker, World, type WorldOptions } from "./world.js";

let world: World;
afterEach(() => world.stop());

/** A site whose partition is open, with nothing but its recorder at work. */
async function start(options: WorldOptions = {}): Promise<{ site: Site; worker: Worker }> {
  world = new World(options);
  const site = await world.site();
  await site.broker.open(0, 1);
  await site.recorder.start();
  const worker = new Worker(site.broker);
  await worker.open();
  return { site, worker };
}

/** History whose answers wait until the test lets them go; keeps what it was asked. */
function gated() {
  const calls: { transitions: readonly Told[]; go: () => void }[] = [];
  const wrapHistory = (history: History): History =>
    over(history, {
      async record(transitions) {
        await new Promise<void>((resolve) => calls.push({ transitions, go: resolve }));
        return history.record(transitions);
      },
    });
  const told = () =>
    calls.map(({ transitions }) => transitions.map(({ task }) => `${task.id} ${task.version}`));
  return { calls, told, wrapHistory };
}

const change = (world: World, id: string, version: number): Transition => ({
  partition: 0,
  outboxId: undefined,
  outboxPlace: 0,
  task: { ...world.row(id)!, version },
  payloadOmitted: true,
  attempt: undefined,
});

describe("flushing", () => {
  it("writes what came in one turn together, and tells the broker afterwards", async () => {
    const { site, worker } = await start();
    const ids: string[] = [];
    for (let n = 0; n < 20; n += 1) ids.push(await submit(site, world.tasks.task()));
    const leases = await worker.lease(world.row(ids[0]!)!, 20);
    const replies = await Promise.all(leases.map((lease) => worker.complete(lease)));
    const outcomes = await Promise.all(replies.map((r) => site.recorder.record(r.transition!)));
    expect(outcomes).toEqual(Array.from({ length: 20 }, () => "applied"));
    expect(site.count("history.recorded")).toBe(1);
    expect(ids.map((id) => world.row(id)?.status)).toEqual(ids.map(() => "completed"));
    expect(await site.broker.readOutbox(0, 0, 100)).toEqual([]);
    expect(site.recorder.bytes).toBe(0);
  });

  it("tells of a task that ran here what its transition omits", async () => {
    const gate = gated();
    const { site, worker } = await start({ wrapHistory: gate.wrapHistory });
    const task = world.tasks.task({ payload: { contentType: "", data: Buffer.from("asked") } });
    await submit(site, task);
    const [lease] = await worker.lease(task, 1);
    site.recorder.running(lease!.task);
    const { transition } = await worker.complete(lease!);
    const done = site.recorder.record(transition!);
    await world.turn();
    const [told] = gate.calls[0]!.transitions;
    expect(told?.payloadOmitted).toBe(true);
    expect(told?.asked?.payload).toEqual(task.payload);
    gate.calls[0]!.go();
    expect(await done).toBe("applied");
    expect(world.row(task.id)?.payload).toEqual(task.payload);
  });

  it("writes what came during a flush together with the next, each task in its order", async () => {
    const gate = gated();
    const { site } = await start({ wrapHistory: gate.wrapHistory });
    const [a, b] = [world.tasks.task(), world.tasks.task()];
    for (const task of [a, b]) await submit(site, task);
    const done: Promise<RecordOutcome>[] = [];
    const give = async (id: string, version: number) => {
      done.push(site.recorder.record(change(world, id, version)));
      await world.turn();
    };
    await give(a.id, 2);
    await give(a.id, 3);
    await give(b.id, 2);
    expect(gate.told()).toEqual([[`${a.id} 2`]]);
    gate.calls[0]!.go();
    await world.turn();
    expect(gate.told()[1]).toEqual([`${a.id} 3`, `${b.id} 2`]);
    gate.calls[1]!.go();
    expect(await Promise.all(done)).toEqual(["applied", "applied", "applied"]);
  });

  it("takes at most 500 transitions at a time", async () => {
    const gate = gated();
    const { site } = await start({ wrapHistory: gate.wrapHistory });
    const done = Array.from({ length: 2_500 }, () =>
      site.recorder.record(submitted(world.tasks.task(), undefined)),
    );
    await world.turn();
    while (gate.calls.some((call) => call.transitions.length > 0)) {
      const call = gate.calls.shift()!;
      expect(call.transitions.length).toBeLessThanOrEqual(limits.recordBatch);
      call.go();
      await world.turn();
    }
    expect(await Promise.all(done)).toHaveLength(2_500);
    expect(world.historyStore.tasks.size).toBe(2_500);
  });

  it("gives one answer to an outbox entry that is told twice", async () => {
    const { site } = await start();
    const entry = await world.relaxed(site);
    const first = site.recorder.record(entry);
    const second = site.recorder.record({ ...entry });
    expect(second).toBe(first);
    await site.recorder.flush();
    expect(await first).toBe("applied");
  });
});

describe("gathering what nobody waits for", () => {
  it("writes a RELAXED task that began and ended meanwhile once, in its final state", async () => {
    const gate = gated();
    const { site, worker } = await start({ wrapHistory: gate.wrapHistory });
    const entry = await world.relaxed(site);
    const { id } = entry.task;
    const done = [site.recorder.record(entry)];
    const [lease] = await worker.lease(entry.task);
    site.recorder.running(lease!.task);
    await world.clock.advance(40);
    const { transition } = await worker.complete(lease!);
    done.push(site.recorder.record(transition!));
    await world.clock.advance(59);
    expect(gate.calls).toEqual([]);
    await world.clock.advance(1);
    expect(gate.told()).toEqual([
      [`${id} ${entry.task.version}`, `${id} ${transition!.task.version}`],
    ]);
    gate.calls[0]!.go();
    expect(await Promise.all(done)).toEqual(["applied", "applied"]);
    expect(world.row(id)).toMatchObject({ status: "completed", payload: entry.task.payload });
    expect(await site.history.attempts("default", id)).toHaveLength(1);
    expect(await site.broker.readOutbox(0, 0, 10)).toEqual([]);
    await world.clock.advance(5_000);
    expect(gate.calls).toHaveLength(1);
    expect(world.clock.pending).toBe(0);
  });

  it("has one flush of them under way at a time, of the living those that waited half the time", async () => {
    const gate = gated();
    const { site } = await start({ wrapHistory: gate.wrapHistory });
    const ids: string[] = [];
    const give = async () => {
      const entry = await world.relaxed(site);
      ids.push(`${entry.task.id} 1`);
      site.recorder.record(entry).catch(() => undefined);
    };
    await give();
    await world.clock.advance(40);
    await give();
    await world.clock.advance(20);
    await give();
    await world.clock.advance(40);
    expect(gate.told()).toEqual([ids.slice(0, 2)]);
    await world.clock.advance(500);
    expect(gate.calls).toHaveLength(1);
    gate.calls[0]!.go();
    await world.turn();
    expect(gate.told()[1]).toEqual(ids.slice(2));
    gate.calls[1]!.go();
  });

  it("writes along whatever has ended, however young; what has not waits half the time", async () => {
    const gate = gated();
    const { site, worker } = await start({ wrapHistory: gate.wrapHistory });
    const old = await world.relaxed(site);
    site.recorder.keep(old);
    await world.clock.advance(90);
    const young = await world.relaxed(site);
    const waiting = await world.relaxed(site);
    site.recorder.keep(young);
    site.recorder.keep(waiting);
    const leases = await worker.lease(young.task, 3);
    const lease = leases.find(({ task }) => task.id === young.task.id)!;
    const { transition } = await worker.complete(lease);
    site.recorder.keep(transition!);
    await world.clock.advance(10);
    const first = gate.told()[0];
    gate.calls[0]!.go();
    await world.clock.advance(100);
    gate.calls[1]!.go();
    expect(first).toEqual([`${old.task.id} 1`, `${young.task.id} ${transition!.task.version}`]);
    expect(gate.told()[1]).toEqual([`${waiting.task.id} 1`]);
  });

  it("keeps nobody waiting: what is awaited goes at once, and takes its task's rest along", async () => {
    const gate = gated();
    const { site } = await start({ wrapHistory: gate.wrapHistory });
    const entry = await world.relaxed(site);
    site.recorder.record(entry).catch(() => undefined);
    const task = world.tasks.task();
    await submit(site, task);
    const done = site.recorder.record(change(world, task.id, 2));
    await world.turn();
    expect(gate.told()).toEqual([[`${task.id} 2`]]);
    gate.calls[0]!.go();
    expect(await done).toBe("applied");
    const later = { ...submitted(entry.task, "7-0"), payloadOmitted: true };
    const drained = site.recorder.record({ ...later, task: { ...entry.task, version: 2 } }, true);
    await world.turn();
    expect(gate.told()[1]).toEqual([`${entry.task.id} 1`, `${entry.task.id} 2`]);
    gate.calls[1]!.go();
    expect(await drained).toBe("applied");
  });

  it("holds live tasks back while many wait, so that they are written as they ended", async () => {
    const gate = gated();
    const { site } = await start({ wrapHistory: gate.wrapHistory });
    const many = Array.from({ length: 600 }, () => world.tasks.task({ durability: "relaxed" }));
    for (const task of many) {
      site.recorder.record(submitted(task, undefined)).catch(() => undefined);
    }
    const done = { ...many[7]!, status: "completed" as const, version: 3 };
    site.recorder.record(submitted(done, undefined)).catch(() => undefined);
    await world.clock.advance(limits.recordGatherMs);
    expect(gate.told()).toEqual([[`${done.id} 1`, `${done.id} 3`]]);
    gate.calls[0]!.go();
    await world.clock.advance(limits.recordHoldMs - limits.recordGatherMs - 1);
    expect(gate.calls).toHaveLength(1);
    await world.clock.advance(limits.recordGatherMs / 2 + 1);
    expect(gate.calls[1]!.transitions).toHaveLength(limits.recordBatch);
    gate.calls[1]!.go();
    await world.clock.advance(limits.recordGatherMs);
    expect(gate.calls[2]!.transitions).toHaveLength(99);
    gate.calls[2]!.go();
    await world.clock.advance(5_000);
    expect(world.historyStore.tasks.size).toBe(600);
    expect(world.clock.pending).toBe(0);
  });

  it("does not wait where memory runs short", async () => {
    const gate = gated();
    const { site } = await start({ wrapHistory: gate.wrapHistory, recorderBytes: 100_000 });
    const data = Buffer.alloc(20_000);
    const entries = [];
    for (let n = 0; n < 3; n += 1) {
      const entry = await world.relaxed(site, { payload: { contentType: "", data } });
      entries.push(site.recorder.record(entry));
      await world.turn();
      expect(gate.calls.length).toBe(n === 2 ? 1 : 0);
    }
    while (world.historyStore.tasks.size < 3) {
      for (const call of gate.calls) call.go();
      await world.turn();
    }
    expect(await Promise.all(entries)).toEqual(["applied", "applied", "applied"]);
  });

  it("is over when maintenance stops: what was gathered is written first", async () => {
    world = new World({});
    const site = await world.site();
    await site.maintenance.start();
    await world.clock.advance(10);
    const entry = await world.relaxed(site);
    const done = site.recorder.record(entry);
    await world.turn();
    expect(world.row(entry.task.id)).toBeUndefined();
    await site.maintenance.stop();
    expect(await done).toBe("applied");
    expect(world.row(entry.task.id)?.status).toBe("pending");
    expect(await site.broker.readOutbox(0, 0, 10)).toEqual([]);
    expect(world.clock.pending).toBe(0);
  });

  it("loses nothing when the coordinator dies meanwhile: another drains its outbox", async () => {
    const { site, worker } = await start();
    const entry = await world.relaxed(site);
    site.recorder.record(entry).catch(() => undefined);
    const [lease] = await worker.lease(entry.task);
    const { transition } = await worker.complete(lease!);
    site.recorder.record(transition!).catch(() => undefined);
    await site.recorder.stop();
    expect(world.row(entry.task.id)).toBeUndefined();
    const other = await world.site();
    await other.recorder.start();
    const left = await other.broker.readOutbox(0, 0, 10);
    expect(left).toHaveLength(2);
    const told = left.toReversed().map((one) => other.recorder.record(one, true));
    expect(await Promise.all(told)).toEqual(["applied", "applied"]);
    expect(world.row(entry.task.id)).toMatchObject({ status: "completed", attempt: 1 });
    expect(await other.history.attempts("default", entry.task.id)).toHaveLength(1);
    expect(await other.broker.readOutbox(0, 0, 10)).toEqual([]);
  });
});

describe("running", () => {
  it("is written only for a task that still runs a second later", async () => {
    const told: Transition[] = [];
    const wrapHistory = (history: History): History =>
      over(history, {
        record(transitions) {
          told.push(...transitions);
          return history.record(transitions);
        },
      });
    const { site, worker } = await start({ wrapHistory });
    const short = world.tasks.task();
    const long = world.tasks.task();
    await submit(site, short);
    await submit(site, long);
    const leases = await worker.lease(short, 2);
    for (const lease of leases) site.recorder.running(lease.task);
    await world.clock.advance(900);
    const { transition } = await worker.complete(leases[0]!);
    await site.recorder.record(transition!);
    expect(world.row(long.id)?.status).toBe("pending");
    await world.clock.advance(limits.recordGatherMs + 200);
    expect(world.row(long.id)).toMatchObject({ status: "running", attempt: 1 });
    expect(world.row(short.id)?.status).toBe("completed");
    const attempts = await site.history.attempts("default", long.id);
    expect(attempts).toMatchObject([{ attempt: 1, endedAt: undefined, outcome: undefined }]);
    expect(told.map(({ task }) => [task.id, task.status])).toEqual([
      [short.id, "completed"],
      [long.id, "running"],
    ]);
  });

  it("leaves no timer behind when nothing is left to watch", async () => {
    const { site, worker } = await start();
    const task = world.tasks.task();
    await submit(site, task);
    const [lease] = await worker.lease(task);
    site.recorder.running(lease!.task);
    await world.clock.advance(1_500);
    expect(world.clock.pending).toBe(0);
  });
});

describe("an outage of history", () => {
  it("withholds the answer until history is back, and loses nothing", async () => {
    const { site, worker } = await start();
    const task = world.tasks.task();
    await submit(site, task);
    const [lease] = await worker.lease(task);
    const { transition } = await worker.complete(lease!);
    world.historyDown = true;
    let answer: RecordOutcome | undefined;
    const done = site.recorder.record(transition!).then((outcome) => (answer = outcome));
    await world.clock.advance(60_000);
    expect(answer).toBeUndefined();
    expect(await site.broker.get([task.id])).toMatchObject([{ status: "completed" }]);
    world.historyDown = false;
    await world.clock.advance(5_000);
    expect(await done).toBe("applied");
    expect(world.row(task.id)?.status).toBe("completed");
  });

  it("tries again with growing pauses", async () => {
    let tries = 0;
    const wrapHistory = (history: History): History =>
      over(history, {
        record(transitions) {
          tries += 1;
          return history.record(transitions);
        },
      });
    const { site } = await start({ wrapHistory });
    world.historyDown = true;
    site.recorder.record(submitted(world.tasks.task(), undefined)).catch(() => undefined);
    await world.clock.advance(60_000);
    expect(tries).toBeGreaterThan(10);
    expect(tries).toBeLessThan(40);
  });

  it("keeps a bounded number of bytes and refuses the rest, which the outbox holds", async () => {
    const recorderBytes = 100_000;
    const { site } = await start({ recorderBytes });
    world.historyDown = true;
    const data = Buffer.alloc(10_000);
    const answers = Array.from({ length: 50 }, () => {
      const task = world.tasks.task({ durability: "relaxed", payload: { contentType: "", data } });
      return site.broker
        .enqueue([{ task, origin: "submit" }])
        .then(({ outcomes: [outcome] }) =>
          outcome!.kind === "enqueued" ? outcome!.outboxId : undefined,
        )
        .then((outboxId) => site.recorder.record(submitted(task, outboxId)));
    });
    const settled = Promise.allSettled(answers);
    await world.clock.advance(10_000);
    expect(site.recorder.bytes).toBeLessThanOrEqual(recorderBytes);
    world.historyDown = false;
    await world.clock.advance(5_000);
    const refused = (await settled).filter((answer) => answer.status === "rejected");
    expect(refused.length).toBe(42);
    expect(
      refused.every(({ reason }) => (reason as DroverError).id === "history_unavailable"),
    ).toBe(true);
    expect(world.historyStore.tasks.size).toBe(8);
    expect(await site.broker.readOutbox(0, 0, 100)).toHaveLength(42);
  });

  it("ends with the recorder: what is not written is given up, the outbox keeps it", async () => {
    const { site, worker } = await start();
    const task = world.tasks.task();
    await submit(site, task);
    const [lease] = await worker.lease(task);
    const { transition } = await worker.complete(lease!);
    world.historyDown = true;
    const done = site.recorder.record(transition!);
    await world.turn();
    const flushed = site.recorder.flush();
    const stopped = site.recorder.stop();
    await expect(done).rejects.toMatchObject({ id: "history_unavailable" });
    await stopped;
    await flushed;
    expect(await site.broker.readOutbox(0, 0, 100)).toHaveLength(1);
    expect(world.clock.pending).toBe(0);
    await expect(site.recorder.record(transition!)).rejects.toMatchObject({
      id: "history_unavailable",
    });
  });
});

describe("what does not fit", () => {
  it("fetches the payload when the insert never came, because its coordinator died", async () => {
    const { site, worker } = await start();
    const task = world.tasks.task({ durability: "relaxed" });
    await site.broker.enqueue([{ task, origin: "submit" }]);
    const [lease] = await worker.lease(task);
    const { transition } = await worker.complete(lease!);
    const told = {
      ...transition!,
      task: { ...transition!.task, payload: undefined },
      payloadOmitted: true,
    };
    expect(await site.recorder.record(told, true)).toBe("applied");
    expect(world.row(task.id)).toMatchObject({ status: "completed", payload: task.payload });
  });

  it("waits a while for a row that is not there, then leaves it to the outbox", async () => {
    const { site } = await start();
    const task = world.tasks.task();
    const told = { ...submitted(task, "none"), payloadOmitted: true };
    let answer: RecordOutcome | undefined;
    const done = site.recorder.record(told).then((outcome) => (answer = outcome));
    await world.clock.advance(9_000);
    expect(answer).toBeUndefined();
    await world.clock.advance(2_000);
    expect(await done).toBe("missing");
    expect(site.recorder.bytes).toBe(0);
    expect(world.clock.pending).toBe(0);
  });

  it("writes the update as soon as its row is there", async () => {
    const { site } = await start();
    const task = world.tasks.task();
    const told = { ...submitted({ ...task, version: 2 }, "none"), payloadOmitted: true };
    const done = site.recorder.record(told);
    await world.clock.advance(1_000);
    await site.history.insert([task]);
    await world.clock.advance(1_000);
    expect(await done).toBe("applied");
    expect(world.row(task.id)?.version).toBe(2);
  });

  it("lets the end of a run win over a live row that counts further", async () => {
    const { site, worker } = await start();
    const task = world.tasks.task();
    await submit(site, task);
    await site.history.record([
      { ...submitted({ ...task, version: 9 }, undefined), payloadOmitted: true },
    ]);
    const [lease] = await worker.lease(task);
    const { transition } = await worker.complete(lease!);
    expect(transition!.task.version).toBeLessThan(9);
    expect(await site.recorder.record(transition!)).toBe("applied");
    expect(world.row(task.id)).toMatchObject({ status: "completed", version: 10 });
    expect(await site.broker.readOutbox(0, 0, 100)).toEqual([]);
    expect(await site.broker.get([task.id])).toEqual([undefined]);
  });

  it("changes nothing when the end of a run is told again", async () => {
    const { site, worker } = await start();
    const task = world.tasks.task();
    await submit(site, task);
    const [lease] = await worker.lease(task);
    const { transition } = await worker.complete(lease!);
    expect(await site.recorder.record(transition!)).toBe("applied");
    const row = world.row(task.id);
    expect(await site.recorder.record(transition!)).toBe("superseded");
    expect(world.row(task.id)).toBe(row);
  });

  it("refuses a second, different end of a run, and frees its outbox entry", async () => {
    const { site, worker } = await start();
    const task = world.tasks.task();
    await submit(site, task);
    const [lease] = await worker.lease(task);
    const { transition } = await worker.complete(lease!);
    await site.history.record([
      { ...transition!, task: { ...transition!.task, status: "cancelled", fencingToken: 0 } },
    ]);
    expect(await site.recorder.record(transition!)).toBe("refused");
    expect(await site.broker.readOutbox(0, 0, 100)).toEqual([]);
  });

  it("does not let one row that history cannot write hold up the others", async () => {
    let bad = "";
    const wrapHistory = (history: History): History =>
      over(history, {
        async record(transitions) {
          if (transitions.some((t) => t.task.id === bad)) {
            throw new DroverError("internal", "invalid byte sequence");
          }
          return history.record(transitions);
        },
      });
    const { site } = await start({ wrapHistory });
    const all = Array.from({ length: 9 }, () => world.tasks.task());
    bad = all[4]!.id;
    const answers = await Promise.allSettled(
      all.map((task) => site.recorder.record(submitted(task, undefined))),
    );
    expect(answers.filter((answer) => answer.status === "fulfilled")).toHaveLength(8);
    expect(answers[4]).toMatchObject({ status: "rejected", reason: { id: "internal" } });
    expect(site.count("loop.failed")).toBe(1);
    expect(site.recorder.bytes).toBe(0);
  });
});
