import { describe, expect, it } from "vitest";
import { partitionKey } from "../../src/broker/redis/keys.js";
import { unpackTask } from "../../src/broker/redis/record.js";
import { asBytes, asList } from "../../src/broker/redis/scripts.js";
import { systemClock } from "../../src/clock.js";
import type { Task } from "../../src/task/task.js";
import { uuidBytes } from "../../src/task/uuid.js";
import { done, failed, ids, Kit } from "../conformance/broker/kit.js";
import { auditParts } from "../support/redis-audit.js";
import { makeRedisBroker, type RedisHarness } from "../support/redis-harness.js";
import { bundleMs as ms, completions, idOf, keysOf, withKit } from "./bundle-kit.js";

const relaxed = { durability: "relaxed" } as const;

/** Alike, of these numbers. */
const tasksOf = (kit: Kit, from: number, count: number, atMs = ms): Task[] =>
  Array.from({ length: count }, (_, n) => kit.task({ ...relaxed, id: idOf(from + n, atMs) }));

const kindsOf = async (kit: Kit, tasks: readonly Task[]): Promise<string[]> =>
  (await kit.enqueue(...tasks)).map(({ kind }) => kind);

const alike = (kind: string, count: number): string[] => Array.from({ length: count }, () => kind);

const directoryOf = ({ prefix }: RedisHarness): string => `${partitionKey(prefix, 0)}bt`;

/** How many bundles each time names. */
async function namedBy(harness: RedisHarness): Promise<number[]> {
  const names = await harness.redis.hvalsBuffer(directoryOf(harness));
  return names.map((name) => name.length / 6).toSorted((a, b) => a - b);
}

