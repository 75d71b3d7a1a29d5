/** What the Redis broker does while a Redis Cluster changes under it. */
import { Redis } from "ioredis";
import { afterAll, describe, expect, it } from "vitest";
import type { Broker, Lease } from "../../src/broker/broker.js";
import { partitionKey } from "../../src/broker/redis/keys.js";
import { createRedisBroker } from "../../src/broker/redis/redis-broker.js";
import { redirectionOf, urlOfNode } from "../../src/broker/redis/slots.js";
import { systemClock } from "../../src/clock.js";
import { createEvents } from "../../src/telemetry/events.js";
import { partitionOfSlot, slotOfQueue } from "../../src/task/ids.js";
import type { Task } from "../../src/task/task.js";
import { type OwnCluster, ownCluster } from "../support/cluster.js";
import { auditPartition } from "../support/redis-audit.js";
import { createSeededRandom } from "../support/seeded-random.js";
import { freshPrefix, sharedRedis } from "../support/stores.js";
import { createTaskFactory, laneOf, sessionInfo } from "../support/task-factory.js";

const partitions = 16;
const factory = createTaskFactory(createSeededRandom(23), () => systemClock.now());
const sessionId = "session-1";
const pollMs = 10;

async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  const signal = AbortSignal.timeout(15_000);
  while (!(await holds())) {
    await systemClock.sleep(pollMs, signal).catch(() => expect.fail(`not in 15 s: ${what}`));
  }
}

/** A queue in a partition of this node that no other queue of the world has. */
interface Place {
  readonly queue: string;
  readonly partition: number;
  readonly base: string;
}

class World {
  readonly cluster: OwnCluster;
  readonly prefix = freshPrefix();
  readonly events = createEvents();
  readonly broker: Broker;

  constructor(cluster: OwnCluster, seeds: readonly string[]) {
    this.cluster = cluster;
    this.broker = this.another(seeds);
  }

  another(seeds: readonly string[]): Broker {
    const { prefix, events } = this;
    const random = createSeededRandom(5);
    return createRedisBroker({
      url: seeds,
      clock: systemClock,
      random,
      prefix,
      partitions,
      events,
    });
  }

  async start(): Promise<void> {
    await this.broker.start();
    for (let p = 0; p < partitions; p += 1) await this.broker.open(p, 1);
    const all = Array.from({ length: partitions }, (_, partition) => partition);
    const open = { sessionId, generation: 1, leaseMs: 15_000, heldTokens: [], partitions: all };
    await this.broker.openSession({ ...open, info: sessionInfo({}) });
  }

  async placeOn(node: number): Promise<Place> {
    for (let n = 0; ; n += 1) {
      const queue = `queue-${n}`;
      const partition = partitionOfSlot(slotOfQueue("default", queue), partitions);
      const base = partitionKey(this.prefix, partition);
      if ((await this.cluster.holderOf(base)) === node) return { queue, partition, base };
    }
  }

  async submit(place: Place, broker = this.broker): Promise<Task> {
    const task = factory.task({ queue: place.queue, durability: "relaxed" });
    const { outcomes } = await broker.enqueue([{ task, origin: "submit" }]);
    expect(outcomes[0]).toMatchObject({ kind: "enqueued" });
    return task;
  }

  async lease(place: Place, task: Task, broker = this.broker): Promise<Lease[]> {
    const sessions = [{ sessionId, generation: 1, slots: 1 }];
    const request = { partition: place.partition, lanes: [laneOf(task)], sessions };
    const reply = await broker.lease({ ...request, maxBytes: 1_048_576 });
    return reply.kind === "ok" ? reply.leases : [];
  }

  async complete(lease: Lease): Promise<void> {
    const settlement = { token: lease.token, sessionId, kind: "complete", result: undefined };
    const [reply] = await this.broker.settle([settlement as never]);
    expect(reply!.verdict).toBe("accepted");
  }

  async audit({ base, partition }: Place): Promise<string[]> {
    const redis = this.cluster.redises[await this.cluster.holderOf(base)]!;
    return auditPartition(redis, this.prefix, partition);
  }
}

const worlds: World[] = [];
afterAll(async () => {
  for (const { broker } of worlds) await broker.stop();
});

