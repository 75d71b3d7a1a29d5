import { expect } from "vitest";
import type { Lease, Transition } from "../../../src/broker/broker.js";
import { limits } from "../../../src/limits.js";
import type { Task } from "../../../src/task/task.js";
import {
  check,
  checkDurable,
  done,
  failed,
  failure,
  ids,
  lost,
  quarantined,
  released,
  type Check,
  type Holder,
  type Kit,
} from "./kit.js";
import { itemOf } from "../../support/outbox-items.js";

/** Long enough that the first sweep, which is a cautious one, is over. */
const soonMs = 20_000;

const at = async (kit: Kit, inMs: number): Promise<number> => (await kit.broker.now()) + inMs;

const beat = (kit: Kit, { token, sessionId }: Lease, fraction = 0.5): Promise<void> =>
  kit.broker.progress([{ token, sessionId, progress: { fraction, message: "" } }]);

/** What sweeps have ended within `ms`. */
async function endedWithin(kit: Kit, ms: number, ...alive: Holder[]): Promise<Transition[]> {
  const ended: Transition[] = [];
  for (let left = ms; left > 0; left -= 1_000) {
    ended.push(...(await kit.elapse(Math.min(left, 1_000), ...alive)).ended);
  }
  return ended;
}

const viewOf = ({ id, status, error }: Task): string => `${id} ${status} ${error?.code}`;

/** The same, and what the last sweep offers, in short. */
async function after(kit: Kit, ms: number, ...alive: Holder[]) {
  const ended = await endedWithin(kit, ms, ...alive);
  const { timedOut, ended: more } = await kit.broker.sweep(0);
  return {
    timedOut: timedOut.map(({ task, cause }) => `${task.id} ${cause}`).toSorted(),
    ended: [...ended, ...more].map(({ task }) => viewOf(task)).toSorted(),
  };
}

const nothing = { timedOut: [], ended: [] };