describe("The directory of bundles", () => {
  it("names each once by every time of its tasks, and no more once it is gone", async () => {
    await withKit(async (kit, harness) => {
      const first = [...tasksOf(kit, 0, 10), ...tasksOf(kit, 10, 10, ms + 1)];
      const second = [...tasksOf(kit, 20, 10, ms + 1), ...tasksOf(kit, 30, 10, ms + 2)];
      expect(await kindsOf(kit, first)).toEqual(alike("enqueued", 20));
      expect(await kindsOf(kit, second)).toEqual(alike("enqueued", 20));
      expect(await keysOf(harness, "b")).toBe(2);
      expect(await keysOf(harness, "t")).toBe(0);
      expect(await namedBy(harness)).toEqual([1, 1, 2]);
      expect(await kit.broker.get(ids([...second, ...first]))).toEqual([...second, ...first]);
      const leases = await kit.lease(await kit.session(), 20);
      expect(ids(leases)).toEqual(ids(first));
      await kit.broker.settle(completions(leases));
      expect(await namedBy(harness)).toEqual([1, 1]);
      expect((await kit.cancel(second[12]!)).kind).toBe("cancelled");
      expect(await namedBy(harness)).toEqual([]);
      expect(await keysOf(harness, "b")).toBe(0);
    });
  });

  it("says of each that it is known, also where it comes with others", async () => {
    await withKit(async (kit, harness) => {
      const tasks = [...tasksOf(kit, 0, 10), ...tasksOf(kit, 10, 10, ms + 1)];
      await kindsOf(kit, tasks);
      expect(await kindsOf(kit, tasks)).toEqual(alike("known", 20));
      expect(await kindsOf(kit, [tasks[15]!])).toEqual(["known"]);
      const fresh = tasksOf(kit, 100, 19, ms + 1);
      const mixed = [...fresh.slice(0, 18), tasks[19]!, fresh[18]!];
      const expected = mixed.map((task) => (task === tasks[19] ? "known" : "enqueued"));
      expect(await kindsOf(kit, mixed)).toEqual(expected);
      expect(await keysOf(harness, "b")).toBe(1);
      expect(ids(await kit.lease(await kit.session(), 40))).toEqual(ids([...tasks, ...fresh]));
    });
  });

  it("leaves those to themselves that stand alone, whatever bundle they came with", async () => {
    await withKit(async (kit, harness) => {
      const tasks = tasksOf(kit, 0, 20);
      await kindsOf(kit, tasks);
      const holder = await kit.session();
      const single = await kit.lease(holder, 1);
      const some = await kit.lease(holder, 10);
      await kit.end(some[4]!, failed(60_000));
      expect(await keysOf(harness, "t")).toBe(2);
      for (const nth of [0, 5, 7, 15]) {
        const others = tasksOf(kit, 100 + nth * 20, 10);
        const kinds = await kindsOf(kit, [...others, tasks[nth]!]);
        expect(kinds).toEqual([...alike("enqueued", 10), "known"]);
      }
      await kit.end(single[0]!, done);
      expect(await kindsOf(kit, tasks)).toEqual(alike("known", 20));
      expect((await kit.get(tasks[5]!))?.status).toBe("retrying");
      expect(await kit.broker.get(ids(tasks.slice(6, 11)))).toEqual(
        some.slice(5).map(({ task }) => task),
      );
    });
  });

  it("finds one that stood alone before others of its time came together", async () => {
    await withKit(async (kit, harness) => {
      const [first, ...others] = tasksOf(kit, 0, 21);
      expect(await kindsOf(kit, [first!])).toEqual(["enqueued"]);
      expect(await kindsOf(kit, [...others.slice(10), first!])).toEqual([
        ...alike("enqueued", 10),
        "known",
      ]);
      expect(await keysOf(harness, "b")).toBe(0);
      // Older and younger than it, they need no look.
      expect(await kindsOf(kit, others.slice(0, 10))).toEqual(alike("enqueued", 10));
      expect(await kindsOf(kit, tasksOf(kit, 50, 10, ms + 1))).toEqual(alike("enqueued", 10));
      expect(await keysOf(harness, "b")).toBe(2);
    });
  });

  it("finds one that was granted alone, straight from its submit", async () => {
    await withKit(async (kit, harness) => {
      // Its lane, and a tombstone: without them a task that comes alone goes the general way.
      await kit.submitMany(1, relaxed);
      const holder = await kit.session();
      await kit.end((await kit.lease(holder, 1))[0]!, done);
      const late = systemClock.now() + 60_000;
      const [first, ...others] = tasksOf(kit, 0, 11, late);
      const item = { task: kit.note(first!), origin: "submit" as const };
      const { leases } = await kit.broker.enqueue([item], kit.request(holder, 1));
      expect(ids(leases)).toEqual([first!.id]);
      expect(await kindsOf(kit, [...others, first!])).toEqual([...alike("enqueued", 10), "known"]);
      expect(await keysOf(harness, "b")).toBe(0);
    });
  });

  it("keeps one that waits in a bundle from being granted as if it had just come", async () => {
    await withKit(async (kit) => {
      await kit.submitMany(1, relaxed);
      const holder = await kit.session();
      await kit.end((await kit.lease(holder, 1))[0]!, done);
      const tasks = tasksOf(kit, 0, 10, systemClock.now() + 60_000);
      await kindsOf(kit, tasks);
      const held = await kit.lease(holder, 10);
      expect(ids(held)).toEqual(ids(tasks));
      const again = { task: tasks[3]!, origin: "submit" as const };
      const { outcomes, leases } = await kit.broker.enqueue([again], kit.request(holder, 1));
      expect([outcomes.map(({ kind }) => kind), leases]).toEqual([["known"], []]);
    });
  });

  it("lets those stand alone that would be of too many bundles of a time", async () => {
    await withKit(async (kit, harness) => {
      for (let n = 0; n < 66; n += 1) await kindsOf(kit, tasksOf(kit, n * 8, 8));
      expect(await keysOf(harness, "b")).toBe(64);
      expect(await keysOf(harness, "t")).toBe(16);
      expect(await namedBy(harness)).toEqual([64]);
      const all = tasksOf(kit, 0, 66 * 8);
      expect(ids(await kit.lease(await kit.session(), 200))).toEqual(ids(all.slice(0, 200)));
      expect(await kindsOf(kit, all.slice(-20))).toEqual(alike("known", 20));
    });
  });

  it("is not taken for what it was before tasks stood there by their times", async () => {
    await withKit(async (kit, harness) => {
      const [first, ...others] = tasksOf(kit, 0, 11);
      await kindsOf(kit, [first!]);
      // What an earlier version leaves says nothing of the newest task that stood alone.
      await harness.redis.hdel(`${partitionKey(harness.prefix, 0)}m`, "an");
      expect(await kindsOf(kit, [...others, first!])).toEqual([...alike("enqueued", 10), "known"]);
      await harness.redis.hdel(`${partitionKey(harness.prefix, 0)}m`, "an");
      expect(await kindsOf(kit, tasksOf(kit, 100, 10, ms - 5))).toEqual(alike("enqueued", 10));
      expect(await keysOf(harness, "b")).toBe(1);
      const mixed = [...tasksOf(kit, 200, 10), first!];
      expect(await kindsOf(kit, mixed)).toEqual([...alike("enqueued", 10), "known"]);
    });
  });
});

