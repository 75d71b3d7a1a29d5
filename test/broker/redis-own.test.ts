import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Broker, Lease, LeaseRequest, SessionInfo } from "../../src/broker/broker.js";
import { laneOfText, laneText, partitionKey, queueOfText } from "../../src/broker/redis/keys.js";
import { headBytes, packTask, unpackTask } from "../../src/broker/redis/record.js";
import { createRedisBroker } from "../../src/broker/redis/redis-broker.js";
import { systemClock } from "../../src/clock.js";
import { limits } from "../../src/limits.js";
import { decodeLeaseToken, fencingEpochUnit } from "../../src/task/ids.js";
import type { Task } from "../../src/task/task.js";
import { makeRedisBroker, type RedisHarness } from "../support/redis-harness.js";
import { createSeededRandom } from "../support/seeded-random.js";
import { freshPrefix, ownRedis } from "../support/stores.js";
import { createTaskFactory, laneOf, sessionInfo } from "../support/task-factory.js";
import { itemOf } from "../support/outbox-items.js";

const factory = createTaskFactory(createSeededRandom(11), () => systemClock.now());
const sessionId = "session-1";

const submit = (broker: Broker, ...tasks: Task[]) =>
  broker.enqueue(tasks.map((task) => ({ task, origin: "submit" })));

async function holding(broker: Broker, change: Partial<SessionInfo> = {}): Promise<void> {
  const info = sessionInfo(change);
  const heldTokens: Uint8Array[] = [];
  const generation = 1;
  const open = { sessionId, generation, leaseMs: 15_000, info, heldTokens, partitions: [0] };
  expect((await broker.openSession(open)).kind).toBe("opened");
}

const request = (tasks: readonly Task[], slots: number): LeaseRequest => ({
  partition: 0,
  lanes: tasks.map(laneOf),
  sessions: [{ sessionId, generation: 1, slots }],
  maxBytes: 1_048_576,
});

async function withBroker(run: (broker: Broker, harness: RedisHarness) => Promise<void>) {
  const harness = await makeRedisBroker();
  try {
    await harness.broker.open(0, 1);
    await run(harness.broker, harness);
  } finally {
    await harness.stop();
  }
}

async function leaseOne(broker: Broker, task: Task): Promise<Lease> {
  const { leases } = await broker.lease(request([task], 1));
  expect(leases).toHaveLength(1);
  return leases[0]!;
}

describe("tombstones", () => {
  it("stay only where the outbox tells of an end, however long it does", async () => {
    await withBroker(async (broker, harness) => {
      await holding(broker);
      const complete = async () => {
        const task = factory.task();
        await submit(broker, task);
        const { token } = await leaseOne(broker, task);
        const end = { kind: "complete", result: undefined, token, sessionId } as const;
        const again = async () => (await broker.settle([end]))[0]!;
        return { task, again, reply: await again() };
      };
      const owed = await complete();
      const stretches: string[][] = [];
      for (let n = 0; n < 6; n += 1) {
        await harness.advance(limits.tombstoneMs);
        await holding(broker);
        const { reply, task } = await complete();
        expect(reply.transition!.task.id).toBe(task.id);
        await broker.recorded([itemOf(reply.transition!)]);
        await broker.sweep(0);
        stretches.push(await harness.redis.keys(`${partitionKey(harness.prefix, 0)}x:*`));
      }
      expect(stretches.at(-1)!.length).toBeLessThanOrEqual(3);
      expect(await owed.again()).toMatchObject({ verdict: "duplicate", recorded: false });
      expect((await broker.get([owed.task.id]))[0]).toMatchObject({ status: "completed" });
    });
  });
});

describe("a completion with its lease at hand", () => {
  it("is told from the lease: what cannot have changed is not read again", async () => {
    await withBroker(async (broker) => {
      await holding(broker);
      for (const durability of ["relaxed", "durable"] as const) {
        const task = factory.task({ durability });
        await submit(broker, task);
        const { token, task: leased } = await leaseOne(broker, task);
        const end = { kind: "complete", result: undefined, token, sessionId, leased } as const;
        const [reply] = await broker.settle([end]);
        expect(reply!.transition!.task.payload).toBe(leased.payload);
        expect(reply!.transition!.task.retry).toBe(leased.retry);
      }
    });
  });
});

