import { expect } from "vitest";
import type { Lease, SessionOpenReply } from "../../../src/broker/broker.js";
import { limits } from "../../../src/limits.js";
import { decodeLeaseToken, encodeLeaseToken } from "../../../src/task/ids.js";
import {
  check,
  done,
  failed,
  ids,
  lost,
  quarantined,
  released,
  type Check,
  type Holder,
  type Kit,
} from "./kit.js";

const newer = ({ sessionId, generation }: Holder): Holder => ({
  sessionId,
  generation: generation + 1,
});

function opened(reply: SessionOpenReply) {
  if (reply.kind !== "opened") throw new Error(`expected opened, came ${reply.kind}`);
  return reply;
}

const texts = (tokens: readonly Uint8Array[]): string[] =>
  tokens.map((token) => Buffer.from(token).toString("hex"));

async function holding(kit: Kit, tasks: number): Promise<{ holder: Holder; leases: Lease[] }> {
  await kit.submitMany(tasks);
  const holder = await kit.session();
  const leases = await kit.lease(holder, tasks);
  expect(leases).toHaveLength(tasks);
  return { holder, leases };
}

export const sessionChecks: readonly Check[] = [
  check("B6", "keeps a session that renews alive, with its leases", async (kit) => {
    await kit.warmUp();
    const { holder, leases } = await holding(kit, 1);
    for (let n = 0; n < 4; n += 1) {
      const reply = await kit.elapse(10_000, holder);
      expect([reply.lost, reply.left]).toEqual([[], []]);
    }
    await kit.end(leases[0]!, done);
  }),
  check("B6", "offers the leases of a dead session until they are settled", async (kit) => {
    await kit.warmUp();
    const { leases } = await holding(kit, 3);
    expect((await kit.elapse(12_000)).lost).toEqual([]);
    const reply = await kit.elapse(4_000);
    expect(ids(reply.lost).toSorted()).toEqual(ids(leases).toSorted());
    expect(texts(reply.lost.map((lease) => lease.token)).toSorted()).toEqual(
      texts(leases.map((lease) => lease.token)).toSorted(),
    );
    await kit.end(reply.lost[0]!, lost, null);
    const rest = await kit.broker.sweep(0);
    expect(ids(rest.lost).toSorted()).toEqual(ids(reply.lost.slice(1)).toSorted());
    for (const lease of rest.lost) await kit.end(lease, lost, null);
    expect((await kit.broker.sweep(0)).lost).toEqual([]);
    const again = await kit.lease(await kit.session(), 5);
    expect(ids(again)).toEqual(ids(leases));
  }),
  check("B6", "offers the same leases to two sweepers, and they are lost once", async (kit) => {
    await kit.warmUp();
    await holding(kit, 5);
    await kit.elapse(16_000);
    const other = await kit.harness.another();
    const [one, two] = await Promise.all([kit.broker.sweep(0), other.sweep(0)]);
    const settle = (leases: readonly Lease[]) =>
      leases.map(({ token }) => ({ ...lost, token, sessionId: undefined }) as never);
    const replies = await Promise.all([
      kit.broker.settle(settle(one.lost)),
      other.settle(settle(two.lost)),
    ]);
    const accepted = replies.flat().filter((reply) => reply.verdict === "accepted");
    expect(accepted).toHaveLength(5);
    for (const { transition } of accepted) expect(transition!.task.leaseLosses).toBe(1);
    expect(await kit.lease(await kit.session(), 9)).toHaveLength(5);
  }),
  check("B6", "finds a task whose second worker dies too", async (kit) => {
    await kit.warmUp();
    const task = await kit.submitOne();
    for (let losses = 1; losses <= 2; losses += 1) {
      await kit.take(await kit.session());
      const reply = await kit.elapse(16_000);
      expect(ids(reply.lost)).toEqual([task.id]);
      await kit.end(reply.lost[0]!, losses === 1 ? lost : quarantined(500), null);
      await kit.elapse(1_000);
      expect(await kit.get(task)).toMatchObject({ status: "pending", leaseLosses: losses });
    }
    expect((await kit.take(await kit.session())).task.attempt).toBe(3);
  }),
  check("B6", "never revives a dead session by renewing it", async (kit) => {
    const holder = await kit.session();
    await kit.harness.advance(limits.sessionLeaseMs + 500);
    expect(await kit.renew(holder)).toEqual(["gone"]);
    await kit.broker.sweep(0);
    expect(await kit.renew(holder)).toEqual(["gone"]);
    expect((await kit.leaseReply(holder)).lostSessions).toEqual([holder.sessionId]);
  }),
  check("B6", "answers renewals in their order", async (kit) => {
    const one = await kit.session();
    const two = await kit.session({}, 3);
    const stranger = { sessionId: "nobody", generation: 1 };
    const older = { ...two, generation: 2 };
    const verdicts = await kit.renew(stranger, one, older, two);
    expect(verdicts).toEqual(["gone", "renewed", "superseded", "renewed"]);
  }),
  check("B6", "cuts a broken session short, and renewing saves it", async (kit) => {
    await kit.warmUp();
    const one = await holding(kit, 1);
    const two = await holding(kit, 1);
    for (const { holder } of [one, two]) await kit.broker.cutSession(holder.sessionId, 1, 5_000);
    await kit.elapse(3_000);
    expect(await kit.renew(newer(two.holder))).toEqual(["gone"]);
    expect(await kit.renew(two.holder)).toEqual(["renewed"]);
    const reply = await kit.elapse(3_000);
    expect(ids(reply.lost)).toEqual(ids(one.leases));
  }),
  check("B6", "never lengthens a lease by a cut, nor cuts another generation", async (kit) => {
    await kit.warmUp();
    const holder = await kit.session({}, 2);
    await kit.broker.cutSession(holder.sessionId, 1, 1_000);
    await kit.broker.cutSession(holder.sessionId, 2, 60_000);
    await kit.elapse(10_000);
    expect((await kit.leaseReply(holder)).lostSessions).toEqual([]);
    await kit.elapse(6_000);
    expect((await kit.leaseReply(holder)).lostSessions).toEqual([holder.sessionId]);
  }),
  check("B6", "hands a session to the newest generation only", async (kit) => {
    const holder = await kit.session({}, 5);
    expect(await kit.resume({ ...holder, generation: 4 }, [])).toEqual({
      kind: "superseded",
      generation: 5,
    });
    expect(await kit.resume(newer(holder), [])).toMatchObject({ kind: "opened", resumed: true });
    expect(await kit.renew(holder)).toEqual(["superseded"]);
    await kit.broker.closeSession(holder.sessionId, holder.generation);
    expect(await kit.renew(newer(holder))).toEqual(["renewed"]);
  }),
  check("B6", "opens the same generation again", async (kit) => {
    const { holder, leases } = await holding(kit, 1);
    const reply = opened(await kit.resume(holder, [leases[0]!.token]));
    expect(reply.resumed).toBe(true);
    expect(ids(reply.kept)).toEqual(ids(leases));
  }),
  check("B6", "says of a new session that it resumes nothing", async (kit) => {
    const reply = await kit.resume({ sessionId: "fresh", generation: 1 }, []);
    const none = { kept: [], revoked: [], missing: [], lostInTransit: [], unreached: [] };
    expect(reply).toEqual({ kind: "opened", resumed: false, ...none });
  }),
  check("B6", "keeps what a resumed session holds, and names what it never got", async (kit) => {
    const { holder, leases } = await holding(kit, 3);
    const [held, ended, dropped] = leases;
    await kit.end(ended!, done);
    const other = await kit.harness.another();
    expect(other.partitions).toBe(kit.broker.partitions);
    const reply = opened(await kit.resume(newer(holder), [held!.token, ended!.token]));
    expect(ids(reply.kept)).toEqual([held!.task.id]);
    expect(texts(reply.kept.map((lease) => lease.token))).toEqual(texts([held!.token]));
    expect(texts(reply.revoked)).toEqual(texts([ended!.token]));
    expect(ids(reply.lostInTransit)).toEqual([dropped!.task.id]);
    expect(reply.missing).toEqual([]);
    await kit.end(reply.lostInTransit[0]!, released(), null);
    await kit.end(held!, done);
  }),
  check("B6", "gives a lost lease back to the session that kept running it", async (kit) => {
    await kit.warmUp();
    const { holder, leases } = await holding(kit, 1);
    const [lease] = (await kit.elapse(16_000)).lost;
    await kit.end(lease!, lost, null);
    const reply = opened(await kit.resume(newer(holder), [leases[0]!.token]));
    expect(ids(reply.kept)).toEqual(ids(leases));
    expect(await kit.get(leases[0]!.task)).toMatchObject({
      status: "running",
      attempt: 1,
      sessionId: holder.sessionId,
      fencingToken: leases[0]!.task.fencingToken,
    });
    expect(await kit.lease(await kit.session())).toEqual([]);
    await kit.end(leases[0]!, done);
  }),
  check("B6", "watches an adopted lease like any other", async (kit) => {
    await kit.warmUp();
    const { holder, leases } = await holding(kit, 1);
    await kit.end((await kit.elapse(16_000)).lost[0]!, lost, null);
    await kit.resume(newer(holder), [leases[0]!.token]);
    const again = await kit.elapse(16_000);
    expect(ids(again.lost)).toEqual(ids(leases));
  }),
  check("B6", "revokes what was leased again, released or retried meanwhile", async (kit) => {
    const { holder, leases } = await holding(kit, 3);
    const [taken, let_go, broken] = leases;
    await kit.end(let_go!, released(60_000));
    await kit.end(broken!, failed(60_000));
    await kit.broker.cutSession(holder.sessionId, 1, 0);
    await kit.harness.advance(100);
    await kit.end(taken!, lost, null);
    const again = await kit.take(await kit.session());
    expect(again.task.id).toBe(taken!.task.id);
    const tokens = leases.map((lease) => lease.token);
    const reply = opened(await kit.resume(newer(holder), tokens));
    expect(texts(reply.revoked).toSorted()).toEqual(texts(tokens).toSorted());
    expect(reply.kept).toEqual([]);
    await kit.end(again, done);
  }),
  check("B6", "revokes tokens that are forged, foreign or none at all", async (kit) => {
    const { leases } = await holding(kit, 1);
    const forged = Uint8Array.from(leases[0]!.token);
    forged[30]! ^= 1;
    const tokens = [forged, leases[0]!.token, new Uint8Array(5)];
    const thief = { sessionId: "thief", generation: 1 };
    const reply = opened(await kit.resume(thief, tokens));
    expect(texts(reply.revoked).toSorted()).toEqual(texts(tokens).toSorted());
    await kit.end(leases[0]!, done);
  }),
  check("B6", "names tokens of tasks that are not here, and takes them back later", async (kit) => {
    const { holder, leases } = await holding(kit, 2);
    await kit.harness.wipe();
    const tokens = leases.map((lease) => lease.token);
    const first = opened(await kit.resume(newer(holder), tokens));
    expect(texts(first.missing).toSorted()).toEqual(texts(tokens).toSorted());
    const [known, forgotten] = leases;
    await kit.restore(known!.task);
    await kit.restore({ ...forgotten!.task, status: "pending", fencingToken: 0, attempt: 0 });
    const second = opened(await kit.resume(newer(holder), tokens));
    expect(ids(second.kept).toSorted()).toEqual(ids(leases).toSorted());
    await kit.openAll(2);
    expect(await kit.lease(await kit.session(), 5)).toEqual([]);
    for (const lease of leases) await kit.end(lease, done);
  }),
  check(
    "B6",
    "adopts nothing older than what history knows, nor across namespaces",
    async (kit) => {
      const { holder, leases } = await holding(kit, 2);
      const [older, foreign] = leases;
      await kit.harness.wipe();
      const fencingToken = older!.task.fencingToken + 1;
      await kit.restore({ ...older!.task, fencingToken });
      await kit.restore({ ...foreign!.task });
      const namespace = "theirs";
      const reply = opened(await kit.resume(newer(holder), [older!.token]));
      expect(texts(reply.revoked)).toEqual(texts([older!.token]));
      const thief = { sessionId: "thief", generation: 1 };
      const refused = opened(await kit.resume(thief, [foreign!.token], { namespace }));
      expect(texts(refused.revoked)).toEqual(texts([foreign!.token]));
      await kit.openAll(2);
    },
  ),
  check(
    "B6",
    "gives nothing to who forges a grant, or holds one that history saw end",
    async (kit) => {
      const { holder, leases } = await holding(kit, 1);
      const [lease] = leases;
      await kit.harness.wipe();
      await kit.restore({ ...lease!.task, status: "retrying" });
      const fresh = await kit.submitOne();
      const { slot, fencingToken, secret } = decodeLeaseToken(lease!.token)!;
      const forged = encodeLeaseToken({ slot, taskId: fresh.id, fencingToken, secret });
      const tokens = [lease!.token, forged];
      const reply = opened(await kit.resume(newer(holder), tokens));
      expect(texts(reply.revoked).toSorted()).toEqual(texts(tokens).toSorted());
      await kit.openAll(2);
      expect(await kit.lease(newer(holder), 5)).toHaveLength(2);
    },
  ),
  check("B6", "offers the leases of a session that said goodbye as released", async (kit) => {
    const { holder, leases } = await holding(kit, 2);
    await kit.broker.closeSession(holder.sessionId, holder.generation + 1);
    expect(await kit.renew(holder)).toEqual(["renewed"]);
    await kit.broker.closeSession(holder.sessionId, holder.generation);
    expect(await kit.renew(holder)).toEqual(["gone"]);
    expect((await kit.leaseReply(holder)).lostSessions).toEqual([holder.sessionId]);
    const reply = await kit.broker.sweep(0);
    expect(ids(reply.left).toSorted()).toEqual(ids(leases).toSorted());
    expect(reply.lost).toEqual([]);
    for (const lease of reply.left) await kit.end(lease, released(), null);
    expect((await kit.broker.sweep(0)).left).toEqual([]);
    expect(await kit.resume(newer(holder), [])).toMatchObject({ kind: "opened" });
    expect(await kit.lease(newer(holder), 5)).toHaveLength(2);
  }),
  check("B6", "lists the sessions that live, as they last described themselves", async (kit) => {
    const one = await kit.session({ workerId: "w1", labels: { zone: "eu" }, slots: 3 });
    const two = await kit.session({ workerId: "w2" });
    const gone = await kit.session();
    await kit.broker.closeSession(gone.sessionId, 1);
    const [info] = (await kit.broker.listSessions()).filter((s) => s.sessionId === two.sessionId);
    const renewal = { ...two, leaseMs: limits.sessionLeaseMs, info: { ...info!, running: 2 } };
    await kit.broker.renewSessions(0, [renewal]);
    const listed = await kit.broker.listSessions();
    const shown = listed.toSorted((a, b) => (a.workerId < b.workerId ? -1 : 1));
    expect(shown).toMatchObject([
      { sessionId: one.sessionId, workerId: "w1", labels: { zone: "eu" }, slots: 3 },
      { sessionId: two.sessionId, workerId: "w2", running: 2 },
    ]);
    await kit.harness.advance(limits.sessionLeaseMs + 500);
    expect(await kit.broker.listSessions()).toEqual([]);
  }),
  check("B6", "knows the coordinators that announced themselves lately", async (kit) => {
    const say = (coordinatorId: string, sessions: number) =>
      kit.broker.announce({ coordinatorId, sessions, startedAt: 1 });
    expect(await say("one", 3)).toEqual([{ coordinatorId: "one", sessions: 3, startedAt: 1 }]);
    const both = await say("two", 5);
    expect(both.map((c) => c.coordinatorId).toSorted()).toEqual(["one", "two"]);
    await kit.harness.advance(11_000);
    expect(await say("two", 6)).toEqual([{ coordinatorId: "two", sessions: 6, startedAt: 1 }]);
  }),
  check("B6", "offers attempts that ran too long, and nothing before", async (kit) => {
    await kit.warmUp();
    await kit.submitOne({ timeoutMs: 30_000 });
    const holder = await kit.session();
    const lease = await kit.take(holder);
    expect((await kit.elapse(25_000, holder)).timedOut).toEqual([]);
    const reply = await kit.elapse(6_000, holder);
    expect(ids(reply.timedOut)).toEqual([lease.task.id]);
    expect(reply.timedOut[0]!.timeoutMs).toBe(0);
    expect(ids((await kit.broker.sweep(0)).timedOut)).toEqual([lease.task.id]);
    await kit.end(reply.timedOut[0]!, failed(), null);
    expect((await kit.broker.sweep(0)).timedOut).toEqual([]);
  }),
  check("B6", "reaps and times out nobody right after a gap in the sweeps", async (kit) => {
    await kit.warmUp();
    await kit.submitOne({ timeoutMs: 20_000 });
    const lease = await kit.take(await kit.session());
    await kit.harness.advance(30_000);
    const first = await kit.broker.sweep(0);
    expect([first.lost, first.timedOut]).toEqual([[], []]);
    const second = await kit.elapse(3_000);
    expect([second.lost, second.timedOut]).toEqual([[], []]);
    const third = await kit.elapse(3_000);
    expect([third.lost, ids(third.timedOut)]).toEqual([[], [lease.task.id]]);
    expect((await kit.elapse(5_000)).lost).toEqual([]);
    expect(ids((await kit.elapse(6_000)).lost)).toEqual([lease.task.id]);
  }),
];