const startChecks: readonly Check[] = [
  checkDurable("B16", "ends what has not started in time as expired, once", async (kit) => {
    const task = await kit.submitOne({ terms: { expireAt: await at(kit, soonMs) } });
    expect(await after(kit, soonMs - 2_000)).toEqual(nothing);
    const [transition] = await endedWithin(kit, 3_000);
    expect(transition).toMatchObject({
      attempt: undefined,
      task: { id: task.id, status: "expired", version: 2, error: { code: "expired" } },
    });
    expect(transition!.task.completedAt).toBeGreaterThanOrEqual(task.terms!.expireAt!);
    expect((await kit.outbox()).map(itemOf)).toEqual([itemOf(transition!)]);
    expect(await after(kit, 1_000)).toEqual(nothing);
    expect(await kit.lease(await kit.session())).toEqual([]);
    await kit.recorded(transition!);
    expect(await kit.get(task)).toBeUndefined();
    expect(await kit.enqueue(task)).toEqual([{ kind: "known" }]);
  }),
  check("B16", "never leases a task past its time to start, swept or not", async (kit) => {
    const [late, other] = await kit.submit(
      kit.task({ terms: { expireAt: await at(kit, 5_000) } }),
      kit.task({}),
    );
    await kit.harness.advance(5_100);
    const holder = await kit.session();
    expect(ids(await kit.lease(holder, 5))).toEqual([other!.id]);
    expect(await kit.lease(holder, 5)).toEqual([]);
    expect(await kit.statusOf(late!)).toBe("pending");
    expect((await after(kit, 500)).ended).toEqual([`${late!.id} expired expired`]);
  }),
  check("B16", "finds work behind any number of tasks past their time", async (kit) => {
    const expireAt = await at(kit, 5_000);
    await kit.submitMany(30, { terms: { expireAt } });
    const behind = await kit.submitOne();
    const below = await kit.submitOne({ priority: 0 });
    await kit.harness.advance(5_100);
    const holder = await kit.session();
    expect(ids(await kit.lease(holder, 2))).toEqual([behind.id, below.id]);
    expect((await kit.broker.sweep(0)).ended).toHaveLength(30);
  }),
  check("B16", "does not lease at once what came in past its time", async (kit) => {
    const task = kit.note(kit.task({ terms: { expireAt: await at(kit, -1_000) } }));
    const holder = await kit.session();
    const request = kit.request(holder, 1);
    const reply = await kit.broker.enqueue([{ task, origin: "submit" }], request);
    expect(reply).toMatchObject({ outcomes: [{ kind: "enqueued" }], leases: [] });
    expect((await after(kit, 500)).ended).toEqual([`${task.id} expired expired`]);
  }),
  check(
    "B16",
    "ends a task past its time to start while it waits for its own time",
    async (kit) => {
      const runAt = await at(kit, 60_000);
      const task = await kit.submitOne({ runAt, terms: { expireAt: await at(kit, soonMs) } });
      expect((await after(kit, soonMs + 1_000)).ended).toEqual([`${task.id} expired expired`]);
      expect((await kit.elapse(60_000)).promoted).toBe(0);
    },
  ),
  check("B16", "keeps what has started within its time to start", async (kit) => {
    const [retried, given, taken] = await kit.submitMany(3, {
      terms: { expireAt: await at(kit, soonMs) },
    });
    const holder = await kit.session();
    const leases = await kit.lease(holder, 3);
    await kit.end(leases[0]!, failed(60_000));
    await kit.end(leases[1]!, released(30_000));
    expect(await after(kit, soonMs + 5_000, holder)).toEqual(nothing);
    expect(await kit.statusOf(retried!)).toBe("retrying");
    expect(await kit.statusOf(given!)).toBe("scheduled");
    await kit.end(leases[2]!, done);
    expect(await kit.statusOf(taken!)).toBe("completed");
    await kit.elapse(60_000, holder);
    expect(ids(await kit.lease(holder, 3)).toSorted()).toEqual([retried!.id, given!.id].toSorted());
  }),
  check("B16", "lets a new run begin whenever it is asked for", async (kit) => {
    const expireAt = await at(kit, -5_000);
    const task = kit.task({ terms: { expireAt, deadline: expireAt }, run: 2, version: 3 });
    expect((await kit.restore(task)).kind).toBe("enqueued");
    expect(await after(kit, 1_000)).toEqual(nothing);
    await kit.end(await kit.take(await kit.session()), done);
  }),
];