describe("the packed record", () => {
  const text = fc.string({ unit: "binary", maxLength: 40 });
  const texts = fc.dictionary(text, text, { maxKeys: 4, noNullPrototype: true });
  const time = fc.integer({ min: 1, max: 2 ** 47 });
  const count = fc.integer({ min: 0, max: 60_000 });
  const bytes = fc.uint8Array({ maxLength: 3_000 });
  const tasks = fc.record({
    namespace: text,
    queue: text,
    type: text,
    priority: fc.constantFrom<Task["priority"]>(0, 1, 2, 3),
    payload: fc.option(fc.record({ contentType: text, data: bytes }), { nil: undefined }),
    maxRetries: count,
    runAt: fc.option(time, { nil: undefined }),
    timeoutMs: fc.integer({ min: 1, max: 604_800_000 }),
    groupKey: text,
    requiredLabels: texts,
    tags: fc.array(text, { maxLength: 4 }),
    idempotencyKey: text,
    retentionMs: fc.integer({ min: 0, max: 31_536_000_000 }),
    traceContext: texts,
    durability: fc.constantFrom<Task["durability"]>("durable", "relaxed"),
    createdAt: time,
    version: fc.integer({ min: 1, max: 2 ** 31 }),
    run: fc.integer({ min: 1, max: 60_000 }),
    attempt: fc.integer({ min: 1, max: 2 ** 31 }),
    retryCount: count,
    leaseLosses: count,
    releases: count,
    fencingToken: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    sessionId: text,
    workerId: text,
    readyAt: time,
    startedAt: fc.option(time, { nil: undefined }),
    error: fc.option(
      fc.record({ code: text, message: text, stack: text, retryable: fc.boolean() }),
      { nil: undefined },
    ),
  });

  it("gives back every task that it took", () => {
    fc.assert(
      fc.property(tasks, (fields) => {
        const task: Task = { ...factory.task(), ...fields };
        const packed = packTask(task, { inHistory: true, restored: true });
        const payload = packed.payloadApart && Buffer.from(packed.payloadApart);
        const back = unpackTask(task.id, packed.record, { payload });
        const plain = { ...back.payload, data: new Uint8Array(back.payload?.data ?? []) };
        expect({ ...back, payload: back.payload && plain }).toEqual(task);
      }),
      { numRuns: 300 },
    );
  });

  const few = fc.constantFrom("", "a", "b", "ab");
  const alike = fc.record({
    namespace: fc.constantFrom("default", "a"),
    queue: fc.constantFrom("default", "a", "b"),
    type: fc.constantFrom("a", "b", "ab"),
    groupKey: few,
    createdAt: fc.constantFrom(1, 60, 70, 2 ** 20, 2 ** 41),
    requiredLabels: fc.constantFrom({}, { a: "b" }),
    tags: fc.constantFrom([], ["a"], ["b"], ["a", "b"]),
    idempotencyKey: few,
    maxRetries: fc.constantFrom(3, 4),
    attempt: fc.constantFrom(0, 1),
    sessionId: fc.constantFrom("a", "b", "ba"),
    workerId: few,
    terms: fc.constantFrom(undefined, { deadline: 5 }),
    error: fc.constantFrom(undefined, { code: "a", message: "", retryable: true }),
  });

  it("is read alike whatever was read before, as much as tasks resemble each other", () => {
    fc.assert(
      fc.property(fc.array(alike, { minLength: 2, maxLength: 20 }), (lives) => {
        for (const fields of lives) {
          const task: Task = { ...factory.task(), ...fields };
          const { record } = packTask(task, { inHistory: true, restored: false });
          expect(unpackTask(task.id, record)).toEqual(task);
        }
      }),
      { numRuns: 200 },
    );
  });

  it("keeps a payload over 1 KiB out of the record", () => {
    const data = new Uint8Array(1_025);
    const task = factory.task({ payload: { contentType: "", data } });
    const packed = packTask(task, { inHistory: true, restored: false });
    expect(packed.payloadApart).toBe(data);
    expect(packed.record.length).toBeLessThan(headBytes + 100);
  });
});

