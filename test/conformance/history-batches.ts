import { describe, expect, test } from "vitest";
import type { BatchTasks, CallReply, NewBatch } from "../../src/history/history.js";
import { limits } from "../../src/limits.js";
import { type Batch, type BatchEvent, batchEvents } from "../../src/task/batch/batch.js";
import type { Status, Task } from "../../src/task/task.js";
import { newBatch } from "../support/batch-factory.js";
import { templateOf } from "../support/schedule-factory.js";
import { ended, told } from "./history-harness.js";
import type { HistoryScene } from "./history.js";

const day = 86_400_000;
const highest = "ffffffff-ffff-ffff-ffff-ffffffffffff";

/** H8, for any history. */
export function exerciseBatches(scene: () => HistoryScene): void {
  const make = async (change: Partial<NewBatch> = {}): Promise<Batch> => {
    const { history, namespace } = scene();
    return (await history.batches.create(newBatch({ namespace, ...change }))).batch;
  };
  const tasksOf = (batch: Batch, count: number, change: Partial<Task> = {}): Task[] =>
    scene().tasks(count, { terms: { batchId: batch.id }, ...change });
  const join = async (batch: Batch, count: number, change?: Partial<Task>): Promise<Task[]> => {
    const tasks = tasksOf(batch, count, change);
    const { outcomes } = await scene().history.insert(tasks);
    expect(outcomes.map(({ kind }) => kind)).toEqual(tasks.map(() => "inserted"));
    return tasks;
  };
  const end = (tasks: readonly Task[], status: Status) =>
    scene().history.record(tasks.map((task) => ended(task, status)));
  const callbacks = (): Required<BatchTasks> => {
    const [complete, success, failure] = scene().tasks(3) as [Task, Task, Task];
    return { complete, success, failure };
  };
  /** Which callbacks were called by a call with tasks for all. */
  const calling = async (batch: Batch): Promise<BatchEvent[]> =>
    eventsOf(await scene().history.batches.call(batch.id, callbacks()));
  const close = ({ id }: Batch) => scene().history.batches.close(scene().namespace, id);
  const get = ({ id }: Batch) => scene().history.batches.get(scene().namespace, id);
  const facts = async ({ id }: Batch) => (await scene().history.batches.look([id]))[0];
  const kinds = async (tasks: readonly Task[]) =>
    (await scene().other.insert(tasks)).outcomes.map((it) =>
      it.kind === "barred" ? it.why : it.kind,
    );

  describe("batches (H8)", () => {
    test("a batch is kept whole, and a repeat under its id changes nothing", async () => {
      const { other, history, namespace } = scene();
      const payload = { contentType: "text/plain", data: Buffer.from([0, 1, 255]) };
      const retry = { jitter: 0 };
      const complete = templateOf({ queue: "mail", payload, retry, tags: ["a\0b"], delayMs: 5 });
      const failure = templateOf({ payload: undefined, terms: { heartbeatTimeoutMs: 1_000 } });
      const given = newBatch({
        namespace,
        description: "for \0 people",
        callbacks: { complete, failure },
        failureThreshold: 7,
      });
      const { batch, existing } = await history.batches.create(given);
      expect(existing).toBe(false);
      expect(batch).toEqual({
        ...given,
        createdAt: batch.createdAt,
        closedAt: undefined,
        completedAt: undefined,
        cancelled: undefined,
        called: {},
      });
      expect(Math.abs(batch.createdAt - scene().harness.now())).toBeLessThan(5_000);
      const again = await other.batches.create({ ...given, description: "another" });
      expect(again).toEqual({ batch, existing: true });
      expect(await other.batches.get(namespace, batch.id.toUpperCase())).toEqual(batch);
      expect(await other.batches.get(`${namespace}-x`, batch.id)).toBeUndefined();
      expect(await other.batches.get(namespace, "no id")).toBeUndefined();
    });

    test("they are listed newest first, each namespace its own, without payloads (H5)", async () => {
      const { history, namespace } = scene();
      const made = [await make(), await make(), await make()];
      await make({ namespace: `${namespace}-x` });
      const ids = made
        .map(({ id }) => id)
        .toSorted()
        .toReversed();
      const first = await history.batches.list(namespace, highest, 2);
      expect(first.map(({ id }) => id)).toEqual(ids.slice(0, 2));
      expect(first[0]?.callbacks.complete).toMatchObject({ type: "send_report" });
      expect(first[0]?.callbacks.complete?.payload).toBeUndefined();
      const rest = await history.batches.list(namespace, ids[1]!, 2);
      expect(rest.map(({ id }) => id)).toEqual(ids.slice(2));
    });

    test("tasks join while it is open, and are refused otherwise, alone", async () => {
      const { history, namespace, task } = scene();
      const [open, closed, cancelled] = [await make(), await make(), await make()];
      const foreign = await make({ namespace: `${namespace}-x` });
      await close(closed);
      const how = { reason: "no", graceMs: 1_000 };
      await history.batches.cancel(namespace, cancelled.id, how);
      const unknown = { ...open, id: newBatch().id };
      const asked = [open, closed, cancelled, foreign, unknown].flatMap((it) => tasksOf(it, 1));
      expect(await kinds([...asked, task()])).toEqual([
        "inserted",
        "closed",
        "cancelled",
        "unknown",
        "unknown",
        "inserted",
      ]);
      const found = await history.get(
        undefined,
        asked.map(({ id }) => id),
      );
      expect(found.map((it) => it?.terms?.batchId)).toEqual([open.id, ...Array(4).fill(undefined)]);
    });

    test("a repeat of what joined before the end is known as such, and refused work holds no key", async () => {
      const { other, namespace } = scene();
      const batch = await make();
      const [plain, keyed] = [
        tasksOf(batch, 1)[0]!,
        tasksOf(batch, 1, { idempotencyKey: "k" })[0]!,
      ];
      await other.insert([plain, keyed]);
      await close(batch);
      const [repeat, late] = tasksOf(batch, 2, { idempotencyKey: "k" }) as [Task, Task];
      const fresh = { ...late, idempotencyKey: "late" };
      expect(await kinds([plain, repeat, fresh])).toEqual(["known", "key_taken", "closed"]);
      expect(await other.keyHolder(namespace, "default", "k")).toBe(keyed.id);
      expect(await other.keyHolder(namespace, "default", "late")).toBeUndefined();
    });

    test("closing it twice, or cancelling after that, tells of the first time", async () => {
      const { other, namespace } = scene();
      const batch = await make();
      const first = await close(batch);
      expect(first?.closedAt).toBeTypeOf("number");
      expect(await other.batches.close(namespace, batch.id)).toEqual(first);
      const how = { reason: "a \0 reason", graceMs: 5 };
      const cancelled = await other.batches.cancel(namespace, batch.id, how);
      expect(cancelled).toMatchObject({ closedAt: first?.closedAt, cancelled: how });
      const again = await other.batches.cancel(namespace, batch.id, { reason: "x", graceMs: 1 });
      expect(again).toEqual(cancelled);
      expect(await other.batches.close(`${namespace}-x`, batch.id)).toBeUndefined();
      expect(await other.batches.cancel(namespace, newBatch().id, how)).toBeUndefined();
    });

    test("whoever joins while it is being closed is in it by then, or refused", async () => {
      const { history, other, namespace } = scene();
      for (let round = 0; round < 8; round += 1) {
        const batch = await make();
        const inserts = Array.from({ length: 12 }, (_, n) =>
          (n % 2 === 0 ? history : other).insert(tasksOf(batch, 20)),
        );
        const closing = other.batches.close(namespace, batch.id);
        const atOnce = await closing.then(() => other.batches.counts(batch.id));
        const answers = await Promise.all(inserts);
        const outcomes = answers.flatMap((answer) => answer.outcomes);
        const joined = outcomes.filter(({ kind }) => kind === "inserted").length;
        expect(await other.batches.counts(batch.id)).toEqual(atOnce);
        expect(atOnce.pending ?? 0).toBe(joined);
        expect(await kinds(tasksOf(batch, 1))).toEqual(["closed"]);
      }
    });

    test("counts and facts follow its tasks", async () => {
      const { history } = scene();
      const batch = await make({ failureThreshold: 2 });
      expect(await facts(batch)).toMatchObject({
        facts: { live: false, unsuccessful: false, failures: 0 },
        watched: true,
      });
      const tasks = await join(batch, 8);
      await join(batch, 1, { status: "scheduled", runAt: scene().harness.now() + day });
      await join(batch, 1, { status: "scheduled", readyAt: scene().harness.now() - day });
      await end(tasks.slice(0, 2), "completed");
      await end(tasks.slice(2, 4), "cancelled");
      await history.record([told(tasks[7]!, { status: "running", fencingToken: 7 })]);
      expect(await history.batches.counts(batch.id)).toEqual({
        completed: 2,
        cancelled: 2,
        running: 1,
        pending: 4,
        scheduled: 1,
      });
      expect((await facts(batch))?.facts).toEqual({ live: true, unsuccessful: true, failures: 0 });
      await end(tasks.slice(4, 5), "expired");
      expect((await facts(batch))?.facts.failures).toBe(1);
      await end(tasks.slice(5, 7), "failed");
      expect((await facts(batch))?.facts.failures).toBeGreaterThanOrEqual(2);
    });

    test("complete and success are called once all have ended, and it takes no more", async () => {
      const { history } = scene();
      const batch = await make();
      const tasks = await join(batch, 3);
      await end(tasks.slice(0, 2), "completed");
      expect(await calling(batch)).toEqual([]);
      await end(tasks.slice(2), "completed");
      expect(await calling(batch)).toEqual([]);
      await close(batch);
      const given = callbacks();
      const reply = await history.batches.call(batch.id, given);
      expect(eventsOf(reply)).toEqual(["complete", "success"]);
      expect(reply).toMatchObject({ completed: true });
      const after = await get(batch);
      expect(after?.completedAt).toBeTypeOf("number");
      expect(after?.called).toEqual({
        complete: { taskId: given.complete.id, at: expect.any(Number) as number },
        success: { taskId: given.success.id, at: expect.any(Number) as number },
      });
      const ids = [given.complete.id, given.success.id, given.failure.id];
      const rows = await history.get(scene().namespace, ids);
      expect(rows.map((row) => row?.status)).toEqual(["pending", "pending", undefined]);
      const marked = (await history.staleMarkers(0, 10_000)).find(
        ({ marker }) => marker === reply.marker,
      );
      expect(marked?.tasks.map(({ id }) => id).toSorted()).toEqual(ids.slice(0, 2).toSorted());
      expect(await calling(batch)).toEqual([]);
      expect((await facts(batch))?.watched).toBe(false);
    });

    test("only callbacks that were asked for are called, and an empty batch is complete", async () => {
      const silent = await make({ callbacks: {} });
      const [first, ...rest] = [await make(), await make({ callbacks: { success: templateOf() } })];
      for (const batch of [silent, first, ...rest]) await close(batch);
      expect(await calling(silent)).toEqual([]);
      expect((await get(silent))?.completedAt).toBeDefined();
      expect(await calling(first)).toEqual(["complete", "success"]);
      expect(await calling(rest[0]!)).toEqual(["success"]);
    });

    test("failure is called as soon as so many failed or expired, open or not", async () => {
      const batch = await make({ failureThreshold: 2 });
      const [a, b, c, d] = (await join(batch, 4)) as [Task, Task, Task, Task];
      await end([a, b], "cancelled");
      expect(await calling(batch)).toEqual([]);
      await end([c], "expired");
      expect(await calling(batch)).toEqual([]);
      await end([d], "failed");
      expect(await calling(batch)).toEqual(["failure"]);
      await close(batch);
      expect(await calling(batch)).toEqual(["complete"]);
      expect(Object.keys((await get(batch))!.called).toSorted()).toEqual(["complete", "failure"]);
    });

    test("a due callback whose task is not given stays due", async () => {
      const { history } = scene();
      const batch = await make();
      await close(batch);
      const { complete, success } = callbacks();
      expect(eventsOf(await history.batches.call(batch.id, { success }))).toEqual(["success"]);
      expect((await facts(batch))?.watched).toBe(true);
      expect(await history.batches.watched("", 10_000)).toContain(batch.id);
      expect(eventsOf(await history.batches.call(batch.id, { complete }))).toEqual(["complete"]);
      expect(await history.batches.watched("", 10_000)).not.toContain(batch.id);
    });

    test("redriven failures that succeed call success later, and complete no second time", async () => {
      const { history, namespace } = scene();
      const batch = await make({ failureThreshold: 100 });
      const [good, bad] = (await join(batch, 2)) as [Task, Task];
      await close(batch);
      await end([good], "completed");
      await end([bad], "failed");
      expect(await calling(batch)).toEqual(["complete"]);
      const completedAt = (await get(batch))?.completedAt;
      await history.revive(namespace, [bad.id]);
      expect((await facts(batch))?.watched).toBe(true);
      expect(await calling(batch)).toEqual([]);
      const again = (await history.get(namespace, [bad.id]))[0]!;
      await end([again], "completed");
      expect(await calling(batch)).toEqual(["success"]);
      expect(await get(batch)).toMatchObject({ completedAt });
    });

    test("a cancelled batch never calls success", async () => {
      const { history, namespace } = scene();
      const batch = await make();
      const tasks = await join(batch, 2);
      await end(tasks, "completed");
      await history.batches.cancel(namespace, batch.id, { reason: "", graceMs: 0 });
      expect(await calling(batch)).toEqual(["complete"]);
      const after = await history.batches.cancel(namespace, batch.id, { reason: "x", graceMs: 9 });
      expect(after?.cancelled).toMatchObject({ reason: "", graceMs: 0 });
    });

    test("of many who see the same end at once, one calls", async () => {
      const { history, other } = scene();
      for (let round = 0; round < 8; round += 1) {
        const batch = await make();
        await close(batch);
        const replies = await Promise.all(
          Array.from({ length: 6 }, (_, n) =>
            (n % 2 === 0 ? history : other).batches.call(batch.id, callbacks()),
          ),
        );
        expect(replies.flatMap(eventsOf).toSorted()).toEqual(["complete", "success"]);
        expect(replies.filter(({ completed }) => completed)).toHaveLength(1);
        const { called } = (await get(batch))!;
        const winners = replies.flatMap((reply) => reply.called.map(({ task }) => task.id));
        expect(batchEvents.flatMap((event) => called[event]?.taskId ?? []).toSorted()).toEqual(
          winners.toSorted(),
        );
      }
    });

    test("tasks that are pruned or purged are counted on, and so is what follows from them (H4)", async () => {
      const { harness, history, namespace } = scene();
      const batch = await make({ failureThreshold: 2 });
      const short = await join(batch, 2, { retentionMs: 0 });
      const long = await join(batch, 2);
      await end(short, "failed");
      await harness.age(1_000);
      while ((await history.prune(1_000)) > 0);
      expect(await history.get(namespace, [short[0]!.id])).toEqual([undefined]);
      await end(long, "completed");
      expect(await history.purge(namespace, [long[0]!.id])).toBe(1);
      expect(await history.batches.counts(batch.id)).toEqual({ failed: 2, completed: 2 });
      expect((await facts(batch))?.facts).toEqual({ live: false, unsuccessful: true, failures: 2 });
      await close(batch);
      expect(await calling(batch)).toEqual(["complete", "failure"]);
    });

    test("a batch that is over goes once its time is up and its tasks are gone", async () => {
      const { harness, history, namespace } = scene();
      const [over, kept, open] = [await make(), await make(), await make()];
      const tasks = await join(kept, 1, { retentionMs: 30 * day });
      await end(tasks, "completed");
      for (const batch of [over, kept]) {
        await close(batch);
        await calling(batch);
      }
      const prune = async () => {
        while ((await history.batches.prune(limits.batchKeepMs, 2)) > 0);
      };
      await prune();
      expect(await get(over)).toBeDefined();
      await harness.age(limits.batchKeepMs + 60_000);
      await prune();
      expect(await get(over)).toBeUndefined();
      expect([await get(kept), await get(open)].map((it) => it?.id)).toEqual([kept.id, open.id]);
      await history.purge(namespace, [tasks[0]!.id]);
      await prune();
      expect(await get(kept)).toBeUndefined();
    });
  });
}

const eventsOf = ({ called }: CallReply): BatchEvent[] => called.map(({ event }) => event);