/** Each leaves one of the tasks alone, and no bundle of their time. */
const alone: readonly [string, (kit: Kit, tasks: readonly Task[]) => Promise<Task>][] = [
  [
    "came alone",
    async (kit, [task]) => {
      expect(await kindsOf(kit, [task!])).toEqual(["enqueued"]);
      return task!;
    },
  ],
  [
    "was leased alone",
    async (kit, tasks) => {
      await kindsOf(kit, tasks);
      const holder = await kit.session();
      expect(ids(await kit.lease(holder, 1))).toEqual([tasks[0]!.id]);
      await kit.broker.settle(completions(await kit.lease(holder, 20)));
      return tasks[0]!;
    },
  ],
  [
    "failed",
    async (kit, tasks) => {
      await kindsOf(kit, tasks);
      const leases = await kit.lease(await kit.session(), 20);
      await kit.end(leases[4]!, failed(60_000));
      await kit.broker.settle(completions(leases.filter((_, nth) => nth !== 4)));
      return tasks[4]!;
    },
  ],
  [
    "told how far it is",
    async (kit, tasks) => {
      await kindsOf(kit, tasks);
      const leases = await kit.lease(await kit.session(), 20);
      const { token, sessionId } = leases[4]!;
      const progress = { fraction: 0.5, message: "half" };
      await kit.broker.progress([{ token, sessionId, progress }]);
      await kit.broker.settle(completions(leases.filter((_, nth) => nth !== 4)));
      return tasks[4]!;
    },
  ],
  [
    "waits, while another one was cancelled",
    async (kit, tasks) => {
      await kindsOf(kit, tasks);
      expect((await kit.cancel(tasks[7]!)).kind).toBe("cancelled");
      return tasks[3]!;
    },
  ],
];

describe("A task that is newer than all before it and stands alone", () => {
  it.each(alone)("is found where it %s", async (_, leave) => {
    await withKit(async (kit, harness) => {
      // From here on the store knows which is the newest that ever stood alone.
      await kindsOf(kit, tasksOf(kit, 0, 8));
      await kit.broker.settle(completions(await kit.lease(await kit.session(), 8)));
      const late = systemClock.now() + 60_000;
      const left = await leave(kit, tasksOf(kit, 100, 10, late));
      expect(await keysOf(harness, "b")).toBe(0);
      const kinds = await kindsOf(kit, [...tasksOf(kit, 200, 10, late), left]);
      expect(kinds).toEqual([...alike("enqueued", 10), "known"]);
    });
  });
});

describe("The size of the outbox", () => {
  it("falls once for what is confirmed twice, told alone or with others", async () => {
    await withKit(async (kit, { redis, prefix }) => {
      const size = async () => Number(await redis.hget(`${partitionKey(prefix, 0)}m`, "obn"));
      for (const count of [1, 1, 10, 10]) await kit.submitMany(count, relaxed);
      const told = await kit.outbox();
      expect(await size()).toBe(22);
      for (const one of [told[0]!, told[0]!]) await kit.recorded(one);
      expect(await size()).toBe(21);
      for (const one of [...told.slice(2, 12), ...told.slice(2, 12)]) await kit.recorded(one);
      expect(await size()).toBe(11);
      expect(await redis.xlen(`${partitionKey(prefix, 0)}ob`)).toBe(2);
      expect(await redis.hlen(`${partitionKey(prefix, 0)}oc`)).toBe(1);
    });
  });
});