let started: Promise<OwnCluster> | undefined;
async function world(seeds: (cluster: OwnCluster) => readonly string[]): Promise<World> {
  const cluster = await (started ??= ownCluster(3, true));
  const made = new World(cluster, seeds(cluster));
  worlds.push(made);
  await made.start();
  return made;
}

const away = expect.objectContaining({ id: "broker_unavailable" }) as unknown;

describe("on a Redis Cluster", () => {
  it("a slot on the move freezes its partition, which is COLD, and whole, afterwards", async () => {
    const its = await world(({ urls }) => [urls[0]!]);
    const [place, other] = [await its.placeOn(1), await its.placeOn(2)];
    const held = (await its.lease(place, await its.submit(place)))[0]!;
    const waiting = await its.submit(place);
    const waits = its.broker.waitForWork(
      place.partition,
      [{ ...laneOf(waiting), type: "other" }],
      10_000,
      new AbortController().signal,
    );
    const source = its.cluster.redises[1]!;
    await until("blocked", async () => /blocked_clients:[1-9]/.test(await source.info("clients")));
    const late = its.another([its.cluster.urls[2]!]);
    await late.start();
    await its.cluster.moveSlot(place.base, 0, {
      moving: async () => {
        await expect(its.submit(place)).rejects.toEqual(away);
        await until("frozen", () => !its.broker.serves(place.partition));
      },
      halfway: async () => {
        await expect(its.submit(place, late)).rejects.toEqual(away);
        await expect(its.broker.get([waiting.id])).rejects.toEqual(away);
        const renewal = { sessionId, generation: 1, leaseMs: 15_000 };
        const renewed = await its.broker.renewSessions(place.partition, [renewal]);
        expect(renewed).toEqual(["renewed"]);
        expect(its.broker.serves(other.partition)).toBe(true);
        await its.complete((await its.lease(other, await its.submit(other)))[0]!);
      },
    });
    await until("served again", () => its.broker.serves(place.partition));
    await expect(waits).resolves.toBeUndefined();

    const status = await its.broker.status(place.partition);
    expect(status).toMatchObject({ cold: true, epoch: 1 });
    expect(status.openedOn).not.toBe(status.storeId);
    expect(await its.lease(place, waiting)).toEqual([]);
    await its.complete(held);
    await its.broker.open(place.partition, 2);
    const [granted] = await its.lease(place, waiting);
    expect(granted!.task.id).toBe(waiting.id);
    expect(granted!.task.fencingToken).toBeGreaterThan(held.task.fencingToken);
    await its.complete(granted!);
    expect(await its.audit(place)).toEqual([]);
    await late.stop();
  });

  it("a slot that has moved behind its back is found by one refused call", async () => {
    const its = await world(({ urls }) => urls);
    const place = await its.placeOn(2);
    const task = await its.submit(place);
    await its.cluster.moveSlot(place.base, 1);
    // Not leased there as if nothing had happened: what it was opened on is another Redis.
    expect(await its.lease(place, task)).toEqual([]);
    const [found] = await its.broker.get([task.id]);
    expect(found).toMatchObject({ id: task.id, status: "pending" });
    expect(await its.broker.status(place.partition)).toMatchObject({ cold: true });
  });

  it("a primary that is killed takes its own partitions along, and brings them back", async () => {
    const its = await world(({ urls }) => [urls[1]!]);
    const [place, other] = [await its.placeOn(1), await its.placeOn(2)];
    const hints = new Set<string>();
    its.broker.onHint((hint) => void hints.add(hint.kind));
    const task = await its.submit(place);
    await its.cluster.nodes[1]!.kill();
    await until("known to be away", () => !its.broker.serves(place.partition));
    expect(its.broker.available).toBe(true);
    await expect(its.submit(place)).rejects.toEqual(away);
    await its.complete((await its.lease(other, await its.submit(other)))[0]!);
    const all = Array.from({ length: partitions }, (_, partition) => partition);
    const again = { sessionId, generation: 2, leaseMs: 15_000, heldTokens: [], partitions: all };
    const opened = await its.broker.openSession({ ...again, info: sessionInfo({}) });
    expect(opened).toMatchObject({ kind: "opened", resumed: true });
    const missed = opened.kind === "opened" ? opened.unreached : [];
    expect(missed).toContain(place.partition);
    expect(missed).toEqual(all.filter((partition) => !its.broker.serves(partition)));
    // The node that was listened to is gone, and another one tells the news.
    hints.delete("queue");
    await until("news by another node", async () => {
      await its.broker.setQueue({ namespace: "default", queue: other.queue, paused: false });
      return hints.has("queue");
    });
    await its.cluster.nodes[1]!.restart();
    await its.cluster.whole();
    await until("served again", () => its.broker.serves(place.partition));
    const [found] = await its.broker.get([task.id]);
    expect(found).toMatchObject({ id: task.id, status: "pending" });
    expect(await its.broker.status(place.partition)).toMatchObject({ cold: true });
  });

  it("a primary that hangs is given up after 2 s, and asked again when it answers", async () => {
    const its = await world(({ urls }) => urls.slice(0, 2));
    const [place, other] = [await its.placeOn(1), await its.placeOn(0)];
    const task = await its.submit(place);
    its.cluster.nodes[1]!.freeze();
    try {
      await expect(its.submit(place)).rejects.toEqual(away);
      await until("given up", () => !its.broker.serves(place.partition));
      const askedAt = systemClock.monotonic();
      await expect(its.submit(place)).rejects.toEqual(away);
      await its.complete((await its.lease(other, await its.submit(other)))[0]!);
      expect(systemClock.monotonic() - askedAt).toBeLessThan(1_500);
    } finally {
      its.cluster.nodes[1]!.thaw();
    }
    await its.cluster.whole();
    await until("served again", () => its.broker.serves(place.partition));
    // The same process as before: nothing was lost, and nothing has to be put in again.
    expect((await its.lease(place, task))[0]!.task.id).toBe(task.id);
  });

  it("a replica that takes over serves at an address nobody named", async () => {
    const its = await world(({ urls }) => [urls[2]!]);
    const place = await its.placeOn(2);
    const held = (await its.lease(place, await its.submit(place)))[0]!;
    const waiting = await its.submit(place);
    const before = await its.broker.status(place.partition);
    const replica = await its.cluster.addReplica(2);
    await replica.call("CLUSTER", "FAILOVER");
    await until("the replica took over", async () => (await replica.role())[0] === "master");
    await until("found", async () => {
      const status = await its.broker.status(place.partition).catch(() => before);
      return status.storeId !== before.storeId;
    });
    expect(await its.broker.status(place.partition)).toMatchObject({ cold: true, epoch: 1 });
    expect(await its.lease(place, waiting)).toEqual([]);
    await its.complete(held);
    await its.broker.open(place.partition, 2);
    await its.complete((await its.lease(place, waiting))[0]!);
    expect(await its.audit(place)).toEqual([]);
  });

  it("several addresses that are no Cluster are refused", async () => {
    const { url } = await sharedRedis();
    const random = createSeededRandom(3);
    const twice = [url, url.replace("127.0.0.1", "localhost")];
    const broker = createRedisBroker({ url: twice, clock: systemClock, random });
    const refusal = { id: "config_invalid", field: "redis_url" };
    await expect(broker.start()).rejects.toMatchObject(refusal);
    await broker.stop();
  });
});

