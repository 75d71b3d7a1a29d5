import { describe, expect, it } from "vitest";
import type { Lease, Settlement, Transition } from "../../src/broker/broker.js";
import { partitionKey } from "../../src/broker/redis/keys.js";
import { limits } from "../../src/limits.js";
import type { Durability, Task } from "../../src/task/task.js";
import { uuidBytes } from "../../src/task/uuid.js";
import { exerciseBroker } from "../conformance/broker.js";
import {
  done,
  failed,
  ids,
  lost,
  released,
  type Holder,
  type Kit,
} from "../conformance/broker/kit.js";
import { makeRedisBroker } from "../support/redis-harness.js";
import { completions, keysOf, result, withKit } from "./bundle-kit.js";

// Every promise again where nearly every task that comes with another one stands in a bundle.
for (const durability of ["relaxed", "durable"] as const) {
  exerciseBroker(
    `the Redis broker with bundles of two, ${durability}`,
    (options) => makeRedisBroker({ ...options, bounds: { bundleTasks: 2, ...options?.bounds } }),
    { durability },
  );
}

const durabilities: readonly Durability[] = ["relaxed", "durable"];

/** Tasks that may share a bundle, and what they tell the outbox when they come. */
function kindOf(durability: Durability) {
  const alike = { type: "alike", durability };
  const bornOf = (tasks: number): number => (durability === "relaxed" ? tasks : 0);
  const half = (kit: Kit) => submitHalf(kit, alike);
  // History has the payload of a DURABLE task already.
  const asTold = (task: Task): Task =>
    durability === "relaxed" ? task : { ...task, payload: undefined };
  return { alike, bornOf, half, asTold };
}

const placeOf = ({ outboxId, outboxPlace }: Transition): string => `${outboxId}/${outboxPlace}`;

const verdictsOf = async (kit: Kit, settlements: readonly Settlement[]): Promise<string[]> =>
  (await kit.broker.settle(settlements)).map(({ verdict }) => verdict);

const repeated = (verdict: string, count: number): string[] =>
  Array.from({ length: count }, () => verdict);

/** Twenty tasks in a bundle, and a session that holds the first ten as a slice. */
async function submitHalf(
  kit: Kit,
  alike: Partial<Task>,
): Promise<{ tasks: Task[]; holder: Holder; leases: Lease[] }> {
  const tasks = await kit.submitMany(20, alike);
  const holder = await kit.session();
  const leases = await kit.lease(holder, 10);
  expect(ids(leases)).toEqual(ids(tasks.slice(0, 10)));
  return { tasks, holder, leases };
}