describe("The script that reads tasks of bundles", () => {
  it("says which stands alone by now, and which does not stand there", async () => {
    await withKit(async (kit, { redis, prefix }) => {
      const [waits, alone, absent] = [
        tasksOf(kit, 0, 10),
        tasksOf(kit, 10, 1),
        tasksOf(kit, 20, 1),
      ];
      await kindsOf(kit, waits);
      await kindsOf(kit, alone);
      const asked = [waits[4]!, ...alone, ...absent].map(({ id }) => uuidBytes(id));
      const { scripts } = auditParts(redis, prefix);
      const [record, ...others] = asList(
        await scripts.run("bundled", partitionKey(prefix, 0), asked),
      );
      expect(unpackTask(waits[4]!.id, asBytes(record))).toEqual(waits[4]);
      expect(others).toEqual([Buffer.alloc(0), null]);
    });
  });
});

describe("A bundle that an earlier version has left", () => {
  it("is refused, and nothing of it is lost", async () => {
    await withKit(async (kit, { redis, prefix }) => {
      await kindsOf(kit, tasksOf(kit, 0, 20));
      const holder = await kit.session();
      const [bundle] = await redis.keysBuffer(`${partitionKey(prefix, 0)}b:*`);
      const times = await redis.hgetBuffer(bundle!, "w");
      await redis.hdel(bundle!, "w");
      await expect(kit.lease(holder, 10)).rejects.toMatchObject({ id: "internal" });
      await redis.hset(bundle!, "w", times!);
      expect(ids(await kit.lease(holder, 20))).toEqual(ids(tasksOf(kit, 0, 20)));
    });
  });
});

describe("The audit of bundles", () => {
  const timeAfter = Buffer.alloc(6);
  timeAfter.writeUIntBE(ms + 1, 0, 6);
  const harms: readonly [
    string,
    (harness: RedisHarness, at: string) => Promise<unknown>,
    RegExp,
  ][] = [
    ["no time names it", ({ redis }, at) => redis.del(`${at}bt`), /"b:.*belongs to nothing/],
    [
      "a time names it that is none of its tasks",
      async ({ redis }, at) => {
        const [names] = await redis.hvalsBuffer(`${at}bt`);
        return redis.hset(`${at}bt`, timeAfter, names!);
      },
      /names a bundle that is none of it/,
    ],
    [
      "a time names one that is not there",
      ({ redis }, at) => redis.hset(`${at}bt`, timeAfter, "nobody"),
      /names a bundle that is none of it/,
    ],
    [
      "its session holds no lease of it",
      async ({ redis }, at) => redis.del(...(await redis.keys(`${at}sh:*`))),
      /"b:.*belongs to nothing/,
    ],
    [
      "it waits nowhere",
      async ({ redis }, at) => {
        const [flow] = await redis.keys(`${at}W:*`);
        await redis.zadd(flow!, 0, "a member of 16 B");
        return redis.zremrangebyrank(flow!, 1, 1);
      },
      /"b:.*belongs to nothing/,
    ],
  ];

  it.each(harms)("finds that %s", async (_, harm, finding) => {
    const harness = await makeRedisBroker({ frozen: true });
    try {
      const kit = new Kit(harness, systemClock.now());
      await kit.openAll();
      await kindsOf(kit, tasksOf(kit, 0, 20));
      await kit.lease(await kit.session(), 10);
      expect(await harness.audit!()).toEqual([]);
      await harm(harness, partitionKey(harness.prefix, 0));
      expect((await harness.audit!()).join("\n")).toMatch(finding);
    } finally {
      await harness.stop();
    }
  });
});
