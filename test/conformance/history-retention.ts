import { describe, expect, test } from "vitest";
import { limits } from "../../src/limits.js";
import type { Task } from "../../src/task/task.js";
import type { HistoryScene } from "./history.js";
import { attemptOf, countedFinals, ended, shownCounts } from "./history-harness.js";

const day = 86_400_000;

/** H4: ended rows are kept for their retention, then they go with all that is theirs. */
export function exerciseRetention(scene: () => HistoryScene): void {
  describe("prune", () => {
    test("an ended task goes after its retention with all that is its own (H4)", async () => {
      const { harness, history, namespace, task } = scene();
      const short = task({ retentionMs: day / 2, idempotencyKey: "short" });
      const long = task({ retentionMs: 30 * day, idempotencyKey: "long" });
      await history.insert([short, long]);
      await history.record(
        [short, long].map((one) => ended(one, "completed", {}, { attempt: attemptOf(one) })),
      );
      await pruneAll(scene());
      expect(await history.get(namespace, [short.id])).not.toEqual([undefined]);
      await harness.age(day / 2);
      expect(await pruneAll(scene())).toBeGreaterThan(0);
      const [gone, kept] = await history.get(namespace, [short.id, long.id]);
      expect([gone, kept?.id]).toEqual([undefined, long.id]);
      expect(await history.attempts(namespace, short.id)).toEqual([]);
      expect(await history.attempts(namespace, long.id)).toHaveLength(1);
      expect(await history.keyHolder(namespace, "default", "short")).toBeUndefined();
      expect(await history.keyHolder(namespace, "default", "long")).toBe(long.id);
      expect(await history.finalCounts(namespace)).toEqual([
        { queue: "default", status: "completed", tasks: 1 },
      ]);
    });

    test("live tasks are never pruned, however old (H4)", async () => {
      const { harness, history, namespace, task } = scene();
      const [old, revived] = [task({ retentionMs: 1 }), task({ retentionMs: 1 })];
      await history.insert([old, revived]);
      await history.record([ended(revived, "failed")]);
      await history.revive(namespace, [revived.id]);
      await harness.age(400 * day);
      await pruneAll(scene());
      expect(await history.liveCount(namespace)).toBe(2);
    });

    test("a purge takes ended tasks with all that is their own, and no live or foreign one (H4)", async () => {
      const { history, namespace, task, tasks, query } = scene();
      const dead = task({ idempotencyKey: "dead" });
      const [done, live, kept] = tasks(3) as [Task, Task, Task];
      await history.insert([dead, done, live, kept]);
      await history.record([
        ended(dead, "failed", {}, { attempt: attemptOf(dead) }),
        ended(done, "completed"),
        ended(kept, "failed"),
      ]);
      const asked = [dead.id, live.id, done.id, dead.id, task().id, "no id"];
      expect(await history.purge(`${namespace}-x`, asked)).toBe(0);
      expect(await history.purge(namespace, asked)).toBe(2);
      expect(await history.purge(namespace, asked)).toBe(0);
      const left = (await history.list(query())).tasks.map(({ id }) => id);
      expect(left).toEqual([kept.id, live.id]);
      expect(await history.attempts(namespace, dead.id)).toEqual([]);
      expect(await history.keyHolder(namespace, "default", "dead")).toBeUndefined();
      expect(shownCounts(await history.finalCounts(namespace))).toEqual({ "default failed": 1 });
    });

    test("a pruned task leaves the key to whoever took it since (H4)", async () => {
      const { harness, history, namespace, task } = scene();
      const first = task({ idempotencyKey: "again", retentionMs: 2 * day - 120_000 });
      await history.insert([first]);
      await history.record([ended(first, "completed")]);
      await harness.age(limits.idempotencyKeyMs + 1_000);
      const second = task({ idempotencyKey: "again" });
      await history.insert([second]);
      await harness.age(day - 60_000);
      await pruneAll(scene());
      expect(await history.get(namespace, [first.id])).toEqual([undefined]);
      expect(await history.keyHolder(namespace, "default", "again")).toBe(second.id);
    });

    test("one call removes no more than asked for (H4)", async () => {
      const { harness, history, namespace, tasks, query } = scene();
      await pruneAll(scene());
      const batch = tasks(25, { retentionMs: 0 });
      await history.insert(batch);
      await history.record(batch.map((one) => ended(one, "cancelled")));
      await harness.age(1_000);
      expect(await history.prune(10)).toBe(10);
      expect((await history.list(query())).tasks).toHaveLength(15);
      expect(shownCounts(await history.finalCounts(namespace))).toEqual({
        "default cancelled": 15,
      });
    });

    test("two pruners at once remove each row once, and counts stay true (H4)", async () => {
      const { harness, history, other, namespace, tasks, query } = scene();
      await pruneAll(scene());
      const batch = tasks(120, { retentionMs: 0 });
      await history.insert([...batch, ...tasks(5)]);
      await history.record(batch.map((one) => ended(one, "completed")));
      await harness.age(1_000);
      const gone = await Promise.all([
        history.prune(70),
        other.prune(70),
        history.prune(70),
        other.record(batch.map((one) => ended(one, "completed"))),
      ]);
      const sum = gone.slice(0, 3).reduce<number>((total, each) => total + Number(each), 0);
      const left = await history.list(query({ pageSize: 200 }));
      expect(left.tasks).toHaveLength(125 - sum);
      expect(shownCounts(await history.finalCounts(namespace))).toEqual(
        await countedFinals(history, query()),
      );
      await pruneAll(scene());
      expect(await history.finalCounts(namespace)).toEqual([]);
    });

    test("old markers go once all their tasks have ended, and not before (H4)", async () => {
      const { harness, history, tasks } = scene();
      const [live, done] = [tasks(2), tasks(2)];
      const kept = await history.insert(live);
      const old = await history.insert(done);
      await history.record([...done, live[0]!].map((one) => ended(one, "completed")));
      const markers = async () => (await history.staleMarkers(0, 10_000)).map((one) => one.marker);
      await history.prune(1_000);
      expect(await markers()).toContain(old.marker);
      await harness.age(limits.commitMarkerKeepMs);
      await history.prune(1_000);
      expect(await markers()).not.toContain(old.marker);
      expect(await markers()).toContain(kept.marker);
    });
  });
}

async function pruneAll({ history }: HistoryScene): Promise<number> {
  let sum = 0;
  for (let gone = -1; gone !== 0; sum += gone) gone = await history.prune(1_000);
  return sum;
}