describe.each(durabilities)("tasks that come together and are %s", (durability) => {
  const { alike, half } = kindOf(durability);
  it("stand in one bundle, and show as each would alone", async () => {
    await withKit(async (kit, harness) => {
      const tasks = await kit.submitMany(20, alike);
      expect([await keysOf(harness, "b"), await keysOf(harness, "i")]).toEqual([1, 1]);
      const flow = await harness.redis.keys(`${partitionKey(harness.prefix, 0)}W:*`);
      expect(await harness.redis.zcard(flow[0]!)).toBe(1);
      expect(await kit.broker.get(tasks.map(({ id }) => id))).toEqual(tasks);
    });
  });

  it("stand alone where they are few or differ", async () => {
    await withKit(async (kit, harness) => {
      await kit.submitMany(limits.bundleTasks - 1, alike);
      await kit.submit(
        ...Array.from({ length: 20 }, (_, n) => kit.task({ timeoutMs: n + 1_000, ...alike })),
      );
      await kit.submitMany(20, { ...alike, groupKey: "g" });
      expect(await keysOf(harness, "b")).toBe(0);
    });
  });

  it("are leased as slices in their order, each as whoever asks for it sees it", async () => {
    await withKit(async (kit, harness) => {
      const { tasks, holder, leases } = await half(kit);
      const held = `${partitionKey(harness.prefix, 0)}sh:${holder.sessionId}`;
      expect(await harness.redis.zcard(held)).toBe(1);
      const next = await kit.lease(await kit.session(), 10);
      expect(ids(next)).toEqual(ids(tasks.slice(10)));
      const all = [...leases, ...next];
      expect(await kit.broker.get(ids(all))).toEqual(all.map(({ task }) => task));
      const numbers = all.map(({ task }) => task.fencingToken);
      expect(numbers).toEqual(numbers.map((_, n) => numbers[0]! + n));
    });
  });

  it("leave it one by one where few are asked for, and those behind them stay", async () => {
    await withKit(async (kit, harness) => {
      const tasks = await kit.submitMany(20, alike);
      const holder = await kit.session();
      const few = [...(await kit.lease(holder, 3)), ...(await kit.lease(holder, 1))];
      expect(ids(few)).toEqual(ids(tasks.slice(0, 4)));
      const rest = await kit.lease(holder, 40);
      expect(ids(rest)).toEqual(ids(tasks.slice(4)));
      expect(await verdictsOf(kit, completions([...few, ...rest]))).toEqual(
        repeated("accepted", 20),
      );
      expect(await keysOf(harness, "t")).toBe(0);
      expect(await keysOf(harness, "b")).toBe(0);
    });
  });

  it("keep to the bytes of a reply", async () => {
    await withKit(async (kit) => {
      await kit.submitMany(40, alike);
      const one = await kit.session();
      const request = kit.request(one, 20);
      const small = await kit.broker.lease({ ...request, maxBytes: 2_000 });
      expect(small.leases.length).toBeGreaterThan(0);
      expect(small.leases.length).toBeLessThan(20);
    });
  });

  it("are shared by the sessions that have room for them", async () => {
    await withKit(async (kit) => {
      await kit.submitMany(20, alike);
      const holders = [await kit.session(), await kit.session()];
      const sessions = holders.map((holder) => ({ ...holder, slots: 20 }));
      const { leases } = await kit.broker.lease({ ...kit.request(holders[0]!, 20), sessions });
      const ofOne = leases.filter(({ sessionId }) => sessionId === holders[0]!.sessionId);
      expect([leases.length, ofOne.length]).toEqual([20, 10]);
    });
  });

  it("keep their order among those that stand alone", async () => {
    await withKit(async (kit) => {
      const first = await kit.submitMany(20, alike);
      const later = await kit.submitMany(3, alike);
      const leases = await kit.lease(await kit.session(), 40);
      expect(ids(leases)).toEqual(ids([...first, ...later]));
    });
  });

  it("are known when they come again, with others or without", async () => {
    await withKit(async (kit) => {
      const { tasks } = await half(kit);
      const kinds = async (...again: Task[]) =>
        (await kit.enqueue(...again)).map(({ kind }) => kind);
      expect(await kinds(...tasks)).toEqual(repeated("known", 20));
      const fresh = Array.from({ length: 10 }, () => kit.task(alike));
      expect(await kinds(tasks[3]!, ...fresh)).toEqual(["known", ...repeated("enqueued", 10)]);
    });
  });
});

