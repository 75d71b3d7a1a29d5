import { describe, expect, test } from "vitest";
import { firstLogPlace, type LogEntry } from "../../src/task/log.js";
import type { Task } from "../../src/task/task.js";
import type { HistoryScene } from "./history.js";
import { ended } from "./history-harness.js";

const day = 86_400_000;

const entryOf = (task: Task, sequence: number, change: Partial<LogEntry> = {}): LogEntry => ({
  taskId: task.id,
  fencingToken: 7,
  attempt: 1,
  sequence,
  time: task.createdAt + sequence,
  level: "info",
  message: `line ${sequence}`,
  fields: "",
  dropped: 0,
  ...change,
});

/** H7: what handlers logged is kept in its order, once, as long as its task. */
export function exerciseLogs(scene: () => HistoryScene): void {
  const all = ({ history }: HistoryScene, taskId: string) =>
    history.logs({ taskId, after: firstLogPlace, limit: 1_000 });

  describe("logs", () => {
    test("entries come back as they were, by grant and sequence (H7)", async () => {
      const { history, other, task } = scene();
      const one = task();
      await history.insert([one]);
      const entries = [
        entryOf(one, 1, { level: "debug", fields: '{"n":1,"deep":{"a":[null,"\\u0000"]}}' }),
        entryOf(one, 2, { level: "warn", message: 'quotes " \\ and {braces}, \u0000, \ud800, é' }),
        entryOf(one, 3, { level: "error", message: "" }),
        entryOf(one, 4, { dropped: 12, message: "12 entries were dropped" }),
        entryOf(one, 1, { fencingToken: 2 ** 41 + 3, attempt: 2 }),
      ];
      await history.addLogs([...entries].toReversed());
      expect(await all({ ...scene(), history: other }, one.id)).toEqual(entries);
    });

    test("an entry given again changes nothing (H7)", async () => {
      const { history, other, task } = scene();
      const one = task();
      await Promise.all([
        history.addLogs([entryOf(one, 1), entryOf(one, 2)]),
        other.addLogs([entryOf(one, 2), entryOf(one, 3)]),
      ]);
      await other.addLogs([entryOf(one, 2, { message: "another" }), entryOf(one, 4)]);
      const found = await all(scene(), one.id);
      expect(found.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4]);
      expect(found[1]!.message).toBe("line 2");
    });

    test("a page goes on after a place, and may be of one attempt (H7)", async () => {
      const { history, task } = scene();
      const [one, neighbour] = [task(), task()];
      const first = [1, 2, 3].map((n) => entryOf(one, n));
      const second = [1, 2, 3].map((n) => entryOf(one, n, { fencingToken: 9, attempt: 2 }));
      await history.addLogs([...first, ...second, entryOf(neighbour, 1)]);
      const after = { fencingToken: 7, sequence: 2 };
      const page = await history.logs({ taskId: one.id, after, limit: 2 });
      expect(page).toEqual([first[2], second[0]]);
      const asked = { taskId: one.id, after: firstLogPlace, attempt: 2, limit: 10 };
      expect(await history.logs(asked)).toEqual(second);
      expect(await history.logs({ taskId: task().id, after, limit: 10 })).toEqual([]);
    });

    test("which of many tasks have entries behind a place is one question (H7)", async () => {
      const { history, other, task } = scene();
      const [one, two, none] = [task(), task(), task()];
      await history.addLogs([entryOf(one, 1), entryOf(one, 2), entryOf(two, 1)]);
      const behind = (taskId: string, sequence: number) => ({
        taskId,
        after: { fencingToken: 7, sequence },
      });
      const places = [behind(one.id, 1), behind(none.id, 0), behind(two.id, 1), behind(one.id, 2)];
      expect(await other.haveLogs(places)).toEqual([true, false, false, false]);
      expect(await other.haveLogs([{ taskId: two.id, after: firstLogPlace }])).toEqual([true]);
      expect(await other.haveLogs([])).toEqual([]);
    });

    test("they go with their task, and not before (H7)", async () => {
      const { harness, history, task } = scene();
      const [short, live] = [task({ retentionMs: day / 2 }), task({ retentionMs: day / 2 })];
      await history.insert([short, live]);
      await history.record([ended(short, "completed")]);
      await history.addLogs([entryOf(short, 1), entryOf(live, 1)]);
      await harness.age(day / 4);
      await history.prune(1_000);
      expect(await all(scene(), short.id)).toHaveLength(1);
      await harness.age(day / 2);
      for (let gone = -1; gone !== 0;) gone = await history.prune(1_000);
      expect(await all(scene(), short.id)).toEqual([]);
      expect(await all(scene(), live.id)).toHaveLength(1);
    });
  });
}