describe("names in keys", () => {
  const name = fc.string({ unit: "binary", maxLength: 12 });
  const labels = fc.dictionary(name, name, { maxKeys: 3, noNullPrototype: true });
  const lane = fc.record({ namespace: name, queue: name, type: name, requiredLabels: labels });

  it("read back as they were written, and never as another lane's", () => {
    fc.assert(
      fc.property(lane, lane, (one, other) => {
        expect(laneOfText(laneText(one))).toEqual(one);
        const { namespace, queue } = one;
        expect(queueOfText(laneText(one))).toEqual({ namespace, queue });
        const same = JSON.stringify(sorted(one)) === JSON.stringify(sorted(other));
        expect(laneText(one) === laneText(other)).toBe(same);
      }),
    );
  });

  const sorted = ({ requiredLabels, ...rest }: ReturnType<typeof laneOf>) => [
    rest.namespace,
    rest.queue,
    rest.type,
    Object.entries(requiredLabels).sort(([a], [b]) => (a < b ? -1 : 1)),
  ];

  it("cannot leave the hash tag or reach another queue, whatever they hold", () =>
    withBroker(async (broker, { redis, prefix }) => {
      const evil = ["}{x}:", "7:default", "a\r\nFLUSHALL\r\n", "{other:0}:m", "\0", "q:1", "*"];
      const submitted = evil.map((queue) =>
        factory.task({ queue, type: queue, groupKey: queue, requiredLabels: { [queue]: queue } }),
      );
      await submit(broker, ...submitted);
      await holding(broker);
      for (const task of submitted) {
        expect((await leaseOne(broker, task)).task.id).toBe(task.id);
        expect(await broker.lanes("default", task.queue)).toEqual([laneOf(task)]);
      }
      const keys = await redis.keys(`*${prefix}*`);
      expect(keys.filter((key) => !key.startsWith(partitionKey(prefix, 0)))).toEqual([]);
      expect(await broker.counts("7:default")).toEqual([]);
    }));

  it("refuses a prefix that would move the hash tag", () => {
    const options = {
      url: "redis://localhost:1",
      clock: systemClock,
      random: createSeededRandom(1),
    };
    expect(() => createRedisBroker({ ...options, prefix: "a}b" })).toThrow(/prefix/);
    expect(() => createRedisBroker({ ...options, partitions: 3 })).toThrow(/power of two/);
  });
});

describe("the store's memory", () => {
  it("spends at most 500 bytes on a queued task with a payload of 100 bytes", async () => {
    const server = await ownRedis();
    const more = { testSkew: false, prefix: "drover" };
    const harness = await makeRedisBroker({ url: server.url, more });
    try {
      const used = async () =>
        Number(/used_memory:(\d+)/.exec(await harness.redis.info("memory"))![1]);
      const payload = { contentType: "application/json", data: new Uint8Array(100).fill(97) };
      const many = (count: number) =>
        Array.from({ length: count }, () => factory.task({ payload, queue: "reporting" }));
      await submit(harness.broker, ...many(1_000));
      const before = await used();
      for (let i = 0; i < 10; i += 1) await submit(harness.broker, ...many(2_000));
      const each = ((await used()) - before) / 20_000;
      expect(each).toBeLessThanOrEqual(500);
      expect(each).toBeGreaterThan(100);
    } finally {
      await harness.stop();
    }
  });
});