describe.each(durabilities)("a slice of %s tasks", (durability) => {
  const { alike, bornOf, half, asTold } = kindOf(durability);
  it("completes in one call, and the outbox tells of each", async () => {
    await withKit(async (kit, harness) => {
      const { leases } = await half(kit);
      const births = await kit.outbox();
      const replies = await kit.broker.settle(completions(leases, true));
      expect(replies.map(({ verdict }) => verdict)).toEqual(repeated("accepted", 10));
      const told = replies.map(({ transition }) => transition!);
      expect(told.map(({ task }) => task.result)).toEqual(repeated("", 10).map(() => result));
      const other = await harness.another();
      const read = (await other.readOutbox(0, 0, 1_000)).slice(births.length);
      expect(read).toEqual(told);
      const shown = (await kit.broker.get(ids(leases))).map((task) => asTold(task!));
      expect(shown).toEqual(told.map(({ task }) => task));
      expect(await keysOf(harness, "b")).toBe(1);
    });
  });

  it("is told of the same by one who did not lease it as by one who did", async () => {
    await withKit(async (kit) => {
      const { leases } = await half(kit);
      const [mine, unknown] = [leases.slice(0, 5), leases.slice(5)];
      const known = completions(mine).map((item, n) => ({ ...item, leased: mine[n]!.task }));
      const seen = await kit.broker.settle([...known, ...completions(unknown)]);
      const read = (await kit.outbox()).slice(bornOf(20));
      const told = seen.map(({ transition }) => transition!);
      expect(told.map((it) => ({ ...it, task: asTold(it.task) }))).toEqual(read);
    });
  });

  it("is told of in part by one who leased some of it, beside one of it that failed", async () => {
    await withKit(async (kit) => {
      const { leases } = await half(kit);
      const mine = leases.slice(0, 5);
      const known = completions(mine, true).map((item, n) => ({ ...item, leased: mine[n]!.task }));
      const { token, sessionId } = leases[5]!;
      const error = { code: "x", message: "", retryable: false };
      const fail = { kind: "fail", cause: "handler", retryInMs: undefined, error } as const;
      const rest = completions(leases.slice(6), true);
      const seen = await kit.broker.settle([...known, { token, sessionId, ...fail }, ...rest]);
      const read = (await kit.outbox()).slice(bornOf(20));
      const told = new Map(read.map((one) => [placeOf(one), one]));
      expect(told.size).toBe(10);
      for (const [n, { transition }] of seen.entries()) {
        expect(transition!.task.id).toBe(leases[n]!.task.id);
        expect({ ...transition, task: asTold(transition!.task) }).toEqual(
          told.get(placeOf(transition!)),
        );
      }
    });
  });

  it("completes in any order, some at a time, and each once", async () => {
    await withKit(async (kit) => {
      const { leases } = await half(kit);
      const all = completions(leases, true);
      const mixed = [7, 3, 4, 5, 0, 9, 3].map((n) => all[n]!);
      expect(await verdictsOf(kit, mixed)).toEqual([...repeated("accepted", 6), "duplicate"]);
      expect(await verdictsOf(kit, all.slice(2, 6))).toEqual([
        "accepted",
        ...repeated("duplicate", 3),
      ]);
      expect(await verdictsOf(kit, all)).toEqual(
        all.map((_, n) => ([1, 6, 8].includes(n) ? "accepted" : "duplicate")),
      );
      expect((await kit.outbox()).filter(({ task }) => task.status === "completed")).toHaveLength(
        10,
      );
    });
  });

  it("takes no token of another task, session or secret", async () => {
    await withKit(async (kit) => {
      const { leases } = await half(kit);
      const all = completions(leases);
      const swapped = all.map((item, n) => {
        const token = Uint8Array.from(item.token);
        token.set(all[(n + 1) % 10]!.token.subarray(2, 18), 2);
        return { ...item, token };
      });
      expect(await verdictsOf(kit, swapped)).toEqual(repeated("stale", 10));
      const crossed = [...all];
      const proofOf = (n: number) => all[n]!.token.subarray(18);
      for (const [n, other] of [
        [3, 4],
        [4, 3],
      ] as const) {
        const token = Uint8Array.from(all[other]!.token);
        token.set(proofOf(n), 18);
        crossed[n] = { ...all[n]!, token };
      }
      expect(await verdictsOf(kit, crossed.slice(2, 6))).toEqual([
        "accepted",
        "stale",
        "stale",
        "accepted",
      ]);
      const foreign = all.map((item) => ({ ...item, sessionId: "somebody" }));
      expect(await verdictsOf(kit, foreign)).toEqual(repeated("stale", 10));
      const forged = all.map((item) => {
        const token = Uint8Array.from(item.token);
        token[30]! ^= 1;
        return { ...item, token };
      });
      expect(await verdictsOf(kit, forged)).toEqual(repeated("stale", 10));
      const ended = [2, 5];
      expect(await verdictsOf(kit, all)).toEqual(
        all.map((_, n) => (ended.includes(n) ? "duplicate" : "accepted")),
      );
    });
  });

  it.each<[string, (settlement: Settlement, nth: number, all: Settlement[]) => Settlement]>([
    ["session", (one) => ({ ...one, sessionId: "somebody" }) as Settlement],
    ["secret", (one) => ({ ...one, token: one.token.with(30, one.token[30]! ^ 1) })],
    [
      "task",
      (one, nth, all) => {
        const token = Uint8Array.from(one.token);
        token.set(all[(nth + 1) % all.length]!.token.subarray(2, 18), 2);
        return { ...one, token };
      },
    ],
  ])("takes no tokens of another %s where all of them complete together", async (_, change) => {
    await withKit(async (kit) => {
      const { leases } = await half(kit);
      const all = completions(leases);
      const wrong = all.map((one, nth) => change(one, nth, all));
      expect(await verdictsOf(kit, wrong)).toEqual(repeated("stale", 10));
      expect(await verdictsOf(kit, all)).toEqual(repeated("accepted", 10));
    });
  });

  it("is told of as itself where another one completes in the same call", async () => {
    await withKit(async (kit) => {
      const { leases } = await half(kit);
      const more = await kit.lease(await kit.session(), 10);
      await kit.end(leases[3]!, done);
      const all = [...leases, ...more];
      const replies = await kit.broker.settle(completions(all));
      const told = replies.map(({ transition }) => transition?.task.id);
      expect(told).toEqual(ids(all).map((id, n) => (n === 3 ? undefined : id)));
      const read = (await kit.outbox()).slice(bornOf(20) + 1);
      const byPlace = new Map(read.map((one) => [placeOf(one), one.task.id]));
      for (const { transition } of replies) {
        if (transition) expect(byPlace.get(placeOf(transition))).toBe(transition.task.id);
      }
    });
  });

  it("answers for its ended tasks by their tombstones, before history has them and after", async () => {
    await withKit(async (kit) => {
      const { leases } = await half(kit);
      await kit.broker.settle(completions(leases));
      const again = async () =>
        (await kit.broker.settle(completions(leases))).map((r) => r.recorded);
      expect(await again()).toEqual(repeated("", 10).map(() => false));
      const ended = (await kit.outbox()).filter(({ task }) => task.status === "completed");
      await kit.recorded(ended[4]!);
      expect(await again()).toEqual(leases.map((_, n) => n === 4));
      for (const one of ended) await kit.recorded(one);
      expect(await again()).toEqual(leases.map(() => true));
    });
  });

  it("is answered for as long as any other where history learns late of its ends", async () => {
    await withKit(async (kit) => {
      const { leases } = await half(kit);
      const all = completions(leases, true);
      await kit.broker.settle([2, 3, 4, 7, 0, 1, 9].map((n) => all[n]!));
      await kit.broker.settle([all[5]!, all[6]!]);
      await kit.harness.advance(90_000);
      for (const told of await kit.outbox()) await kit.recorded(told);
      expect(await kit.outbox()).toEqual([]);
      // Of those that were planted when they ended, nothing would be left.
      await kit.harness.advance(limits.tombstoneMs - 60_000);
      const verdicts = all.map((_, n) => (n === 8 ? "accepted" : "duplicate"));
      expect(await verdictsOf(kit, all)).toEqual(verdicts);
    });
  });

  it("goes back to its place, before those of its bundle that wait", async () => {
    await withKit(async (kit) => {
      const { tasks, leases, holder } = await half(kit);
      await kit.end(leases[3]!, released());
      await kit.end(leases[7]!, failed(0));
      const next = await kit.lease(holder, 1);
      expect(ids(next)).toEqual([tasks[3]!.id]);
      await kit.end(next[0]!, released());
      const others = await kit.lease(holder, 12);
      expect(ids(others)).toEqual(ids([tasks[3]!, tasks[7]!, ...tasks.slice(10)]));
    });
  });

  it("goes back to its place also where it was leased alone", async () => {
    await withKit(async (kit) => {
      const tasks = await kit.submitMany(20, alike);
      const holder = await kit.session();
      const leases = [];
      for (let n = 0; n < 3; n += 1) leases.push(await kit.take(holder));
      await kit.end(leases[1]!, released());
      expect(ids(await kit.lease(holder, 20))).toEqual(ids([tasks[1]!, ...tasks.slice(3)]));
    });
  });

  it("is offered task by task once its session is dead", async () => {
    await withKit(async (kit) => {
      await kit.warmUp();
      const { leases, holder } = await half(kit);
      await kit.broker.settle(completions(leases.slice(0, 4)));
      await kit.broker.cutSession(holder.sessionId, holder.generation, 0);
      await kit.harness.advance(100);
      const { lost: offered } = await kit.broker.sweep(0);
      expect(ids(offered).toSorted()).toEqual(ids(leases.slice(4)).toSorted());
      for (const lease of offered) await kit.end(lease, lost, null);
      const next = await kit.lease(await kit.session(), 20);
      expect(ids(next).slice(0, 6)).toEqual(ids(leases.slice(4)));
    });
  });

  it("is kept by a session that comes again with its tokens, and lost in transit without", async () => {
    await withKit(async (kit) => {
      const { leases, holder } = await half(kit);
      const tokens = leases.slice(0, 6).map(({ token }) => token);
      const reply = await kit.resume({ ...holder, generation: 2 }, tokens);
      if (reply.kind !== "opened") throw new Error(reply.kind);
      expect(ids(reply.kept)).toEqual(ids(leases.slice(0, 6)));
      expect(ids(reply.lostInTransit).toSorted()).toEqual(ids(leases.slice(6)).toSorted());
      expect(await verdictsOf(kit, completions(leases))).toEqual(repeated("accepted", 10));
    });
  });

  it("ends when the time of its attempts is over", async () => {
    await withKit(async (kit) => {
      await kit.warmUp();
      await kit.submitMany(10, { ...alike, timeoutMs: 3_000 });
      const holder = await kit.session();
      const leases = await kit.lease(holder, 10);
      const { timedOut } = await kit.elapse(5_000, holder);
      expect(ids(timedOut).toSorted()).toEqual(ids(leases).toSorted());
    });
  });
});