const deadlineChecks: readonly Check[] = [
  check("B16", "ends what waits past its deadline: expired if it never started", async (kit) => {
    const deadline = await at(kit, soonMs);
    const [fresh, tried] = await kit.submit(
      kit.task({ terms: { deadline }, priority: 0 }),
      kit.task({ terms: { deadline }, priority: 3 }),
    );
    const holder = await kit.session();
    const { task } = await kit.end(await kit.take(holder), released(60_000));
    expect(task.id).toBe(tried!.id);
    expect(await after(kit, soonMs - 1_000, holder)).toEqual(nothing);
    const { ended } = await after(kit, 2_000, holder);
    expect(ended).toEqual(
      [`${fresh!.id} expired deadline`, `${tried!.id} failed deadline`].toSorted(),
    );
  }),
  check("B16", "cuts an attempt to the deadline, and says so", async (kit) => {
    const task = await kit.submitOne({
      terms: { deadline: await at(kit, soonMs) },
      timeoutMs: 900_000,
    });
    const holder = await kit.session();
    const lease = await kit.take(holder);
    expect(lease.timeoutMs).toBeLessThanOrEqual(soonMs);
    expect(lease.timeoutMs).toBeGreaterThan(soonMs - 5_000);
    expect(await after(kit, soonMs - 1_000, holder)).toEqual(nothing);
    expect((await after(kit, 2_000, holder)).timedOut).toEqual([`${task.id} deadline`]);
    await kit.end(lease, { ...failed(), cause: "timeout" } as never, null);
    expect(await kit.verdict(lease, done)).toBe("stale");
  }),
  check("B16", "schedules no retry beyond the deadline", async (kit) => {
    const [near, far] = await kit.submitMany(2, { terms: { deadline: await at(kit, 30_000) } });
    const holder = await kit.session();
    const leases = await kit.lease(holder, 2);
    const inTime = await kit.end(leases[0]!, failed(10_000));
    expect(inTime.task).toMatchObject({ id: near!.id, status: "retrying", retryCount: 1 });
    const late = await kit.end(leases[1]!, failed(30_000));
    expect(late.task).toMatchObject({ id: far!.id, status: "failed", retryCount: 0 });
    expect(late.task.error).toEqual(failure);
    expect(await kit.verdict(leases[1]!, failed(30_000))).toBe("duplicate");
  }),
  check("B16", "leaves nothing of a task whose worker was lost past its deadline", async (kit) => {
    const [first, second] = await kit.submitMany(2, { terms: { deadline: await at(kit, soonMs) } });
    const holder = await kit.session();
    const leases = await kit.lease(holder, 2);
    await kit.harness.advance(soonMs + 1_000);
    await kit.end(leases[0]!, lost, null);
    await kit.end(leases[1]!, quarantined(60_000), null);
    expect(await kit.lease(await kit.session(), 5)).toEqual([]);
    const { ended } = await after(kit, 500);
    expect(ended).toEqual([first!, second!].map(({ id }) => `${id} failed deadline`).toSorted());
    expect(await kit.verdict(leases[0]!, done)).toBe("stale");
  }),
  check("B16", "takes the nearer of deadline and time to start", async (kit) => {
    const [one, other] = await kit.submit(
      kit.task({ terms: { expireAt: await at(kit, 20_000), deadline: await at(kit, 40_000) } }),
      kit.task({ terms: { expireAt: await at(kit, 40_000), deadline: await at(kit, 20_000) } }),
    );
    const { ended } = await after(kit, 21_000);
    expect(ended).toEqual(
      [`${one!.id} expired expired`, `${other!.id} expired deadline`].toSorted(),
    );
  }),
  check(
    "B16",
    "ends no task that was cancelled before its time, nor one that ended",
    async (kit) => {
      const expireAt = await at(kit, soonMs);
      const [gone, finished] = await kit.submitMany(2, {
        terms: { expireAt, deadline: expireAt },
      });
      expect((await kit.cancel(gone!)).kind).toBe("cancelled");
      await kit.end(await kit.take(await kit.session()), done);
      expect(await after(kit, soonMs + 1_000)).toEqual(nothing);
      expect(await kit.statusOf(finished!)).toBe("completed");
    },
  ),
  check("B16", "forgets the time of a task that history has buried", async (kit) => {
    const task = await kit.submitOne({ terms: { expireAt: await at(kit, soonMs) } });
    await kit.broker.bury([{ ...task, status: "completed", completedAt: task.createdAt }]);
    expect(await after(kit, soonMs + 1_000)).toEqual(nothing);
  }),
  checkDurable(
    "B16",
    "holds back what is past its time while the outbox is full",
    async (kit) => {
      const expireAt = await at(kit, soonMs);
      const [task] = await kit.submitMany(1, { terms: { expireAt } });
      await kit.submitMany(2, { durability: "relaxed", type: "other" });
      expect(await after(kit, soonMs + 1_000)).toEqual(nothing);
      expect((await kit.leaseReply(await kit.session())).kind).toBe("outbox_full");
      const [entry] = await kit.outbox();
      await kit.recorded(entry!);
      expect((await after(kit, 500)).ended).toEqual([`${task!.id} expired expired`]);
    },
    { bounds: { outboxEntries: 2 } },
  ),
];

