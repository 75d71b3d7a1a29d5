import { describe, expect, test } from "vitest";
import type { ListQuery, MatchPage } from "../../src/history/history.js";
import { formTaskId, slotOfQueue } from "../../src/task/ids.js";
import type { Status, Task, TaskError } from "../../src/task/task.js";
import { newBatch } from "../support/batch-factory.js";
import type { HistoryScene } from "./history.js";
import { allPages, ended, told } from "./history-harness.js";

const ids = (tasks: readonly Task[]) => tasks.map(({ id }) => id);
const errorOf = (code: string, message = "it broke"): TaskError => ({
  code,
  message,
  retryable: true,
});

/** H5: what a filter means, and that looking for it is bounded. */
export function exerciseFilters(scene: () => HistoryScene): void {
  const found = async (change: Partial<ListQuery>): Promise<string[]> => {
    const { history, query } = scene();
    return ids(await allPages(history, query(change)));
  };

  describe("filter", () => {
    test("several statuses are one list, newest first (H5)", async () => {
      const { history, tasks } = scene();
      const [a, b, c, d] = tasks(4) as [Task, Task, Task, Task];
      await history.insert([a, b, c, d]);
      await history.record([ended(a, "failed"), ended(b, "cancelled"), ended(c, "failed")]);
      expect(await found({ statuses: ["failed", "cancelled"] })).toEqual([c.id, b.id, a.id]);
      expect(await found({ statuses: ["cancelled", "pending"], pageSize: 1 })).toEqual([
        d.id,
        b.id,
      ]);
      expect(await found({ statuses: [] })).toEqual([d.id, c.id, b.id, a.id]);
    });

    test("by the code of the latest error, whatever the status", async () => {
      const { history, tasks, query } = scene();
      const [a, b, c, d] = tasks(4) as [Task, Task, Task, Task];
      await history.insert([a, b, c, d]);
      await history.record([
        ended(a, "failed", { error: errorOf("timeout") }),
        ended(b, "failed", { error: errorOf("smtp") }),
        told(c, { status: "retrying", error: errorOf("timeout"), readyAt: 2 ** 45 }),
      ]);
      expect(await found({ errorCode: "timeout" })).toEqual([c.id, a.id]);
      expect(await found({ errorCode: "timeout", statuses: ["failed"] })).toEqual([a.id]);
      expect(await found({ errorCode: "tim" })).toEqual([]);
      const foreign = { ...query({ errorCode: "timeout" }), namespace: "nobody" };
      expect((await history.list(foreign)).tasks).toEqual([]);
    });

    test("by text in the code or message of the error, A to Z like a to z", async () => {
      const { history, tasks } = scene();
      const [a, b, c, d] = tasks(4) as [Task, Task, Task, Task];
      await history.insert([a, b, c, d]);
      await history.record([
        ended(a, "failed", { error: errorOf("smtp", "Connection REFUSED by 10.0.0.1: 100 %_") }),
        ended(b, "failed", { error: errorOf("refused", "no") }),
        ended(c, "failed", { error: errorOf("odd", "refused \0 or \ud800 not") }),
      ]);
      const spoken = await found({ text: "rEfused" });
      expect(spoken.filter((id) => id !== c.id)).toEqual([b.id, a.id]);
      expect(await found({ text: "10.0.0.1: 100 %_" })).toEqual([a.id]);
      expect(await found({ text: "retryable" })).toEqual([]);
      expect(await found({ statuses: ["failed"], text: "no" })).toContain(b.id);
    });

    test("by the time of submission, from the first on and before the second", async () => {
      const { harness, history, namespace, task } = scene();
      const slot = slotOfQueue(namespace, "default");
      const at = harness.now() - 3_600_000;
      const made = (n: number, ofId = 0) => {
        const createdAt = at + n * 60_000;
        const id = formTaskId(createdAt + ofId, slot, Buffer.alloc(8, n));
        return task({ id, createdAt });
      };
      // A client made the id of the third 9 minutes before it came in.
      const all = [made(0), made(1), made(2, -540_000), made(3)] as const;
      await history.insert(all);
      const between = (from?: number, to?: number) =>
        found({
          createdAfter: from === undefined ? undefined : at + from * 60_000,
          createdBefore: to === undefined ? undefined : at + to * 60_000,
        });
      const newestFirst = ids(all.toSorted((a, b) => (a.id < b.id ? 1 : -1)));
      const only = (...wanted: Task[]) => newestFirst.filter((id) => ids(wanted).includes(id));
      expect(await between(1, 3)).toEqual(only(all[1], all[2]));
      expect(await between(2)).toEqual(only(all[2], all[3]));
      expect(await between(undefined, 1)).toEqual(only(all[0]));
      expect(await between(4)).toEqual([]);
    });

    test("by batch and by schedule, never across namespaces", async () => {
      const { history, namespace, task, query } = scene();
      const { id: batchId } = (await history.batches.create(newBatch({ namespace }))).batch;
      const ofBatch = task({ terms: { batchId } });
      const ofSchedule = task({ terms: { schedule: "nightly" } });
      await history.insert([ofBatch, ofSchedule, task()]);
      expect(await found({ batchId })).toEqual([ofBatch.id]);
      expect(await found({ schedule: "nightly" })).toEqual([ofSchedule.id]);
      expect(await found({ schedule: "nightly", statuses: ["failed"] })).toEqual([]);
      const foreign = { ...query({ batchId }), namespace: "nobody" };
      expect((await history.list(foreign)).tasks).toEqual([]);
    });

    test("all that are given must hold", async () => {
      const { history, task } = scene();
      const mine = { type: "mail", queue: "q", tags: ["x"] };
      const batch = [
        task(mine),
        task({ ...mine, type: "image" }),
        task({ ...mine, queue: "other" }),
        task({ ...mine, tags: ["y"] }),
        task(mine),
      ];
      await history.insert(batch);
      await history.record(
        batch
          .slice(0, 4)
          .map((one) => ended(one, "failed", { error: errorOf("smtp", "Mailbox full") })),
      );
      const whole: Partial<ListQuery> = {
        statuses: ["failed"],
        type: "mail",
        queue: "q",
        tag: "x",
        errorCode: "smtp",
        text: "mailbox",
        createdAfter: batch[0]!.createdAt - 1,
        createdBefore: batch[0]!.createdAt + 60_000,
      };
      expect(await found(whole)).toEqual([batch[0]!.id]);
      for (const key of Object.keys(whole) as (keyof ListQuery)[]) {
        expect(await found({ ...whole, [key]: undefined })).toContain(batch[0]!.id);
      }
    });
  });

  describe("cost of a filter", () => {
    test("a page looks at no more than it may, says so, and leads on to the end (H5)", async () => {
      const { history, tasks, query } = scene();
      const batch = tasks(40, { type: "t" });
      await history.insert(batch);
      const rare = batch.filter((_, index) => index % 13 === 0);
      await history.record(
        batch.map((one) =>
          ended(one, "failed", { error: errorOf(rare.includes(one) ? "rare" : "usual", "x") }),
        ),
      );
      const filters: Partial<ListQuery>[] = [
        { statuses: ["failed"], text: "rare" },
        { type: "t", text: "rare" },
        { text: "rare" },
      ];
      for (const filter of filters) {
        const pages: MatchPage[] = [];
        let pageToken = "";
        do {
          const page = await history.match(query({ ...filter, pageToken, scanMax: 10 }));
          expect(page.scanned).toBeLessThanOrEqual(10);
          pages.push(page);
          pageToken = page.nextPageToken;
        } while (pageToken !== "");
        expect(pages.flatMap((page) => page.ids)).toEqual(ids(rare.toReversed()));
        expect(pages.length).toBeGreaterThan(3);
      }
    });

    test("walks of several statuses that stop apart leave no task out (H5)", async () => {
      const { history, tasks, query } = scene();
      const batch = tasks(60);
      await history.insert(batch);
      const statusAt = (at: number): Status => {
        if (at < 20) return "failed";
        return at % 3 === 0 ? "cancelled" : "completed";
      };
      await history.record(
        batch.map((one, at) => ended(one, statusAt(at), { error: errorOf(`e${at % 4}`) })),
      );
      const wanted = batch.filter((_, at) => at % 4 === 1 && statusAt(at) !== "completed");
      const filter = { statuses: ["failed", "cancelled"] as const, text: "e1" };
      for (const [pageSize, scanMax] of [
        [50, 5],
        [2, 1_000],
        [3, 7],
        [1, 1],
      ] as const) {
        const listed = await allPages(history, query({ ...filter, pageSize, scanMax }));
        expect(ids(listed)).toEqual(ids(wanted.toReversed()));
      }
    });

    test("many types and queues hide no task, and narrow what they should (H5)", async () => {
      const { history, tasks, query } = scene();
      const batch = tasks(210).map((one, at) =>
        Object.assign({}, one, { type: `t${at % 105}`, queue: at < 105 ? "a" : "b" }),
      );
      await history.insert(batch);
      await history.record(
        batch
          .filter((_, at) => at % 10 !== 0)
          .map((one, at) => ended(one, at % 7 === 0 ? "failed" : "completed")),
      );
      const listed = async (change: Partial<ListQuery>) =>
        ids(await allPages(history, query({ pageSize: 40, ...change })));
      const fitting = (fits: (at: number) => boolean) =>
        ids(batch.filter((_, at) => fits(at)).toReversed());
      expect(await listed({})).toEqual(fitting(() => true));
      expect(await listed({ statuses: ["pending"] })).toEqual(fitting((at) => at % 10 === 0));
      expect(await listed({ queue: "b" })).toEqual(fitting((at) => at >= 105));
      expect(await listed({ type: "t104" })).toEqual(fitting((at) => at % 105 === 104));
      expect(await listed({ type: "t3", queue: "a" })).toEqual(fitting((at) => at === 3));
      const failed = await listed({ statuses: ["failed"] });
      expect(await listed({ statuses: ["failed"], queue: "a" })).toEqual(
        failed.filter((id) => batch.slice(0, 105).some((one) => one.id === id)),
      );
    });

    test("a tag is found whether it is rare or common (H5)", async () => {
      const { history, task, query } = scene();
      const batch = Array.from({ length: 30 }, (_, at) =>
        task({ tags: at % 10 === 0 ? ["common", "rare"] : ["common"] }),
      );
      await history.insert(batch);
      const rare = batch.filter((_, at) => at % 10 === 0);
      const pages = (change: Partial<ListQuery>) =>
        allPages(history, query({ pageSize: 4, scanMax: 8, ...change }));
      expect(ids(await pages({ tag: "rare" }))).toEqual(ids(rare.toReversed()));
      expect(ids(await pages({ tag: "common" }))).toEqual(ids(batch.toReversed()));
      expect(ids(await pages({ tag: "common", statuses: ["pending"] }))).toHaveLength(30);
      expect(await pages({ tag: "unknown" })).toEqual([]);
    });

    test("match gives the ids of the list", async () => {
      const { history, tasks, query } = scene();
      const batch = tasks(7);
      await history.insert(batch);
      const page = await history.match(query({ pageSize: 5 }));
      expect(page.ids).toEqual(ids(batch.toReversed().slice(0, 5)));
      const next = await history.match(query({ pageSize: 5, pageToken: page.nextPageToken }));
      expect(next.ids).toEqual(ids(batch.toReversed().slice(5)));
      expect(next.nextPageToken).toBe("");
    });
  });
}