describe.each(durabilities)("a task of a bundle of %s ones", (durability) => {
  const { alike, bornOf, half } = kindOf(durability);
  it("is cancelled, fails, reports and returns as any other, and the rest completes", async () => {
    await withKit(async (kit, harness) => {
      const { tasks, leases } = await half(kit);
      expect((await kit.cancel(tasks[2]!)).kind).toBe("requested");
      await kit.end(leases[3]!, failed(5_000));
      // What runs goes alone; what waits takes all others along.
      expect(await keysOf(harness, "b")).toBe(1);
      expect((await kit.cancel(tasks[15]!)).kind).toBe("cancelled");
      expect(await keysOf(harness, "b")).toBe(0);
      const rest = leases.filter((_, n) => n !== 2 && n !== 3);
      expect(await verdictsOf(kit, completions(rest))).toEqual(repeated("accepted", 8));
      expect(ids(await kit.lease(await kit.session(), 20))).toEqual(
        ids([...tasks.slice(10, 15), ...tasks.slice(16)]),
      );
    });
  });

  it("may fail or come back in the call that completes others of it", async () => {
    await withKit(async (kit) => {
      const { leases } = await half(kit);
      const all = completions(leases, true);
      const { token, sessionId } = leases[4]!;
      all[4] = { token, sessionId, kind: "release", delayMs: 0 };
      // One alone first, so that its bytes are not yet told when the bundle is untied.
      const order = [all[9]!, ...all.slice(0, 9)];
      const replies = await kit.broker.settle(order);
      expect(replies.map(({ verdict }) => verdict)).toEqual(repeated("accepted", 10));
      const done = replies.flatMap(({ transition }) => transition!.task);
      expect(done.filter(({ status }) => status === "completed")).toHaveLength(9);
      const read = (await kit.outbox()).slice(bornOf(20)).map(({ task }) => task);
      expect(read.toSorted(byId)).toEqual(done.toSorted(byId));
    });
  });

  it("is told of whole where the last of its bundle goes, or it is untied, in the same call", async () => {
    await withKit(async (kit) => {
      const tasks = await kit.submitMany(10, alike);
      const leases = await kit.lease(await kit.session(), 10);
      const { token, sessionId } = leases[0]!;
      const back: Settlement = { token, sessionId, kind: "release", delayMs: 0 };
      // One by one, as they do not follow one another.
      const others = completions(leases.slice(1)).toReversed();
      const last = await kit.broker.settle([...others, back]);
      expect(last.map(({ transition }) => transition)).toEqual(
        (await kit.outbox()).slice(bornOf(10)),
      );
      const rest = await kit.submitMany(20, alike);
      const held = await kit.lease(await kit.session(), 11);
      expect(ids(held)).toEqual(ids([tasks[0]!, ...rest.slice(0, 10)]));
      const stray = Uint8Array.from(held[1]!.token);
      stray.set(uuidBytes(rest[15]!.id), 2);
      const some = completions(held.slice(1)).toReversed();
      const by = held[1]!.sessionId;
      const told = (await kit.outbox()).length;
      const wrong: Settlement = { token: stray, sessionId: by, kind: "release", delayMs: 0 };
      const replies = await kit.broker.settle([...some, wrong]);
      expect(replies.at(-1)!.verdict).toBe("stale");
      const seen = replies.slice(0, -1).map(({ transition }) => transition);
      expect(seen).toEqual((await kit.outbox()).slice(told));
    });
  });

  it("ends once, whatever else the same call says of it", async () => {
    await withKit(async (kit) => {
      const { leases } = await half(kit);
      const all = completions(leases);
      const again = leases.map(({ token, sessionId }) => ({
        ...released(),
        token,
        sessionId,
      })) as Settlement[];
      expect(await verdictsOf(kit, [...all, ...again])).toEqual([
        ...repeated("accepted", 10),
        ...repeated("stale", 10),
      ]);
    });
  });

  it("keeps its progress", async () => {
    await withKit(async (kit) => {
      const { leases } = await half(kit);
      const { token, sessionId, task } = leases[1]!;
      await kit.broker.progress([
        { token, sessionId, progress: { fraction: 0.5, message: "half" } },
      ]);
      expect((await kit.get(task))?.progress?.fraction).toBe(0.5);
      expect(await verdictsOf(kit, completions(leases))).toEqual(repeated("accepted", 10));
    });
  });
});

const byId = (a: Task, b: Task): number => (a.id < b.id ? -1 : 1);
