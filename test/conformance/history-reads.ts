import { describe, expect, test } from "vitest";
import { partitionOfSlot, slotOfId } from "../../src/task/ids.js";
import type { Status, Task } from "../../src/task/task.js";
import type { HistoryScene } from "./history.js";
import { allPages, attemptOf, ended, told } from "./history-harness.js";

const ids = (tasks: readonly (Task | undefined)[]) => tasks.map((task) => task?.id);

/** H5 and H6: namespaces, stable pages, and rows that cannot be decoded. */
export function exerciseReads(scene: () => HistoryScene): void {
  describe("get", () => {
    test("answers stand in the order asked, unknown and repeated ids too", async () => {
      const { history, namespace, task } = scene();
      const [a, b] = [task(), task()];
      await history.insert([a, b]);
      const asked = [b.id, task().id, a.id, b.id, "no id", a.id.toUpperCase()];
      const found = await history.get(namespace, asked);
      expect(ids(found)).toEqual([b.id, undefined, a.id, b.id, undefined, a.id]);
      expect(await history.get(namespace, [])).toEqual([]);
    });

    test("a namespace sees its own tasks, the coordinator sees all (H5)", async () => {
      const { history, namespace, task } = scene();
      const one = task();
      await history.insert([one]);
      await history.record([ended(one, "failed", {}, { attempt: attemptOf(one) })]);
      const foreign = `${namespace}-x`;
      expect(await history.get(foreign, [one.id])).toEqual([undefined]);
      expect(await history.attempts(foreign, one.id)).toEqual([]);
      expect(await history.finalCounts(foreign)).toEqual([]);
      expect(
        (await history.list({ namespace: foreign, pageSize: 9, pageToken: "" })).tasks,
      ).toEqual([]);
      expect(ids(await history.get(undefined, [one.id]))).toEqual([one.id]);
    });

    test("a task that waits for a time that has come reads as pending", async () => {
      const { harness, history, namespace, task, query } = scene();
      const soon = harness.now() + 600_000;
      const scheduled = task({ runAt: soon });
      const retrying = task();
      const far = task({ runAt: soon + 86_400_000 });
      await history.insert([scheduled, retrying, far]);
      await history.record([told(retrying, { status: "retrying", readyAt: soon })]);
      const asked = [scheduled.id, retrying.id, far.id];
      const statuses = async () => (await history.get(namespace, asked)).map((one) => one?.status);
      const listed = async (status: Status) =>
        ids((await history.list(query({ statuses: [status] }))).tasks);
      expect(await statuses()).toEqual(["scheduled", "retrying", "scheduled"]);
      expect(await listed("pending")).toEqual([]);
      expect(await listed("retrying")).toEqual([retrying.id]);
      await harness.age(700_000);
      expect(await statuses()).toEqual(["pending", "pending", "scheduled"]);
      expect(await listed("pending")).toEqual([retrying.id, scheduled.id]);
      expect(await listed("retrying")).toEqual([]);
      expect(await listed("scheduled")).toEqual([far.id]);
      expect((await history.list(query())).tasks.map(({ status }) => status)).toEqual([
        "scheduled",
        "pending",
        "pending",
      ]);
    });

    test("a row whose columns cannot be decoded is still shown (H6)", async () => {
      const { harness, history, namespace, tasks, query } = scene();
      const [a, b, c] = tasks(3) as [Task, Task, Task];
      await history.insert([a, b, c]);
      await harness.spoil(b.id);
      expect(ids((await history.list(query())).tasks)).toEqual([c.id, b.id, a.id]);
      expect(ids(await history.get(namespace, [b.id]))).toEqual([b.id]);
      const partition = slotOfId(b.id) % 4;
      expect(ids(await allLive(scene(), partition, 4, 100))).toContain(b.id);
    });
  });

  describe("list", () => {
    test("the newest task is first, and pages follow without gap or repeat (H5)", async () => {
      const { history, tasks, query } = scene();
      const batch = tasks(25);
      await history.insert(batch);
      const listed = await allPages(history, query({ pageSize: 7 }));
      expect(ids(listed)).toEqual(ids(batch.toReversed()));
      const exact = await history.list(query({ pageSize: 25 }));
      expect(exact.nextPageToken).toBe("");
    });

    test("pages are stable while tasks arrive and end (H5)", async () => {
      const { history, tasks, query } = scene();
      const batch = tasks(20);
      await history.insert(batch);
      const first = await history.list(query({ pageSize: 8 }));
      await history.insert(tasks(10));
      await history.record(batch.slice(0, 5).map((one) => ended(one, "completed")));
      const second = await history.list(query({ pageSize: 100, pageToken: first.nextPageToken }));
      expect(ids([...first.tasks, ...second.tasks])).toEqual(ids(batch.toReversed()));
    });

    test("filters by status, type, queue and tag, alone and together (H5)", async () => {
      const { history, task, query } = scene();
      const mail = task({ type: "mail", queue: "a", tags: ["x", "y"] });
      const image = task({ type: "image", queue: "a", tags: ["y"] });
      const other = task({ type: "mail", queue: "b" });
      await history.insert([mail, image, other]);
      await history.record([ended(mail, "failed"), ended(other, "failed")]);
      const listed = async (change: object) => ids((await history.list(query(change))).tasks);
      expect(await listed({ type: "mail" })).toEqual([other.id, mail.id]);
      expect(await listed({ queue: "a" })).toEqual([image.id, mail.id]);
      expect(await listed({ tag: "y" })).toEqual([image.id, mail.id]);
      expect(await listed({ statuses: ["failed"] })).toEqual([other.id, mail.id]);
      expect(await listed({ statuses: ["failed"], queue: "a" })).toEqual([mail.id]);
      expect(await listed({ statuses: ["failed"], type: "mail", tag: "x" })).toEqual([mail.id]);
      expect(await listed({ type: "image", queue: "b" })).toEqual([]);
      expect(await listed({ statuses: ["completed"] })).toEqual([]);
    });

    test("every filter pages to its end (H5)", async () => {
      const { history, tasks, query } = scene();
      const batch = tasks(23, { type: "t", queue: "q", tags: ["g"] });
      await history.insert([...batch, ...tasks(5)]);
      const filters = [{ type: "t" }, { queue: "q" }, { tag: "g" }, { queue: "q", tag: "g" }];
      for (const filter of [...filters, { statuses: ["pending" as const], type: "t" }]) {
        const listed = await allPages(history, query({ pageSize: 5, ...filter }));
        expect(ids(listed)).toEqual(ids(batch.toReversed()));
      }
    });

    test("each status is found under its own name (H5)", async () => {
      const { history, task, query } = scene();
      const later = Date.UTC(2090, 0, 1);
      const statuses: Status[] = ["blocked", "pending", "running", "completed", "failed"];
      const all: [Status, Task][] = [...statuses, "cancelled" as const, "expired" as const].map(
        (status) => [status, task({ status })],
      );
      for (const status of ["scheduled", "retrying"] as const) {
        all.push([status, task({ status, readyAt: later })]);
      }
      await history.insert(all.map(([, one]) => one));
      for (const [status, one] of all) {
        expect(ids((await history.list(query({ statuses: [status] }))).tasks)).toEqual([one.id]);
      }
      expect((await history.list(query())).tasks).toHaveLength(all.length);
      expect(await history.liveCount(scene().namespace)).toBe(5);
    });

    test("a page token of another filter, or of nobody, is refused by name (H5)", async () => {
      const { history, namespace, tasks, query } = scene();
      await history.insert(tasks(5));
      const { nextPageToken } = await history.list(query({ pageSize: 2 }));
      const foreign = [
        query({ pageToken: nextPageToken, statuses: ["failed"] }),
        query({ pageToken: nextPageToken, queue: "default" }),
        { ...query({ pageToken: nextPageToken }), namespace: `${namespace}-x` },
        query({ pageToken: "nonsense" }),
        query({ pageToken: `${nextPageToken}x` }),
        query({ pageToken: "\0'; DROP TABLE tasks; --" }),
      ];
      for (const asked of foreign) {
        const error = await Promise.resolve(history.list(asked)).catch((caught: unknown) => caught);
        expect(error).toMatchObject({ id: "invalid_page_token", field: "page_token" });
      }
      const wider = await history.list(query({ pageSize: 50, pageToken: nextPageToken }));
      expect(wider.tasks).toHaveLength(3);
    });
  });

  describe("live and recent rows", () => {
    test("live rows of a partition come in id order, page by page", async () => {
      const { history, tasks } = scene();
      const batch = [...tasks(9, { queue: "q-1" }), ...tasks(9, { queue: "q-2" })];
      await history.insert(batch);
      await history.record(batch.slice(0, 4).map((one) => ended(one, "completed")));
      for (const partitions of [1, 4]) {
        const found = [];
        for (let partition = 0; partition < partitions; partition += 1) {
          const live = await allLive(scene(), partition, partitions, 5);
          expect(live).toEqual(live.toSorted((a, b) => (a.id < b.id ? -1 : 1)));
          for (const { id } of live) {
            expect(partitionOfSlot(slotOfId(id), partitions)).toBe(partition);
          }
          found.push(...ids(live));
        }
        const mine = new Set(ids(batch.slice(4)));
        expect(found.filter((id) => mine.has(id))).toHaveLength(mine.size);
        expect(found.filter((id) => ids(batch.slice(0, 4)).includes(id))).toEqual([]);
        expect(new Set(found).size).toBe(found.length);
      }
    });

    test("rows that ended lately are found for as long as asked, newest first", async () => {
      const { harness, history, namespace, tasks } = scene();
      const [early, late, live] = tasks(3) as [Task, Task, Task];
      await history.insert([early, late, live]);
      await history.record([ended(early, "failed", { completedAt: 5 })]);
      await harness.age(60_000);
      await history.record([ended(late, "completed")]);
      const recent = async (withinMs: number, limit = 1_000) => {
        const found = await history.recentlyEnded(0, 1, withinMs, limit);
        return ids(found.filter((one) => one.namespace === namespace));
      };
      expect(await recent(30_000)).toEqual([late.id]);
      expect(await recent(120_000)).toEqual([late.id, early.id]);
      expect(await history.recentlyEnded(0, 1, 120_000, 1)).toHaveLength(1);
      const elsewhere = (slotOfId(late.id) + 1) % 4_096;
      const others = await history.recentlyEnded(elsewhere, 4_096, 120_000, 1_000);
      expect(ids(others)).not.toContain(late.id);
    });
  });
}

async function allLive(
  { history }: HistoryScene,
  partition: number,
  partitions: number,
  limit: number,
): Promise<Task[]> {
  const tasks: Task[] = [];
  for (let after = ""; ; after = tasks.at(-1)!.id) {
    const page = await history.liveTasks(partition, partitions, after, limit);
    tasks.push(...page);
    if (page.length < limit) return tasks;
  }
}
