import { expect } from "vitest";
import type { Lease } from "../../../src/broker/broker.js";
import { limits } from "../../../src/limits.js";
import type { Cancellation, Task } from "../../../src/task/task.js";
import {
  check,
  checkDurable,
  done,
  failed,
  lost,
  released,
  type Check,
  type Holder,
  type Kit,
} from "./kit.js";

async function running(kit: Kit): Promise<{ lease: Lease; holder: Holder }> {
  await kit.submitOne();
  const holder = await kit.session();
  return { lease: await kit.take(holder), holder };
}

const cancel = (kit: Kit, { id: taskId, namespace }: Task, reason: string, graceMs = 30_000) =>
  kit.broker.cancel([{ taskId, namespace, graceMs, reason }]);

const deliver = (kit: Kit, { token }: Lease, sessionId: string): Promise<void> =>
  kit.broker.delivered([{ token, sessionId }]);

const proofOf = async (kit: Kit, task: Pick<Task, "id">): Promise<Cancellation | undefined> =>
  (await kit.get(task))?.cancellation;

export const cancelChecks: readonly Check[] = [
  checkDurable("B8", "notes when and why a waiting task was cancelled", async (kit) => {
    const task = await kit.submitOne();
    const before = await kit.broker.now();
    const [reply] = await cancel(kit, task, "no longer wanted");
    const proof = reply!.kind === "cancelled" ? reply!.transition.task.cancellation : undefined;
    expect(proof).toMatchObject({
      reason: "no longer wanted",
      deliveredAt: undefined,
      acknowledgedAt: undefined,
      forcedAt: undefined,
    });
    const [told] = await kit.outbox();
    expect(told!.task.cancelRequestedAt).toBeGreaterThanOrEqual(before);
    expect(told!.task.cancellation).toEqual(proof);
    expect(await proofOf(kit, task)).toEqual(proof);
  }),
  checkDurable("B8", "tells history of a request as soon as it stands", async (kit) => {
    const { lease } = await running(kit);
    const [reply] = await cancel(kit, lease.task, "wrong account");
    expect(reply).toMatchObject({ kind: "requested", task: { status: "running" } });
    const [told] = await kit.outbox();
    expect(told).toMatchObject({
      attempt: undefined,
      task: {
        status: "running",
        version: lease.task.version + 1,
        fencingToken: lease.task.fencingToken,
        cancellation: { reason: "wrong account" },
      },
    });
    expect(reply!.kind === "requested" && reply!.transition).toEqual(told);
    expect(await kit.get(lease.task)).toMatchObject({ version: lease.task.version + 1 });
    await kit.recorded(told!);
    await kit.end(lease, done);
  }),
  check("B8", "asks once, keeps the first reason, and may shorten the grace", async (kit) => {
    const { lease, holder } = await running(kit);
    await kit.warmUp();
    await kit.renew(holder);
    await cancel(kit, lease.task, "first", 30_000).catch(() => undefined);
    const first = await proofOf(kit, lease.task);
    const [again] = await cancel(kit, lease.task, "second", 60_000);
    expect(again).toMatchObject({ kind: "requested", transition: undefined });
    expect(await proofOf(kit, lease.task)).toEqual(first);
    await cancel(kit, lease.task, "", 5_000);
    expect((await kit.elapse(4_000, holder)).cancelOverdue).toEqual([]);
    expect((await kit.elapse(2_000, holder)).cancelOverdue).toHaveLength(1);
  }),
  check("B8", "notes the first delivery to the session that runs it", async (kit) => {
    const { lease, holder } = await running(kit);
    await deliver(kit, lease, holder.sessionId);
    expect(await proofOf(kit, lease.task)).toBeUndefined();
    await cancel(kit, lease.task, "");
    await deliver(kit, lease, "somebody");
    expect((await proofOf(kit, lease.task))!.deliveredAt).toBeUndefined();
    const before = await kit.broker.now();
    await deliver(kit, lease, holder.sessionId);
    const first = (await proofOf(kit, lease.task))!.deliveredAt!;
    expect(first).toBeGreaterThanOrEqual(before);
    await kit.harness.advance(1_000);
    await deliver(kit, lease, holder.sessionId);
    expect((await proofOf(kit, lease.task))!.deliveredAt).toBe(first);
    const { task } = await kit.end(lease, { kind: "cancel" });
    expect(task.cancellation).toMatchObject({ deliveredAt: first });
  }),
  check("B8", "notes the worker's own end of a cancelled attempt as its answer", async (kit) => {
    for (const ending of [{ kind: "cancel" } as const, done, failed(1_000), released()]) {
      const task = await kit.submitOne();
      const lease = await kit.take(await kit.session());
      await cancel(kit, task, "");
      const before = await kit.broker.now();
      const { cancellation } = (await kit.end(lease, ending)).task;
      expect(cancellation!.acknowledgedAt).toBeGreaterThanOrEqual(before);
      expect(cancellation!.forcedAt).toBeUndefined();
    }
  }),
  check(
    "B8",
    "notes that an end was forced: by the grace, or by the loss of the worker",
    async (kit) => {
      for (const ending of [{ kind: "cancel" } as const, lost]) {
        const task = await kit.submitOne();
        const holder = await kit.session();
        const lease = await kit.take(holder);
        await cancel(kit, task, "", 1_000);
        if (ending.kind === "lose") await kit.broker.cutSession(holder.sessionId, 1, 0);
        await kit.harness.advance(1_500);
        const ended = (await kit.end(lease, ending, null)).task;
        expect(ended.status).toBe("cancelled");
        expect(ended.cancellation!.forcedAt).toBe(ended.completedAt);
        expect(ended.cancellation!.acknowledgedAt).toBeUndefined();
      }
    },
  ),
  checkDurable(
    "B8",
    "keeps a request over the loss of the store, and its lease with it",
    async (kit) => {
      const { lease, holder } = await running(kit);
      await cancel(kit, lease.task, "keep me");
      const [told] = await kit.outbox();
      await kit.harness.wipe();
      await kit.openAll(2);
      const row = { ...told!.task, payload: lease.task.payload };
      expect((await kit.restore(row)).kind).toBe("enqueued");
      expect(await kit.lease(await kit.session(), 5)).toEqual([]);
      const reply = await kit.resume({ ...holder, generation: 2 }, [lease.token]);
      expect(reply).toMatchObject({ kind: "opened", kept: [{ task: { status: "running" } }] });
      expect(await proofOf(kit, lease.task)).toMatchObject({ reason: "keep me" });
      const { task } = await kit.end(lease, released());
      expect(task).toMatchObject({ status: "cancelled" });
      expect(task.cancellation!.acknowledgedAt).toBeDefined();
    },
  ),
  checkDurable(
    "B8",
    "ends a request that the store lost once nobody can come back for it",
    async (kit) => {
      const { lease } = await running(kit);
      await cancel(kit, lease.task, "keep me");
      const [told] = await kit.outbox();
      await kit.harness.wipe();
      await kit.openAll(2);
      await kit.restore({ ...told!.task, payload: lease.task.payload });
      expect((await kit.elapse(limits.sessionLeaseMs - 2_000)).ended).toEqual([]);
      expect(await kit.statusOf(lease.task)).toBe("pending");
      await kit.harness.advance(3_000);
      const { ended } = await kit.broker.sweep(0);
      expect(ended).toMatchObject([
        { task: { id: lease.task.id, status: "cancelled", cancellation: { reason: "keep me" } } },
      ]);
      expect(ended[0]!.task.cancellation!.forcedAt).toBeDefined();
    },
  ),
];