describe("what a node says of a slot", () => {
  it("names the host that was asked where it leaves its own out", () => {
    const moved = (message: string) => redirectionOf(new Error(message), "asked");
    expect(moved("MOVED 1 10.0.0.1:7000")).toEqual({ kind: "moved", address: "10.0.0.1:7000" });
    expect(moved("MOVED 1 :7000")).toEqual({ kind: "moved", address: "asked:7000" });
    expect(moved("MOVED 1 ::1:7000")).toEqual({ kind: "moved", address: "::1:7000" });
    expect(moved("ASK 1 10.0.0.1:7000")).toEqual({ kind: "moving" });
    expect(moved("CLUSTERDOWN The cluster is down")).toEqual({ kind: "down" });
    expect(moved("CLUSTERDOWN Hash slot not served")).toEqual({ kind: "homeless" });
    expect(moved("ERR unknown")).toBeUndefined();
  });

  it("is dialled with the scheme, user and password of the seed", () => {
    expect(urlOfNode("rediss://u:p%40@a:1?x=1", "::1:7000")).toBe("rediss://u:p%40@[::1]:7000?x=1");
    expect(
      new Redis(urlOfNode("redis://:pw@a", "b:7"), { lazyConnect: true }).options,
    ).toMatchObject({ host: "b", port: 7, password: "pw" });
  });
});
