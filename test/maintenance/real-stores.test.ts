import { Redis } from "ioredis";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { Broker } from "../../src/broker/broker.js";
import { createRedisBroker } from "../../src/broker/redis/redis-broker.js";
import { systemClock as clock, systemRandom as random } from "../../src/clock.js";
import type { History } from "../../src/history/history.js";
import { createPostgresHistory } from "../../src/history/postgres/postgres-history.js";
import { limits } from "../../src/limits.js";
import { createMaintenance } from "../../src/maintenance/maintenance.js";
import { createRecorder, type HistoryRecorder } from "../../src/maintenance/recorder.js";
import {
  createEvents,
  type EventCatalog,
  type EventName,
  type Events,
} from "../../src/telemetry/events.js";
import { createTaskFactory } from "../support/task-factory.js";
import { freshSchema, ownRedis, sharedPostgres } from "../support/stores.js";
import { createDesk, Worker } from "./world.js";

interface RealSite {
  readonly broker: Broker;
  readonly history: History;
  readonly recorder: HistoryRecorder;
  readonly events: Events;
  readonly redisUrl: string;
  readonly schema: string;
}

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

/**
 * One coordinator's maintenance on a Redis of its own, which may be emptied, or beside another one
 * on the same stores.
 */
async function start(beside?: RealSite): Promise<RealSite> {
  const redisUrl = beside?.redisUrl ?? (await ownRedis()).url;
  const schema = beside?.schema ?? freshSchema();
  const { url } = await sharedPostgres();
  const events = createEvents();
  const broker = createRedisBroker({ url: redisUrl, clock, random });
  const history = createPostgresHistory({ url, schema, statementMs: 20_000 });
  const recorder = createRecorder({ broker, history, events, clock, random });
  const desk = createDesk(broker, recorder);
  const parts = { broker, history, desk, recorder, events, clock, random };
  const maintenance = createMaintenance(parts);
  await history.start();
  await broker.start();
  const opened = heard(events, "partition.rebuilt");
  await maintenance.start();
  stops.push(async () => {
    await maintenance.stop();
    await broker.stop();
    await history.stop();
  });
  if (!beside) await opened;
  return { broker, history, recorder, events, redisUrl, schema };
}

/** Resolves with the next such event. */
function heard(events: Events, wanted: EventName): Promise<void> {
  return new Promise((resolve) => {
    const end = events.subscribe((name) => {
      if (name !== wanted) return;
      end();
      resolve();
    });
  });
}

describe("on Redis and Postgres", () => {
  it("an emptied Redis is filled again, running work kept, and every task ends once", async () => {
    const { broker, history, recorder, events, redisUrl } = await start();
    const factory = createTaskFactory(random, () => clock.now());
    const tasks = Array.from({ length: 300 }, () => factory.task());
    const { marker } = await history.insert(tasks);
    await broker.enqueue(tasks.map((task) => ({ task, origin: "submit" as const })));
    await history.clearMarkers([marker!]);
    const worker = new Worker(broker);
    await worker.open();
    const running = await worker.lease(tasks[0]!, 5);
    expect(running).toHaveLength(5);

    const redis = new Redis(redisUrl);
    const [cold, rebuilt] = [heard(events, "partition.cold"), heard(events, "partition.rebuilt")];
    await redis.flushall();
    redis.disconnect();
    await cold;
    const again = await worker.open();
    const kept = again.kind === "opened" ? again.kept.length + again.missing.length : 0;
    expect(kept).toBe(5);
    const beating = new AbortController();
    const heartbeat = beat(worker, beating.signal);
    await rebuilt;
    expect((await worker.open()).kind).toBe("opened");

    const ends: string[] = [];
    for (let leases = running; leases.length > 0; leases = await worker.lease(tasks[0]!, 100)) {
      for (const lease of leases) {
        const { transition, verdict } = await worker.complete(lease);
        expect(verdict).toBe("accepted");
        expect(await recorder.record(transition!)).toBe("applied");
        ends.push(lease.task.id);
      }
    }
    beating.abort();
    await heartbeat;
    expect(ends.toSorted()).toEqual(tasks.map((task) => task.id).toSorted());
    const rows = await history.get("default", ends);
    expect(rows.every((row) => row?.status === "completed")).toBe(true);
    expect(await broker.readOutbox(0, 0, 10)).toEqual([]);
  }, 60_000);

  it("commits and outbox entries of a dead coordinator are found", async () => {
    const { broker, history, events } = await start();
    const factory = createTaskFactory(random, () => clock.now());
    const committed = factory.task();
    const relaxed = factory.task({ durability: "relaxed" });
    const [recovered, drained] = [
      heard(events, "commit.recovered"),
      heard(events, "outbox.drained"),
    ];
    await history.insert([committed]);
    await broker.enqueue([{ task: relaxed, origin: "submit" }]);
    await drained;
    expect(await history.get("default", [relaxed.id])).toMatchObject([
      { status: "pending", payload: { contentType: "application/json" } },
    ]);
    await recovered;
    expect(await broker.get([committed.id])).toMatchObject([{ status: "pending" }]);
    expect(await broker.readOutbox(0, 0, 10)).toEqual([]);
  }, 60_000);
});

describe("two coordinators on one Redis and Postgres", () => {
  it("write a RELAXED task that comes in by one and ends by the other once", async () => {
    const one = await start();
    const other = await start(one);
    let rows = 0;
    const count = { one: 0, other: 0 };
    for (const name of ["one", "other"] as const) {
      const { events } = name === "one" ? one : other;
      stops.push(async () => end());
      const end = events.subscribe((what, fields) => {
        if (what !== "history.recorded") return;
        rows += (fields as EventCatalog["history.recorded"]).rows;
        count[name] += 1;
      });
    }
    const factory = createTaskFactory(random, () => clock.now());
    const tasks = Array.from({ length: 400 }, () => factory.task({ durability: "relaxed" }));
    const worker = new Worker(other.broker);
    await worker.open();
    const { births } = await one.broker.enqueue(
      tasks.map((task) => ({ task, origin: "submit" }) as const),
    );
    const leases = [
      ...(await worker.lease(tasks[0]!, 200)),
      ...(await worker.lease(tasks[0]!, 200)),
    ];
    const ends = await Promise.all(leases.map((lease) => worker.complete(lease)));
    // Only now, so that however slow the machine is, it is not seen that they still ran.
    for (const each of births) one.recorder.born(each);
    for (const { transition } of ends) other.recorder.keep(transition!);
    await vi.waitFor(async () => expect(await one.broker.readOutbox(0, 0, 1)).toEqual([]), 10_000);
    const ids = tasks.map(({ id }) => id);
    const found = await one.history.get("default", ids);
    expect(found.every((row) => row?.status === "completed")).toBe(true);
    expect(rows).toBe(tasks.length);
    expect(count).toMatchObject({ one: 0 });
    expect(one.recorder.bytes).toBe(0);
  }, 60_000);
});

async function beat(worker: Worker, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await worker.renew();
    await clock.sleep(limits.heartbeatMs / 5, signal).catch(() => undefined);
  }
}
