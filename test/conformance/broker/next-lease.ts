import { expect } from "vitest";
import type { Lease, SettledLeased, Settlement } from "../../../src/broker/broker.js";
import { limits } from "../../../src/limits.js";
import { partitionOfSlot, slotOfId } from "../../../src/task/ids.js";
import {
  check,
  checkDurable,
  done,
  failed,
  ids,
  quarantined,
  released,
  type Check,
  type Ending,
  type Holder,
  type Kit,
} from "./kit.js";

/** Its leases end, and their session leases anew, in one call. */
function endAndLease(
  kit: Kit,
  leases: readonly Lease[],
  ending: Ending,
  slots: number,
  by?: Holder,
): Promise<SettledLeased> {
  const settlements = leases.map(
    ({ token, sessionId }) => ({ ...ending, token, sessionId }) as Settlement,
  );
  const holder = by ?? { sessionId: leases[0]!.sessionId, generation: 1 };
  return kit.broker.settleAndLease(settlements, kit.request(holder, slots));
}

const verdicts = ({ replies }: SettledLeased): string[] => replies.map(({ verdict }) => verdict);
const bytes = (size: number) => ({ contentType: "text/plain", data: new Uint8Array(size) });
const relaxed = { durability: "relaxed" } as const;

/** The promises hold for settling and leasing in one call as they do for each. */
export const nextLeaseChecks: readonly Check[] = [
  ...[1, 3].map((count) =>
    check("B5", `ends ${count} and leases as many next, in one call`, async (kit) => {
      const tasks = await kit.submitMany(count * 2 + 1, relaxed);
      const leases = await kit.lease(await kit.session(), count);
      const both = await endAndLease(kit, leases, done, count);
      expect(verdicts(both)).toEqual(leases.map(() => "accepted"));
      expect(both.leased).toMatchObject({ kind: "ok", more: true, lostSessions: [] });
      expect(ids(both.leased.leases)).toEqual(ids(tasks.slice(count, count * 2)));
      const [before, after] = [leases, both.leased.leases].map((of) =>
        of.map(({ task }) => task.fencingToken),
      );
      expect(Math.min(...after!)).toBeGreaterThan(Math.max(...before!));
      for (const lease of both.leased.leases) {
        expect(lease.task).toMatchObject({ status: "running", attempt: 1 });
        expect(await kit.get(lease.task)).toMatchObject({ status: "running", attempt: 1 });
      }
      expect(ids((await kit.outbox()).slice(-count).map(({ task }) => task))).toEqual(
        ids(tasks.slice(0, count)),
      );
      const last = await endAndLease(kit, both.leased.leases, done, count);
      expect(last.leased).toMatchObject({ more: false });
      expect(ids(last.leased.leases)).toEqual([tasks.at(-1)!.id]);
      expect(await kit.wakeFor()).toBeUndefined();
      const none = await endAndLease(kit, last.leased.leases, done, count);
      expect(none.leased).toEqual({ kind: "ok", leases: [], more: false, lostSessions: [] });
    }),
  ),
  check("B12", "keeps the wake-up of work that only slots kept back", async (kit) => {
    await kit.submitMany(3);
    const lease = await kit.take(await kit.session());
    expect(await kit.wakeFor()).toBeDefined();
    expect((await endAndLease(kit, [lease], done, 1)).leased.more).toBe(true);
    expect(await kit.wakeFor()).toBeDefined();
  }),
  check("B2", "leases again at once what it was told to take back", async (kit) => {
    const [first, second] = await kit.submitMany(2);
    const holder = await kit.session();
    const lease = await kit.take(holder);
    const both = await endAndLease(kit, [lease], released(), 2);
    expect(verdicts(both)).toEqual(["accepted"]);
    expect(both.replies[0]!.transition!.task).toMatchObject({ status: "pending" });
    expect(ids(both.leased.leases)).toEqual([first!.id, second!.id]);
    expect(both.leased.leases[0]!.task).toMatchObject({ attempt: 2, status: "running" });
    expect(await kit.verdict(lease, done)).toBe("stale");
    await kit.broker.closeSession(holder.sessionId, holder.generation);
    const { left } = await kit.broker.sweep(0);
    expect(ids(left).toSorted()).toEqual(ids([first!, second!]).toSorted());
  }),
  check("B7", "leases what is due, and not what waits for its retry", async (kit) => {
    const task = await kit.submitOne();
    const later = await kit.submitOne({ runAt: (await kit.broker.now()) + 1_000 });
    const lease = await kit.take(await kit.session());
    const both = await endAndLease(kit, [lease], failed(5_000), 5);
    expect(both.leased.leases).toEqual([]);
    expect(await kit.statusOf(task)).toBe("retrying");
    await kit.harness.advance(1_500);
    await kit.broker.sweep(0);
    const next = await endAndLease(kit, [lease], failed(5_000), 5);
    expect(verdicts(next)).toEqual(["duplicate"]);
    expect(ids(next.leased.leases)).toEqual([later.id]);
  }),
  check("B5", "leases whatever became of what it was told", async (kit) => {
    const tasks = await kit.submitMany(3);
    const holder = await kit.session();
    const lease = await kit.take(holder);
    await kit.end(lease, done);
    const again = await endAndLease(kit, [lease], done, 1);
    expect(verdicts(again)).toEqual(["duplicate"]);
    expect(ids(again.leased.leases)).toEqual([tasks[1]!.id]);
    const stale = await endAndLease(kit, [lease], failed(), 1);
    expect(verdicts(stale)).toEqual(["stale"]);
    expect(ids(stale.leased.leases)).toEqual([tasks[2]!.id]);
    const nothing = await endAndLease(kit, [], done, 1, holder);
    expect(nothing).toMatchObject({ replies: [], leased: { kind: "ok", leases: [] } });
  }),
  check("B6", "settles for a session that it leases nothing to", async (kit) => {
    await kit.submitMany(2);
    const holder = await kit.session({}, 2);
    const lease = await kit.take(holder);
    const both = await endAndLease(kit, [lease], done, 1, { ...holder, generation: 1 });
    expect(verdicts(both)).toEqual(["accepted"]);
    expect(both.leased).toMatchObject({ leases: [], lostSessions: [holder.sessionId] });
  }),
  check("B13", "settles while cold, and leases nothing", async (kit) => {
    await kit.submitMany(2, relaxed);
    const lease = await kit.take(await kit.session());
    await kit.broker.close(0, "a test");
    const both = await endAndLease(kit, [lease], done, 1);
    expect(verdicts(both)).toEqual(["accepted"]);
    expect(both.leased).toMatchObject({ kind: "cold", leases: [], more: false });
  }),
  checkDurable(
    "B10",
    "leases nothing once its own settlements have filled the outbox",
    async (kit) => {
      await kit.submitMany(4);
      const leases = await kit.lease(await kit.session(), 2);
      const first = await endAndLease(kit, leases.slice(0, 1), done, 1);
      expect(first.leased).toMatchObject({ kind: "ok", leases: [{}] });
      const both = await endAndLease(kit, leases.slice(1), done, 1);
      expect(verdicts(both)).toEqual(["accepted"]);
      expect(both.leased).toMatchObject({ kind: "outbox_full", leases: [] });
    },
    { bounds: { outboxEntries: 2 } },
  ),
  check("B10", "settles in a paused queue, and leases nothing there", async (kit) => {
    const { namespace, queue } = (await kit.submitMany(2))[0]!;
    const lease = await kit.take(await kit.session());
    await kit.broker.setQueue({ namespace, queue, paused: true });
    const both = await endAndLease(kit, [lease], done, 1);
    expect(verdicts(both)).toEqual(["accepted"]);
    expect(both.leased).toMatchObject({ kind: "ok", leases: [], more: false });
  }),
  check(
    "B4",
    "lets a session have the next suspect of a lane once it ended its one",
    async (kit) => {
      await kit.warmUp();
      const tasks = await kit.submitMany(2);
      for (const _ of tasks) await kit.loseOne(quarantined(500));
      const holder = await kit.session();
      await kit.elapse(1_000, holder);
      const suspects = await kit.lease(holder, 5);
      expect(suspects).toHaveLength(1);
      const both = await endAndLease(kit, suspects, done, 5);
      expect(verdicts(both)).toEqual(["accepted"]);
      expect(both.leased.leases).toHaveLength(1);
      expect(both.leased.leases[0]!.task).toMatchObject({ attempt: 2, leaseLosses: 1 });
    },
  ),
  check("B3", "keeps the turns of groups", async (kit) => {
    for (const groupKey of ["a", "b"]) await kit.submitMany(3, { groupKey });
    const holder = await kit.session();
    const groups: string[] = [];
    let lease = await kit.take(holder);
    for (let n = 0; n < 5; n += 1) {
      groups.push(lease.task.groupKey);
      [lease] = (await endAndLease(kit, [lease], done, 1)).leased.leases as [Lease];
    }
    expect([...groups, lease.task.groupKey].join("")).toMatch(/^(ab|ba){3}$/);
  }),
  check("B2", "gives the starvation share", async (kit) => {
    await kit.submitMany(2, { priority: 0 });
    await kit.submitMany(limits.starvationEvery * 2, { priority: 3 });
    let lease = await kit.take(await kit.session());
    const low: number[] = [];
    for (let n = 1; n < limits.starvationEvery * 2; n += 1) {
      [lease] = (await endAndLease(kit, [lease], done, 1)).leased.leases as [Lease];
      if (lease.task.priority === 0) low.push(n);
    }
    expect(low).toEqual([limits.starvationEvery - 1, limits.starvationEvery * 2 - 1]);
  }),
  check("B9", "ends more than one call carries, and leases for as many slots", async (kit) => {
    const size = 200 * 1_024;
    await kit.submitMany(16);
    const leases = await kit.lease(await kit.session(), 8);
    const result = bytes(size);
    const both = await endAndLease(kit, leases, { kind: "complete", result }, 8);
    expect(verdicts(both)).toEqual(leases.map(() => "accepted"));
    for (const { transition } of both.replies) {
      expect(transition!.task.result!.data.length).toBe(size);
    }
    expect(both.leased.leases).toHaveLength(8);
  }),
  check(
    "B5",
    "settles in one partition and leases in another",
    async (kit) => {
      const tasks = Array.from({ length: 20 }, (_, n) => kit.task({ queue: `q${n}` }));
      await kit.submit(...tasks);
      const placed = tasks.map((task) => ({
        task,
        partition: partitionOfSlot(slotOfId(task.id), 4),
      }));
      const first = placed[0]!;
      const second = placed.find(({ partition }) => partition !== first.partition)!;
      const holder = await kit.session();
      const requestIn = (partition: number) => ({ ...kit.request(holder, 1), partition });
      const held = (await kit.broker.lease(requestIn(first.partition))).leases[0]!;
      const settlement = { ...done, token: held.token, sessionId: holder.sessionId } as Settlement;
      const both = await kit.broker.settleAndLease([settlement], requestIn(second.partition));
      expect(verdicts(both)).toEqual(["accepted"]);
      expect(ids(both.leased.leases)).toContain(second.task.id);
    },
    { partitions: 4 },
  ),
];