describe("fencing numbers", () => {
  it("keep every digit beyond 2^40, in the store, in the task and in the token", () =>
    withBroker(async (broker, { redis, prefix }) => {
      const epoch = 8_190;
      await broker.open(0, epoch);
      await holding(broker);
      const tasks = Array.from({ length: 5 }, () => factory.task());
      await submit(broker, ...tasks);
      const { leases } = await broker.lease(request(tasks.slice(0, 1), 5));
      const expected = tasks.map((_, i) => epoch * fencingEpochUnit + i + 1);
      expect(leases.map(({ task }) => task.fencingToken)).toEqual(expected);
      expect(leases.map(({ token }) => decodeLeaseToken(token)?.fencingToken)).toEqual(expected);
      const counter = await redis.hget(`${partitionKey(prefix, 0)}m`, "fc");
      expect(counter).toBe(String(expected.at(-1)));
    }));

  it("go on from the highest seen when the store's counter fell back", () =>
    withBroker(async (broker, { redis, prefix }) => {
      await holding(broker);
      const tasks = Array.from({ length: 2 }, () => factory.task());
      await submit(broker, ...tasks);
      const first = await leaseOne(broker, tasks[0]!);
      await redis.hset(`${partitionKey(prefix, 0)}m`, "fc", "0");
      const second = await leaseOne(broker, tasks[0]!);
      expect(second.task.fencingToken).toBe(first.task.fencingToken + 1);
    }));
});

