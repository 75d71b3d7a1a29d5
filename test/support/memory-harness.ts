import type { Broker } from "../../src/broker/broker.js";
import { createMemoryBroker, createMemoryStore } from "../../src/broker/memory-broker.js";
import type { LaneState } from "../../src/broker/memory/lanes.js";
import type { Partition } from "../../src/broker/memory/partition.js";
import type { TaskRecord } from "../../src/broker/memory/record.js";
import type { MemoryStore } from "../../src/broker/memory/store.js";
import type { BrokerHarness, BrokerHarnessOptions } from "../conformance/broker-harness.js";
import type { Status } from "../../src/task/task.js";
import { isOver, waitEnd } from "../../src/task/times.js";
import { createManualClock, type ManualClock } from "./manual-clock.js";
import { createSeededRandom } from "./seeded-random.js";

export interface MemoryHarness extends BrokerHarness {
  readonly store: MemoryStore;
  readonly clock: ManualClock;
}

export async function makeMemoryBroker({
  partitions = 1,
  bounds = {},
  audited = true,
}: BrokerHarnessOptions & { audited?: boolean } = {}): Promise<MemoryHarness> {
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
    ...(audited ? { audit: async () => store.partitions.flatMap(auditPartition) } : {}),
    async stop() {
      for (const broker of started) await broker.stop();
    },
  };
}

/** Walks the raw structures: each record must stand where its status says, and nowhere else. */
const auditPartition = (partition: Partition): string[] => [
  ...auditLanes(partition),
  ...auditRecords(partition),
  ...auditCounts(partition),
];

function* lanesOf(partition: Partition): Generator<LaneState> {
  for (const queue of partition.queues.values()) yield* queue.lanes.values();
}

function auditLanes(partition: Partition): string[] {
  const wrong: string[] = [];
  for (const lane of lanesOf(partition)) {
    const { length } = [...lane.records()];
    if (length !== lane.ready) wrong.push(`lane ${lane.key}: ready ${lane.ready}, not ${length}`);
    const listed = partition.readyLanes.has(lane);
    if (listed !== length > 0) wrong.push(`lane ${lane.key}: listed ${listed}`);
  }
  return wrong;
}

function placesIn(partition: Partition): Map<string, string[]> {
  const places = new Map<string, string[]>();
  const stands = ({ task: { id } }: TaskRecord, place: string) =>
    places.set(id, [...(places.get(id) ?? []), place]);
  for (const lane of lanesOf(partition)) {
    for (const record of lane.records()) stands(record, "pending");
  }
  for (const record of partition.delayed.values()) stands(record, "delayed");
  for (const { record } of partition.deadlines.values()) stands(record, "running");
  for (const { record } of partition.waits.values()) stands(record, "timed");
  for (const { record } of partition.cancels.values()) stands(record, "asked to stop");
  return places;
}

function auditRecords(partition: Partition): string[] {
  const wrong: string[] = [];
  const places = placesIn(partition);
  const told = new Set(partition.outbox.transitions().map(({ task }) => task.id));
  for (const record of partition.records.values()) {
    const { id, status, completedAt, cancelRequestedAt, sessionId } = record.task;
    const expected = [...placesOf[status]];
    if (status === "running" && cancelRequestedAt !== undefined) expected.push("asked to stop");
    const waits = expected.length > 0 && status !== "running";
    const timed = waitEnd(record.task) !== undefined || cancelRequestedAt !== undefined;
    if (waits && timed) expected.push("timed");
    // Past its time: leases take it out of their way, the next sweep ends it.
    const aside = status === "pending" && isOver(record.task, partition.now());
    const stood = places.get(id) ?? [];
    const found = (aside && !stood.includes("pending") ? ["pending", ...stood] : stood).join();
    places.delete(id);
    if (found !== expected.join()) wrong.push(`${id} ${status}: in ${found}`);
    const session = partition.sessions.get(sessionId);
    const held = session?.leases.has(record) ?? false;
    if (session && held !== (status === "running")) wrong.push(`${id}: held ${held}`);
    if (expected.length > 0) continue;
    if (completedAt === undefined) wrong.push(`${id}: ended without a time`);
    if (!told.has(id)) wrong.push(`${id}: ended untold`);
  }
  for (const [id, found] of places) wrong.push(`${id}: no record, but in ${found.join()}`);
  return wrong;
}

function auditCounts(partition: Partition): string[] {
  const counts = new Map<string, number>();
  for (const { task } of partition.records.values()) {
    if (placesOf[task.status].length === 0) continue;
    const key = [task.namespace, task.queue, task.priority, task.status].join("/");
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const wrong: string[] = [];
  for (const namespace of partition.counts.keys()) {
    for (const { queue, priority, status, tasks } of partition.countsOf(namespace)) {
      const key = [namespace, queue, priority, status].join("/");
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
