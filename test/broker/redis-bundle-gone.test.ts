import { describe, expect, it } from "vitest";
import type { Lease, Settlement } from "../../src/broker/broker.js";
import { partitionKey } from "../../src/broker/redis/keys.js";
import { systemClock } from "../../src/clock.js";
import { uuidBytes } from "../../src/task/uuid.js";
import { failed, ids, type Ending, Kit } from "../conformance/broker/kit.js";
import { makeRedisBroker } from "../support/redis-harness.js";
import { completions, keysOf, withKit } from "./bundle-kit.js";

/*
 * A result comes twice in one call where a worker has sent it again before the first was settled.
 * Meanwhile something else of that call may have parted or untied what its task stood in.
 */

const settlementOf = ({ token, sessionId }: Lease, ending: Ending): Settlement =>
  ({ ...ending, token, sessionId }) as Settlement;

const release: Ending = { kind: "release", delayMs: 0 };

const repeated = (verdict: string, count: number): string[] =>
  Array.from({ length: count }, () => verdict);

async function verdictsOf(kit: Kit, settlements: readonly Settlement[]): Promise<string[]> {
  const replies = await kit.broker.settle(settlements);
  return replies.map(({ verdict }) => verdict);
}

describe.each(["relaxed", "durable"] as const)("what comes twice of %s tasks", (durability) => {
  const lease = async (kit: Kit, type: string, tasks: number, many: number) => {
    const holder = await kit.session();
    const made = await kit.submitMany(tasks, { type, durability });
    const leases = await kit.lease(holder, many);
    expect(ids(leases)).toEqual(ids(made.slice(0, many)));
    return { made, leases };
  };

  // All of its bundle are leased, or some wait.
  it.each([10, 20])(
    "is a duplicate where its slice is over and another bundle is parted: %i",
    async (tasks) => {
      await withKit(async (kit, harness) => {
        const other = await lease(kit, "other", 10, 10);
        const { leases } = await lease(kit, "alike", tasks, 10);
        const fails = settlementOf(other.leases[4]!, failed(undefined));
        const all = completions(leases);
        expect(await verdictsOf(kit, [...all, fails, ...all.slice(0, 2)])).toEqual([
          ...repeated("accepted", 11),
          ...repeated("duplicate", 2),
        ]);
        // Of all these only what failed has a record of its own.
        expect(await keysOf(harness, "t")).toBe(1);
        const again = await kit.lease(await kit.session(), 20);
        expect(again).toHaveLength(tasks - 10);
      });
    },
  );

  it("is a duplicate where its bundle is untied", async () => {
    await withKit(async (kit) => {
      const { made, leases } = await lease(kit, "alike", 20, 10);
      const stray = Uint8Array.from(leases[0]!.token);
      stray.set(uuidBytes(made[15]!.id), 2);
      const unties = settlementOf({ ...leases[0]!, token: stray }, release);
      const some = completions(leases.slice(0, 6));
      const rest = completions(leases.slice(6));
      expect(await verdictsOf(kit, [...some, unties, ...some, ...rest])).toEqual([
        ...repeated("accepted", 6),
        "stale",
        ...repeated("duplicate", 6),
        ...repeated("accepted", 4),
      ]);
      expect(ids(await kit.lease(await kit.session(), 20))).toEqual(ids(made.slice(10)));
    });
  });

  it("is told of where it was accepted, be that not the first place", async () => {
    await withKit(async (kit) => {
      const { leases } = await lease(kit, "alike", 10, 10);
      const { token, sessionId } = leases[2]!;
      await kit.broker.progress([{ token, sessionId, progress: { fraction: 0.5, message: "" } }]);
      const told = (await kit.outbox()).length;
      const [a, b, alone] = completions(leases);
      const replies = await kit.broker.settle([a!, b!, alone!, a!, b!]);
      expect(replies.map(({ verdict }) => verdict)).toEqual([
        ...repeated("duplicate", 2),
        ...repeated("accepted", 3),
      ]);
      const seen = [3, 4, 2].map((nth) => replies[nth]!.transition!);
      expect(seen.map(({ task }) => task.id)).toEqual(ids(leases.slice(0, 3)));
      expect(seen).toEqual((await kit.outbox()).slice(told));
    });
  });

  it("is a duplicate also behind what was said of it otherwise", async () => {
    await withKit(async (kit) => {
      const { leases } = await lease(kit, "alike", 10, 10);
      const all = completions(leases);
      const back = settlementOf(leases[3]!, release);
      expect(await verdictsOf(kit, [...all, back, all[3]!])).toEqual([
        ...repeated("accepted", 10),
        "stale",
        "duplicate",
      ]);
    });
  });
});

it("a task whose bundle was deleted by hand is not there, and holds up nobody", async () => {
  const harness = await makeRedisBroker({ frozen: true });
  try {
    const kit = new Kit(harness, systemClock.now());
    await kit.openAll();
    const tasks = await kit.submitMany(20, { type: "alike" });
    for (const kind of ["b", "i"]) {
      const keys = await harness.redis.keysBuffer(`${partitionKey(harness.prefix, 0)}${kind}:*`);
      for (const key of keys) await harness.redis.del(key);
    }
    expect(await kit.broker.get(ids(tasks))).toEqual(tasks.map(() => undefined));
    expect((await kit.cancel(tasks[3]!)).kind).toBe("unknown");
  } finally {
    await harness.stop();
  }
});