describe("a store that forgets, hangs or fills", () => {
  it("loads its scripts again after SCRIPT FLUSH and FUNCTION FLUSH", async () => {
    const server = await ownRedis();
    const warnings: string[] = [];
    const more = { onWarning: (message: string) => void warnings.push(message) };
    const harness = await makeRedisBroker({ url: server.url, more });
    const { broker, redis } = harness;
    try {
      await broker.open(0, 1);
      await Promise.all([redis.script("FLUSH"), redis.function("FLUSH")]);
      const task = factory.task();
      const [reply] = await Promise.all([submit(broker, task), broker.now()]);
      expect(reply.outcomes).toMatchObject([{ kind: "enqueued", outboxId: undefined }]);
      expect((await broker.get([task.id]))[0]?.status).toBe("pending");
      // A library that Redis refuses, say for more than 200 locals, would go as scripts, unnoticed.
      expect(await redis.function("LIST")).toHaveLength(1);
      expect(warnings).toEqual([]);
    } finally {
      await harness.stop();
    }
  });

  it("works with scripts where the server takes no library of functions", async () => {
    const server = await ownRedis({ args: ["--rename-command", "FUNCTION", ""] });
    const warnings: string[] = [];
    const more = { onWarning: (message: string) => void warnings.push(message) };
    const harness = await makeRedisBroker({ url: server.url, more });
    const { broker, redis } = harness;
    try {
      await broker.open(0, 1);
      await redis.script("FLUSH");
      await holding(broker);
      const task = factory.task();
      await submit(broker, task);
      expect((await leaseOne(broker, task)).task.id).toBe(task.id);
      expect(warnings).toEqual([expect.stringMatching(/no library of functions \(ERR unknown/)]);
    } finally {
      await harness.stop();
    }
  });

  it("is COLD after FLUSHALL, and after a restart of the process", async () => {
    const server = await ownRedis({ appendonly: true, args: ["--appendfsync", "always"] });
    const more = { testStoreId: () => undefined };
    const harness = await makeRedisBroker({ url: server.url, more });
    const { broker, redis } = harness;
    try {
      await broker.open(0, 1);
      await holding(broker);
      const task = factory.task();
      await submit(broker, task);
      await server.restart();
      await until(() => broker.available);
      expect(await broker.status(0)).toMatchObject({ cold: true, epoch: 1 });
      expect((await broker.lease(request([task], 1))).kind).toBe("cold");
      await broker.open(0, 2);
      expect((await leaseOne(broker, task)).task.fencingToken).toBe(2 * fencingEpochUnit + 1);
      await redis.flushall();
      expect(await broker.status(0)).toMatchObject({ cold: true, openedOn: "", epoch: 0 });
      expect((await broker.lease(request([task], 1))).kind).toBe("cold");
    } finally {
      await harness.stop();
    }
  });

  it("rejects within 2 s when it hangs, and serves again on a new socket", async () => {
    const server = await ownRedis();
    const harness = await makeRedisBroker({ url: server.url });
    const { broker } = harness;
    try {
      await broker.open(0, 1);
      server.freeze();
      const asked = systemClock.monotonic();
      await expect(broker.now()).rejects.toMatchObject({ id: "broker_unavailable" });
      const waited = systemClock.monotonic() - asked;
      expect(waited).toBeGreaterThan(1_900);
      expect(waited).toBeLessThan(4_000);
      await until(() => !broker.available);
      await expect(broker.now()).rejects.toMatchObject({ id: "broker_unavailable" });
      server.thaw();
      await until(() => broker.available);
      expect(await broker.now()).toBeGreaterThan(0);
    } finally {
      server.thaw();
      await harness.stop();
    }
  });

  it("takes results, renewals and cancels over maxmemory, and refuses submits", async () => {
    const server = await ownRedis();
    const harness = await makeRedisBroker({ url: server.url });
    const { broker, redis } = harness;
    try {
      await broker.open(0, 1);
      await holding(broker);
      const [running, waiting] = [factory.task(), factory.task()];
      await submit(broker, running, waiting);
      const lease = await leaseOne(broker, running);
      await redis.config("SET", "maxmemory", "1mb");
      await expect(submit(broker, factory.task())).rejects.toMatchObject({ id: "overloaded" });
      const renewal = { sessionId, generation: 1, leaseMs: 15_000 };
      expect(await broker.renewSessions(0, [renewal])).toEqual(["renewed"]);
      const result = { contentType: "", data: new Uint8Array(5_000) };
      const { token } = lease;
      const replies = await broker.settle([{ token, sessionId, kind: "complete", result }]);
      expect(replies[0]?.verdict).toBe("accepted");
      const cancel = { taskId: waiting.id, namespace: "default", graceMs: 1_000 };
      expect((await broker.cancel([cancel]))[0]?.kind).toBe("cancelled");
    } finally {
      await harness.stop();
    }
  });

  it("is named when it may evict keys", async () => {
    const server = await ownRedis({ args: ["--maxmemory-policy", "allkeys-lru"] });
    const warnings: string[] = [];
    const broker = createRedisBroker({
      url: server.url,
      clock: systemClock,
      random: createSeededRandom(3),
      prefix: freshPrefix(),
      onWarning: (message) => warnings.push(message),
    });
    await broker.start();
    await broker.stop();
    expect(warnings).toEqual([expect.stringContaining("noeviction")]);
  });

  it("may be away when the broker starts, and come later", async () => {
    const server = await ownRedis();
    await server.kill();
    const harness = await makeRedisBroker({ url: server.url });
    const { broker } = harness;
    try {
      expect(broker.available).toBe(false);
      await expect(broker.counts("default")).rejects.toMatchObject({ id: "broker_unavailable" });
      await server.restart();
      await until(() => broker.available);
      expect(await broker.counts("default")).toEqual([]);
    } finally {
      await harness.stop();
    }
  });
});

// Frozen: a pause of the machine is no pause between two sweeps.
describe("shared sweeps", () => {
  it("do the work once when two coordinators sweep at the same time", async () => {
    const harness = await makeRedisBroker({ more: { sweepGuardMs: 400 }, frozen: true });
    try {
      const { broker } = harness;
      const other = await harness.another();
      await broker.open(0, 1);
      const runAt = (await broker.now()) + 1_000;
      await submit(broker, factory.task({ runAt }), factory.task({ runAt }));
      await harness.advance(1_000);
      const sweeps = [await broker.sweep(0), await other.sweep(0)];
      expect(sweeps.map(({ promoted }) => promoted)).toEqual([2, 0]);
    } finally {
      await harness.stop();
    }
  });

  it("come at once when a session has died since the last one", async () => {
    const harness = await makeRedisBroker({ more: { sweepGuardMs: 900 }, frozen: true });
    try {
      const { broker } = harness;
      const other = await harness.another();
      await broker.open(0, 1);
      const step = async (ms: number) => {
        await harness.advance(ms);
        return broker.sweep(0);
      };
      for (let ms = 0; ms <= limits.reapGraceMs; ms += 1_000) await step(1_000);
      const task = factory.task();
      await holding(broker);
      await submit(broker, task);
      const lease = await leaseOne(broker, task);
      await broker.cutSession(sessionId, 1, 1_600);
      const { nextEndInMs } = await step(1_000);
      expect(nextEndInMs).toBeGreaterThan(0);
      expect(nextEndInMs).toBeLessThanOrEqual(600);
      await harness.advance(nextEndInMs!);
      const sweeps = [await other.sweep(0), await broker.sweep(0)];
      expect(sweeps.map(({ lost }) => lost.map(({ token }) => token))).toEqual([[lease.token], []]);
    } finally {
      await harness.stop();
    }
  });

  it("go on at once after a full slice, whoever does", async () => {
    const harness = await makeRedisBroker({ more: { sweepGuardMs: 60_000 }, frozen: true });
    try {
      const { broker } = harness;
      const other = await harness.another();
      await broker.open(0, 1);
      const runAt = (await broker.now()) + 1_000;
      const count = 2 * limits.sweepBatch + 1;
      await submit(broker, ...Array.from({ length: count }, () => factory.task({ runAt })));
      await harness.advance(1_000);
      const promoted: number[] = [];
      for (const each of [broker, broker, other, broker]) {
        promoted.push((await each.sweep(0)).promoted);
      }
      expect(promoted).toEqual([limits.sweepBatch, limits.sweepBatch, 1, 0]);
    } finally {
      await harness.stop();
    }
  });
});

describe("the births of tasks that came together", () => {
  it("are known from the outbox entry that told of them, not from each record", async () => {
    await withBroker(async (broker, { redis, prefix }) => {
      await holding(broker);
      const tasks = Array.from({ length: 3 }, () => factory.task({ durability: "relaxed" }));
      const { outcomes } = await submit(broker, ...tasks);
      const births = outcomes.map((outcome, n) => {
        const { outboxId = "", outboxPlace } = outcome as typeof outcome & { kind: "enqueued" };
        return { partition: 0, outboxId, outboxPlace, taskId: tasks[n]!.id, version: 1 };
      });
      const drained = await broker.readOutbox(0, 0, 10);
      expect(drained.map(itemOf)).toEqual(births);
      await broker.recorded(births.slice(0, 2));
      const { leases } = await broker.lease(request(tasks, 3));
      const replies = await broker.settle([
        ...leases
          .slice(1)
          .map(({ token }) => ({ token, sessionId, kind: "complete", result: undefined }) as const),
        { token: leases[0]!.token, sessionId, kind: "release", delayMs: 0 },
      ]);
      const told = replies.map(({ transition }) => transition!);
      expect(told.map(({ payloadOmitted }) => payloadOmitted)).toEqual([true, false, true]);
      await broker.recorded([births[2]!, ...told.map(itemOf)]);
      expect(await broker.readOutbox(0, 0, 10)).toEqual([]);
      expect(await redis.exists(`${partitionKey(prefix, 0)}oc`)).toBe(0);
      const [left, ...gone] = await broker.get(tasks.map(({ id }) => id));
      expect([left?.status, ...gone]).toEqual(["pending", undefined, undefined]);
    });
  });
});

describe("a large checkpoint", () => {
  it("stands beside its record, which stays small, and goes with it", async () => {
    await withBroker(async (broker, { redis, prefix }) => {
      await holding(broker);
      const task = factory.task();
      await submit(broker, task);
      const { token } = await leaseOne(broker, task);
      const data = Buffer.alloc(200_000, "x");
      const checkpoint = { contentType: "application/json", data };
      expect(await broker.checkpoint([{ token, sessionId, checkpoint }])).toEqual([true]);
      const base = partitionKey(prefix, 0);
      const key = (kind: string) =>
        Buffer.concat([
          Buffer.from(`${base}${kind}:`),
          Buffer.from(task.id.replaceAll("-", ""), "hex"),
        ]);
      expect(await redis.strlen(key("t"))).toBeLessThan(1_000);
      expect(await redis.strlen(key("h"))).toBeGreaterThan(data.length);
      const settled = { token, sessionId, kind: "complete", result: undefined } as const;
      await broker.settle([settled]);
      expect(await redis.exists(key("h"))).toBe(0);
    });
  });
});

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await systemClock.sleep(20);
}