const heartbeatChecks: readonly Check[] = [
  check("B16", "offers an attempt that says nothing for its heartbeat timeout", async (kit) => {
    const task = await kit.submitOne({ terms: { heartbeatTimeoutMs: 10_000 } });
    const holder = await kit.session();
    const lease = await kit.take(holder);
    expect(lease.timeoutMs).toBeGreaterThan(800_000);
    expect(await after(kit, 9_000, holder)).toEqual(nothing);
    expect((await after(kit, 2_000, holder)).timedOut).toEqual([`${task.id} heartbeat_timeout`]);
  }),
  check("B16", "counts the silence from the last word of the attempt", async (kit) => {
    const task = await kit.submitOne({ terms: { heartbeatTimeoutMs: 10_000 } });
    const holder = await kit.session();
    const lease = await kit.take(holder);
    for (let n = 1; n <= 4; n += 1) {
      expect(await after(kit, 8_000, holder)).toEqual(nothing);
      await beat(kit, lease, n / 5);
    }
    expect(await after(kit, 9_000, holder)).toEqual(nothing);
    expect((await after(kit, 2_000, holder)).timedOut).toEqual([`${task.id} heartbeat_timeout`]);
    await beat(kit, lease, 0.9);
    expect(await after(kit, 1_000, holder)).toEqual(nothing);
  }),
  check("B16", "hears a mere sign of life, which changes nothing else", async (kit) => {
    const task = await kit.submitOne({ terms: { heartbeatTimeoutMs: 10_000 } });
    const holder = await kit.session();
    const { token, sessionId } = await kit.take(holder);
    await kit.broker.progress([{ token, sessionId, progress: { fraction: 0.5, message: "m" } }]);
    await kit.elapse(8_000, holder);
    const before = await kit.get(task);
    await kit.broker.progress([{ token, sessionId, progress: undefined }]);
    expect(await kit.get(task)).toEqual(before);
    expect(await after(kit, 8_000, holder)).toEqual(nothing);
    await kit.broker.progress([{ token, sessionId: "somebody", progress: undefined }]);
    expect((await after(kit, 3_000, holder)).timedOut).toEqual([`${task.id} heartbeat_timeout`]);
  }),
  check("B16", "hears no word of another attempt, session or token", async (kit) => {
    await kit.submitOne({ terms: { heartbeatTimeoutMs: 10_000 } });
    const holder = await kit.session();
    const first = await kit.take(holder);
    await kit.end(first, released());
    const lease = await kit.take(holder);
    await kit.elapse(8_000, holder);
    await beat(kit, first);
    await beat(kit, { ...lease, sessionId: "somebody" });
    expect((await after(kit, 3_000, holder)).timedOut).toHaveLength(1);
  }),
  check("B16", "lets no word postpone the attempt's own timeout or the deadline", async (kit) => {
    const [slow, late] = await kit.submit(
      kit.task({ terms: { heartbeatTimeoutMs: 10_000 }, timeoutMs: 20_000, priority: 3 }),
      kit.task({ terms: { heartbeatTimeoutMs: 10_000, deadline: await at(kit, 20_000) } }),
    );
    const holder = await kit.session();
    const leases = await kit.lease(holder, 2);
    for (const ms of [7_000, 7_000]) {
      expect(await after(kit, ms, holder)).toEqual(nothing);
      for (const lease of leases) await beat(kit, lease);
    }
    const { timedOut } = await after(kit, 7_000, holder);
    expect(timedOut).toEqual([`${slow!.id} timeout`, `${late!.id} deadline`].toSorted());
  }),
  check("B16", "watches an attempt that its session has got back", async (kit) => {
    await kit.submitOne({ terms: { heartbeatTimeoutMs: 30_000 } });
    const { lease, holder } = await kit.loseOne(lost);
    const again = { ...holder, generation: 2 };
    const reply = await kit.resume(again, [lease.token]);
    expect(reply).toMatchObject({ kind: "opened", kept: [{ sessionId: holder.sessionId }] });
    expect(await after(kit, 28_000, again)).toEqual(nothing);
    expect((await after(kit, 4_000, again)).timedOut).toHaveLength(1);
  }),
  check("B16", "offers every attempt past its timeout as such", async (kit) => {
    const task = await kit.submitOne({ timeoutMs: soonMs });
    const holder = await kit.session();
    await kit.take(holder);
    const { timedOut } = await after(kit, limits.timeoutGraceMs + soonMs, holder);
    expect(timedOut).toEqual([`${task.id} timeout`]);
  }),
];

export const timeoutChecks: readonly Check[] = [
  ...startChecks,
  ...deadlineChecks,
  ...heartbeatChecks,
];
