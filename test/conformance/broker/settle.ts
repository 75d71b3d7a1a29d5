import { expect } from "vitest";
import { limits } from "../../../src/limits.js";
import type { Lease } from "../../../src/broker/broker.js";
import {
  check,
  done,
  failed,
  failure,
  ids,
  lost,
  poisoned,
  quarantined,
  released,
  timedOut,
  type Check,
  type Ending,
  type Kit,
} from "./kit.js";

async function running(kit: Kit): Promise<Lease> {
  await kit.submitOne();
  return kit.take(await kit.session());
}

const result = { contentType: "application/json", data: Buffer.from('{"ok":true}') };
const endings: readonly [string, Ending][] = [
  ["completed", done],
  ["failed", failed()],
  ["retried", failed(60_000)],
  ["timed out", timedOut()],
  ["timed out and retried", timedOut(60_000)],
  ["released", released()],
  ["released with a delay", released(60_000)],
  ["cancelled", { kind: "cancel" }],
];

export const settleChecks: readonly Check[] = [
  check("B5", "accepts a result once and keeps it", async (kit) => {
    const lease = await running(kit);
    const { task, attempt } = await kit.end(lease, { kind: "complete", result });
    expect(task).toMatchObject({ status: "completed", version: lease.task.version + 1 });
    expect(task.completedAt).toBeGreaterThanOrEqual(lease.task.startedAt!);
    expect(attempt).toMatchObject({
      taskId: task.id,
      fencingToken: lease.task.fencingToken,
      attempt: 1,
      run: 1,
      sessionId: lease.sessionId,
      workerId: "worker-1",
      startedAt: lease.task.startedAt,
      outcome: "completed",
      error: undefined,
    });
    const kept = await kit.get(lease.task);
    expect(kept).toMatchObject({ status: "completed", attempt: 1, sessionId: lease.sessionId });
    expect(kept!.result!.contentType).toBe(result.contentType);
    expect(Buffer.from(kept!.result!.data)).toEqual(result.data);
  }),
  ...endings.map(([name, ending]) =>
    check("B5", `answers duplicate when what was ${name} is reported again`, async (kit) => {
      const lease = await running(kit);
      const before = await kit.end(lease, ending);
      const again = await kit.settle(lease, ending);
      expect(again).toMatchObject({ verdict: "duplicate", transition: undefined });
      expect((await kit.get(lease.task))?.version).toBe(before.task.version);
      if (before.task.completedAt === undefined) return;
      expect(again.recorded).toBe(false);
      await kit.recorded(before);
      expect(await kit.settle(lease, ending)).toMatchObject({
        verdict: "duplicate",
        recorded: true,
      });
    }),
  ),
  ...endings.slice(1).map(([name, ending]) =>
    check("B5", `finds a success stale after the attempt was ${name}`, async (kit) => {
      const lease = await running(kit);
      const { task } = await kit.end(lease, ending);
      expect(await kit.verdict(lease, done)).toBe("stale");
      expect(await kit.get(task)).toMatchObject({ status: task.status, version: task.version });
    }),
  ),
  check("B5", "compares the whole token", async (kit) => {
    const lease = await running(kit);
    for (const at of [0, 2, 17, 18, 25, 26, 33]) {
      const token = Uint8Array.from(lease.token);
      token[at]! ^= 1;
      expect(await kit.verdict({ ...lease, token }, done), `byte ${at}`).toBe("stale");
    }
    const { length } = lease.token;
    for (const token of [new Uint8Array(0), lease.token.subarray(1), new Uint8Array(length)]) {
      expect(await kit.verdict({ ...lease, token }, done)).toBe("stale");
    }
    expect(await kit.statusOf(lease.task)).toBe("running");
    await kit.end(lease, done);
  }),
  check("B5", "compares the session", async (kit) => {
    const lease = await running(kit);
    const other = await kit.session();
    expect(await kit.verdict(lease, done, other.sessionId)).toBe("stale");
    expect(await kit.verdict(lease, done, "")).toBe("stale");
    expect(await kit.statusOf(lease.task)).toBe("running");
    await kit.end(lease, done);
    expect(await kit.verdict(lease, done, other.sessionId)).toBe("stale");
  }),
  check("B5", "accepts one of two results that come at once", async (kit) => {
    const lease = await running(kit);
    const other = await kit.harness.another();
    const settlement = { ...done, token: lease.token, sessionId: lease.sessionId } as const;
    const replies = await Promise.all([
      kit.broker.settle([settlement as never]),
      other.settle([settlement as never]),
    ]);
    const verdicts = replies.flat().map((reply) => reply.verdict);
    expect(verdicts.toSorted()).toEqual(["accepted", "duplicate"]);
  }),
  check("B5", "answers a batch in its order", async (kit) => {
    await kit.submitMany(4);
    const leases = await kit.lease(await kit.session(), 4);
    await kit.end(leases[1]!, failed());
    const replies = await kit.broker.settle(
      [leases[0]!, leases[1]!, leases[2]!, leases[2]!].map(({ token, sessionId }) => ({
        kind: "complete",
        result: undefined,
        token,
        sessionId,
      })),
    );
    expect(replies.map((reply) => reply.verdict)).toEqual([
      "accepted",
      "stale",
      "accepted",
      "duplicate",
    ]);
    expect(replies[0]!.transition!.task.id).toBe(leases[0]!.task.id);
    expect(await kit.statusOf(leases[3]!.task)).toBe("running");
  }),
  check(
    "B5",
    "accepts a result of a dead session as long as nobody took the lease",
    async (kit) => {
      const lease = await running(kit);
      await kit.harness.advance(limits.sessionLeaseMs + 500);
      await kit.end(lease, done);
    },
  ),
  check("B5", "counts a retry and keeps its error", async (kit) => {
    const lease = await running(kit);
    const { task, attempt } = await kit.end(lease, failed(60_000));
    expect(task).toMatchObject({
      status: "retrying",
      retryCount: 1,
      attempt: 1,
      error: failure,
      completedAt: undefined,
    });
    expect(task.readyAt).toBeGreaterThan(lease.task.startedAt! + 59_000);
    expect(attempt).toMatchObject({ outcome: "failed", error: failure });
  }),
  check("B5", "ends a task whose failure allows no retry", async (kit) => {
    const lease = await running(kit);
    const { task } = await kit.end(lease, failed());
    expect(task).toMatchObject({ status: "failed", retryCount: 0, error: failure });
    expect(await kit.lease(await kit.session())).toEqual([]);
  }),
  check("B5", "ends an attempt for its coordinator, whoever holds it", async (kit) => {
    const lease = await running(kit);
    const { task, attempt } = await kit.end(lease, timedOut(0), null);
    expect(task).toMatchObject({ status: "retrying", retryCount: 1, error: { code: "timeout" } });
    expect(attempt).toMatchObject({ outcome: "timeout", sessionId: lease.sessionId });
    expect(await kit.verdict(lease, done)).toBe("stale");
  }),
  check("B5", "gives a released task back uncharged, and counts releases in a row", async (kit) => {
    const lease = await running(kit);
    const holder = { sessionId: lease.sessionId, generation: 1 };
    const { task, attempt } = await kit.end(lease, released());
    expect(task).toMatchObject({ status: "pending", releases: 1, retryCount: 0, leaseLosses: 0 });
    expect(attempt).toMatchObject({ outcome: "released" });
    const later = await kit.end(await kit.take(holder), released(30_000));
    expect(later.task).toMatchObject({ status: "scheduled", releases: 2, attempt: 2 });
    await kit.broker.promoteNow(task.id);
    const broken = await kit.end(await kit.take(holder), failed(30_000));
    expect(broken.task).toMatchObject({ releases: 0, retryCount: 1, attempt: 3 });
  }),
  check("B5", "counts no release of what no worker has seen", async (kit) => {
    const lease = await running(kit);
    const holder = { sessionId: lease.sessionId, generation: 1 };
    await kit.end(lease, released());
    const unsent = { ...released(), unsent: true } as const;
    const { task } = await kit.end(await kit.take(holder), unsent);
    expect(task).toMatchObject({ status: "pending", releases: 1, retryCount: 0, leaseLosses: 0 });
    expect((await kit.take(holder)).task).toMatchObject({ releases: 1, attempt: 3 });
  }),
  check("B5", "loses a lease only while its session is dead", async (kit) => {
    const lease = await running(kit);
    expect(await kit.verdict(lease, lost, null)).toBe("stale");
    expect(await kit.statusOf(lease.task)).toBe("running");
    await kit.harness.advance(limits.sessionLeaseMs + 500);
    const { task, attempt } = await kit.end(lease, lost, null);
    expect(task).toMatchObject({ status: "pending", leaseLosses: 1, retryCount: 0, attempt: 1 });
    expect(attempt).toMatchObject({ outcome: "lost" });
  }),
  check("B5", "takes a second loss from two sweepers once", async (kit) => {
    await kit.submitOne();
    const { lease } = await kit.loseOne(lost);
    expect(await kit.verdict(lease, lost, null)).not.toBe("accepted");
    expect(await kit.get(lease.task)).toMatchObject({ status: "pending", leaseLosses: 1 });
  }),
  check("B5", "accepts a late success of a lost lease, and never leases it again", async (kit) => {
    await kit.submitOne();
    const { lease, holder } = await kit.loseOne(lost);
    const { task, attempt } = await kit.end(lease, { kind: "complete", result });
    expect(task.status).toBe("completed");
    expect(attempt).toMatchObject({ outcome: "completed", fencingToken: lease.task.fencingToken });
    expect(await kit.verdict(lease, { kind: "complete", result })).toBe("duplicate");
    expect(await kit.lease(await kit.session())).toEqual([]);
    expect(await kit.verdict(lease, lost, null)).toBe("stale");
    expect(holder.sessionId).toBe(lease.sessionId);
  }),
  check("B5", "accepts a late success of a task in quarantine", async (kit) => {
    const task = await kit.submitOne();
    await kit.loseOne(lost);
    const { lease } = await kit.loseOne(quarantined(60_000));
    expect(await kit.get(task)).toMatchObject({ status: "retrying", leaseLosses: 2 });
    await kit.end(lease, done);
    await kit.harness.advance(61_000);
    expect((await kit.broker.sweep(0)).promoted).toBe(0);
    expect(await kit.lease(await kit.session())).toEqual([]);
  }),
  check("B5", "finds a late success stale once the task was leased again", async (kit) => {
    await kit.submitOne();
    const { lease } = await kit.loseOne(lost);
    const again = await kit.take(await kit.session());
    expect(await kit.verdict(lease, done)).toBe("stale");
    await kit.end(again, released());
    expect(await kit.verdict(lease, done)).toBe("stale");
    expect(await kit.statusOf(lease.task)).toBe("pending");
  }),
  check("B5", "finds every late report but a success stale", async (kit) => {
    await kit.submitOne();
    const { lease } = await kit.loseOne(lost);
    for (const ending of [
      failed(),
      failed(5),
      timedOut(),
      released(),
      { kind: "cancel" } as const,
    ]) {
      expect(await kit.verdict(lease, ending)).toBe("stale");
    }
    expect(await kit.statusOf(lease.task)).toBe("pending");
  }),
  check("B5", "takes no late success from another session", async (kit) => {
    await kit.submitOne();
    const { lease } = await kit.loseOne(lost);
    const other = await kit.session();
    expect(await kit.verdict(lease, done, other.sessionId)).toBe("stale");
  }),
  check("B5", "ends a poisonous task for good", async (kit) => {
    await kit.submitOne();
    const { lease } = await kit.loseOne(poisoned);
    const task = await kit.get(lease.task);
    expect(task).toMatchObject({ status: "failed", error: { code: "poison", retryable: false } });
    expect(await kit.verdict(lease, done)).toBe("stale");
    expect(await kit.lease(await kit.session())).toEqual([]);
  }),
  check("B5", "counts failures and losses apart", async (kit) => {
    await kit.submitOne();
    await kit.loseOne(lost);
    const holder = await kit.session();
    const { task } = await kit.end(await kit.take(holder), failed(60_000));
    expect(task).toMatchObject({ attempt: 2, retryCount: 1, leaseLosses: 1 });
  }),
  check("B5", "keeps the latest progress of the attempt that runs", async (kit) => {
    const lease = await running(kit);
    const { token, sessionId } = lease;
    const say = (fraction: number, by = sessionId, of = token) =>
      kit.broker.progress([{ token: of, sessionId: by, progress: { fraction, message: "m" } }]);
    await say(0.25);
    await say(0.5);
    const forged = Uint8Array.from(token);
    forged[33]! ^= 1;
    await say(0.9, sessionId, forged);
    await say(0.9, "somebody");
    await say(0.9, sessionId, new Uint8Array(3));
    const seen = await kit.get(lease.task);
    expect(seen).toMatchObject({ progress: { fraction: 0.5 }, version: lease.task.version });
    await kit.end(lease, released());
    await say(0.9);
    const next = await kit.take({ sessionId, generation: 1 });
    expect(next.task.progress).toBeUndefined();
  }),

  check("B8", "never leases what was cancelled while it waited", async (kit) => {
    const runAt = (await kit.broker.now()) + 5_000;
    const ready = await kit.submitOne();
    const delayed = await kit.submitOne({ runAt });
    const grouped = await kit.submitOne({ groupKey: "a" });
    for (const task of [ready, delayed, grouped]) {
      const reply = await kit.cancel(task);
      expect(reply).toMatchObject({ kind: "cancelled", transition: { task: { id: task.id } } });
      expect(await kit.get(task)).toMatchObject({ status: "cancelled", version: 2 });
    }
    await kit.harness.advance(6_000);
    expect((await kit.broker.sweep(0)).promoted).toBe(0);
    expect(await kit.lease(await kit.session(), 5)).toEqual([]);
  }),
  check("B8", "cancels a task that waits for its retry", async (kit) => {
    const lease = await running(kit);
    await kit.end(lease, failed(1_000));
    expect((await kit.cancel(lease.task)).kind).toBe("cancelled");
    await kit.elapse(2_000);
    expect(await kit.lease(await kit.session())).toEqual([]);
  }),
  check("B8", "asks a running task to stop, and lets a result win", async (kit) => {
    const lease = await running(kit);
    const reply = await kit.cancel(lease.task);
    expect(reply).toMatchObject({ kind: "requested", task: { status: "running" } });
    const seen = await kit.get(lease.task);
    expect(seen!.cancelRequestedAt).toBeGreaterThanOrEqual(lease.task.startedAt!);
    expect(seen!.version).toBe(lease.task.version + 1);
    expect((await kit.cancel(lease.task)).kind).toBe("requested");
    expect((await kit.end(lease, done)).task.status).toBe("completed");
    expect(await kit.cancel(lease.task)).toMatchObject({
      kind: "final",
      task: { status: "completed" },
    });
  }),
  check(
    "B8",
    "offers the lease once the grace is over, however often it was asked",
    async (kit) => {
      const lease = await running(kit);
      const holder = { sessionId: lease.sessionId, generation: 1 };
      await kit.cancel(lease.task, 20_000);
      expect((await kit.elapse(12_000, holder)).cancelOverdue).toEqual([]);
      await kit.cancel(lease.task, 20_000);
      const reply = await kit.elapse(9_000, holder);
      expect(ids(reply.cancelOverdue)).toEqual([lease.task.id]);
      expect(Buffer.from(reply.cancelOverdue[0]!.token)).toEqual(Buffer.from(lease.token));
      const again = await kit.broker.sweep(0);
      expect(ids(again.cancelOverdue)).toEqual([lease.task.id]);
      const { task, attempt } = await kit.end(lease, { kind: "cancel" }, null);
      expect([task.status, attempt?.outcome]).toEqual(["cancelled", "cancelled"]);
      expect((await kit.broker.sweep(0)).cancelOverdue).toEqual([]);
      expect(await kit.verdict(lease, done)).toBe("stale");
    },
  ),
  ...(
    [
      ["retried", failed(0), "failed"],
      ["released", released(), "released"],
      ["released with a delay", released(5_000), "released"],
    ] as const
  ).map(([name, ending, outcome]) =>
    check("B8", `cancels a task asked to stop whose attempt is ${name}`, async (kit) => {
      const lease = await running(kit);
      await kit.cancel(lease.task);
      const { task, attempt } = await kit.end(lease, ending);
      expect([task.status, attempt?.outcome]).toEqual(["cancelled", outcome]);
      await kit.elapse(6_000);
      expect(await kit.lease(await kit.session())).toEqual([]);
    }),
  ),
  check("B8", "cancels a task asked to stop whose worker is lost", async (kit) => {
    const lease = await running(kit);
    await kit.cancel(lease.task);
    await kit.harness.advance(limits.sessionLeaseMs + 500);
    expect((await kit.end(lease, lost, null)).task.status).toBe("cancelled");
    expect(await kit.verdict(lease, done)).toBe("stale");
  }),
  check("B8", "plants a tombstone for an id it does not know", async (kit) => {
    const task = kit.task();
    expect(await kit.cancel(task)).toEqual({ kind: "unknown" });
    expect(await kit.enqueue(task)).toEqual([{ kind: "known" }]);
    expect((await kit.restore(task)).kind).toBe("known");
    expect(await kit.get(task)).toBeUndefined();
    expect((await kit.restore({ ...task, run: 2 })).kind).toBe("enqueued");
  }),
  check("B8", "plants the tombstone of the run that history shows", async (kit) => {
    const task = kit.task({ run: 3 });
    const item = { taskId: task.id, namespace: task.namespace, graceMs: 0, run: 3 };
    expect(await kit.broker.cancel([item])).toEqual([{ kind: "unknown" }]);
    expect((await kit.restore(task)).kind).toBe("known");
    expect((await kit.restore({ ...task, run: 4 })).kind).toBe("enqueued");
  }),
  check("B8", "leaves another namespace's task alone", async (kit) => {
    const task = await kit.submitOne({ namespace: "theirs" });
    expect(await kit.cancel({ ...task, namespace: "mine" })).toEqual({ kind: "unknown" });
    expect(await kit.statusOf(task)).toBe("pending");
    await kit.end(await kit.take(await kit.session({ namespace: "theirs" })), done);
  }),
];
