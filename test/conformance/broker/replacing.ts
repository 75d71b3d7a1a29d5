import { expect } from "vitest";
import type { ReplaceItem, ReplaceReply, Transition } from "../../../src/broker/broker.js";
import type { Task } from "../../../src/task/task.js";
import { check, checkDurable, done, failed, released, type Check, type Kit } from "./kit.js";

async function replace(
  kit: Kit,
  { id: taskId, namespace }: Task,
  successor: Task,
  more: Partial<ReplaceItem> = {},
): Promise<ReplaceReply> {
  const item = { taskId, namespace, successor, unstarted: false, reason: "newer", ...more };
  return (await kit.broker.replace([item]))[0]!;
}

async function replaced(kit: Kit, task: Task, successor = kit.task()): Promise<Transition> {
  const reply = await replace(kit, task, successor);
  if (reply.kind !== "replaced") throw new Error(reply.kind);
  return reply.transition;
}

/** Not 1 KiB, so apart from its record. */
const large = { contentType: "application/json", data: Buffer.from(`"${"x".repeat(40_000)}"`) };

export const replaceChecks: readonly Check[] = [
  checkDurable("B17", "ends a waiting task and tells of its successor in one step", async (kit) => {
    const task = await kit.submitOne();
    const rule = {
      key: "k",
      scope: "until_final",
      windowMs: 1_000,
      onConflict: "replace",
    } as const;
    const terms = { unique: rule };
    const successor = kit.task({ type: "other", tags: ["t"], terms });
    const transition = await replaced(kit, task, successor);
    expect(transition).toMatchObject({
      attempt: undefined,
      task: { id: task.id, status: "cancelled", cancellation: { reason: "newer" } },
    });
    expect(transition.successor).toEqual(successor);
    const [told, ...more] = await kit.outbox();
    expect([told, more]).toEqual([transition, []]);
    expect(await kit.get(successor)).toBeUndefined();
    expect(await kit.lease(await kit.session())).toEqual([]);
    await kit.recorded(told!);
    expect(await kit.outbox()).toEqual([]);
    expect((await kit.enqueue(task))[0]!.kind).toBe("known");
  }),
  checkDurable("B17", "carries whole successors of any size, several at once", async (kit) => {
    const tasks = await kit.submitMany(3, { payload: large });
    const successors = [
      kit.task({ payload: large, groupKey: "g" }),
      kit.task({ payload: undefined }),
      kit.task({ payload: { contentType: "", data: Buffer.from("x") } }),
    ];
    const items = tasks.map((task, n) => ({
      taskId: task.id,
      namespace: task.namespace,
      successor: successors[n]!,
      unstarted: false,
      reason: "",
    }));
    const replies = await kit.broker.replace(items);
    expect(replies.map(({ kind }) => kind)).toEqual(["replaced", "replaced", "replaced"]);
    const told = await kit.outbox();
    expect(told.map((one) => one.successor)).toEqual(successors);
    expect(told.map((one) => one.task.id)).toEqual(tasks.map(({ id }) => id));
    for (const one of told) await kit.recorded(one);
    expect(await kit.outbox()).toEqual([]);
  }),
  check("B17", "replaces what waits for its time, a retry or after a release", async (kit) => {
    const delayed = await kit.submitOne({ runAt: (await kit.broker.now()) + 60_000 });
    expect((await replaced(kit, delayed)).task.status).toBe("cancelled");
    const holder = await kit.session();
    for (const ending of [failed(5_000), released(), released(5_000)]) {
      await kit.submitOne();
      const lease = await kit.take(holder);
      await kit.end(lease, ending);
      expect((await replaced(kit, lease.task)).task.status).toBe("cancelled");
      expect(await kit.verdict(lease, done)).toBe("stale");
    }
  }),
  check("B17", "leaves alone what runs, has ended or is not there", async (kit) => {
    const task = await kit.submitOne();
    const successor = kit.task();
    const lease = await kit.take(await kit.session());
    const before = await kit.get(task);
    expect(await replace(kit, task, successor)).toEqual({ kind: "held" });
    expect(await kit.get(task)).toEqual(before);
    await kit.end(lease, done);
    expect(await replace(kit, task, successor)).toEqual({ kind: "over" });
    expect(await replace(kit, kit.task(), successor)).toEqual({ kind: "unknown" });
    const other = await kit.submitOne();
    expect(await replace(kit, { ...other, namespace: "theirs" }, successor)).toEqual({
      kind: "unknown",
    });
    expect(await kit.statusOf(other)).toBe("pending");
  }),
  check("B17", "leaves alone what has ever started, if asked to", async (kit) => {
    const task = await kit.submitOne();
    const unstarted = { unstarted: true };
    const lease = await kit.take(await kit.session());
    await kit.end(lease, failed(5_000));
    expect(await replace(kit, task, kit.task(), unstarted)).toEqual({ kind: "over" });
    expect(await kit.statusOf(task)).toBe("retrying");
    const fresh = await kit.submitOne();
    expect(await replace(kit, fresh, kit.task(), unstarted)).toMatchObject({ kind: "replaced" });
  }),
  check("B17", "replaces nothing while cold: a worker may run it", async (kit) => {
    const task = await kit.submitOne();
    await kit.broker.close(0, "as after a loss");
    expect(await replace(kit, task, kit.task())).toEqual({ kind: "cold" });
    await kit.broker.open(0, 2);
    expect(await replace(kit, task, kit.task())).toMatchObject({ kind: "replaced" });
  }),
  checkDurable(
    "B17",
    "takes no successor in while the outbox is full",
    async (kit) => {
      const [first, second] = await kit.submitMany(2);
      await replaced(kit, first!);
      expect(await replace(kit, second!, kit.task())).toEqual({ kind: "outbox_full" });
      expect(await kit.statusOf(second!)).toBe("pending");
      await kit.recorded((await kit.outbox())[0]!);
      expect(await replace(kit, second!, kit.task())).toMatchObject({ kind: "replaced" });
    },
    { bounds: { outboxEntries: 1 } },
  ),
];
