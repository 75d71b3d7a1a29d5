import type { Broker } from "../../src/broker/broker.js";
import { createMemoryBroker, createMemoryStore } from "../../src/broker/memory-broker.js";
import type { Partition } from "../../src/broker/memory/partition.js";
import type { MemoryStore } from "../../src/broker/memory/store.js";
import type { BrokerHarness, BrokerHarnessOptions } from "../conformance/broker-harness.js";
import type { Status } from "../../src/task/task.js";
import { createManualClock, type ManualClock } from "./manual-clock.js";
import { createSeededRandom } from "./seeded-random.js";

export interface MemoryHarness extends BrokerHarness {
  readonly store: MemoryStore;
  readonly clock: ManualClock;
}

export async function makeMemoryBroker({
  partitions = 1,
  bounds = {},
}: BrokerHarnessOptions = {}): Promise<MemoryHarness> {
  const clock = createManualClock();
  const random = createSeededRandom(7);
  const store = createMemoryStore({ clock, random, partitions, bounds });
  const another = async (): Promise<Broker> => {
    const broker = createMemoryBroker({ clock, random, store });
    await broker.start();
    started.push(broker);
    return broker;
  };
  const started: Broker[] = [];
  return {
    store,
    clock,
    broker: await another(),
    another,
    advance: (ms) => clock.advance(ms),
    wipe: async () => store.wipe(),
    replace: async () => store.replace(),
    audit: async () => store.partitions.flatMap(auditPartition),
    async stop() {
      for (const broker of started) await broker.stop();
    },
  };
}

/** Walks the raw structures: each record must stand where its status says, and nowhere else. */
function auditPartition(partition: Partition): string[] {
  const wrong: string[] = [];
  const places = new Map<string, string[]>();
  const stands = (id: string, place: string) => places.set(id, [...(places.get(id) ?? []), place]);
  for (const queue of partition.queues.values()) {
    for (const lane of queue.lanes.values()) {
      const records = [...lane.records()];
      for (const record of records) stands(record.task.id, "pending");
      if (records.length !== lane.ready) wrong.push(`lane ${lane.key}: ready ${lane.ready}`);
      const listed = partition.readyLanes.has(lane);
      if (listed !== records.length > 0) wrong.push(`lane ${lane.key}: listed ${listed}`);
    }
  }
  for (const record of partition.delayed.values()) stands(record.task.id, "delayed");
  for (const { record } of partition.deadlines.values()) stands(record.task.id, "running");
  const due = new Set(Array.from(partition.cancels.values(), ({ record }) => record.task.id));
  const logged = new Map<string, number>();
  for (const { task } of partition.outbox.transitions()) {
    logged.set(task.id, (logged.get(task.id) ?? 0) + 1);
  }
  const counts = new Map<string, number>();
  for (const record of partition.records.values()) {
    const { task } = record;
    const expected = placesOf[task.status];
    const found = places.get(task.id) ?? [];
    places.delete(task.id);
    if (found.join() !== expected.join())
      wrong.push(`${task.id} ${task.status}: in ${found.join()}`);
    const asked = task.status === "running" && task.cancelRequestedAt !== undefined;
    if (due.has(task.id) !== asked) wrong.push(`${task.id}: cancel due ${due.has(task.id)}`);
    const session = partition.sessions.get(task.sessionId);
    const held = session?.leases.has(record) ?? false;
    if (session && held !== (task.status === "running")) wrong.push(`${task.id}: held ${held}`);
    if (expected.length === 0 && task.completedAt === undefined) wrong.push(`${task.id}: no end`);
    if (expected.length === 0 && !logged.has(task.id)) wrong.push(`${task.id}: ended untold`);
    if (expected.length > 0) {
      const key = JSON.stringify([task.namespace, task.queue, task.priority, task.status]);
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
  }
  for (const [id, found] of places) wrong.push(`${id}: no record, but in ${found.join()}`);
  for (const [namespace, rows] of partition.counts) {
    for (const [row, tasks] of rows) {
      const key = JSON.stringify([namespace, ...(JSON.parse(row) as unknown[])]);
      if (counts.get(key) !== tasks) wrong.push(`count ${key}: ${tasks}, not ${counts.get(key)}`);
      counts.delete(key);
    }
  }
  for (const [key, tasks] of counts) wrong.push(`count ${key}: none, not ${tasks}`);
  return wrong;
}

const placesOf: Record<Status, readonly string[]> = {
  blocked: [],
  pending: ["pending"],
  scheduled: ["delayed"],
  retrying: ["delayed"],
  running: ["running"],
  completed: [],
  failed: [],
  cancelled: [],
  expired: [],
};
