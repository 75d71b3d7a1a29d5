import { describe, expect, test } from "vitest";
import type { Task, UniqueRule } from "../../src/task/task.js";
import type { HistoryScene } from "./history.js";
import { ended, told } from "./history-harness.js";

const rule = (change: Partial<UniqueRule> = {}): UniqueRule => ({
  key: "order-7",
  scope: "until_final",
  windowMs: undefined,
  onConflict: "return_existing",
  ...change,
});

/** H1: a unique key is won with the insert and released with its holder's own row. */
export function exerciseUnique(scene: () => HistoryScene): void {
  const taking = (change: Partial<UniqueRule> = {}, more: Partial<Task> = {}): Task =>
    scene().task({ terms: { unique: rule(change) }, ...more });
  const insert = async (...tasks: Task[]) => (await scene().history.insert(tasks)).outcomes;
  const inserted = { kind: "inserted" };
  const taken = ({ id }: Task) => ({ kind: "unique_taken", taskId: id });
  const starts = (task: Task) => {
    const change = { status: "running", startedAt: 5, attempt: 1, fencingToken: 7 } as const;
    return scene().history.record([told(task, change)]);
  };
  const ends = (task: Task) => scene().history.record([ended(task, "completed")]);

  describe("unique keys", () => {
    test("are held by one task of a queue until its end is written (H1)", async () => {
      const [first, second] = [taking(), taking()];
      expect(await insert(first)).toEqual([inserted]);
      expect(await insert(second)).toEqual([taken(first)]);
      expect(await scene().history.get(undefined, [second.id])).toEqual([undefined]);
      expect(await starts(first)).toEqual(["applied"]);
      expect(await insert(second)).toEqual([taken(first)]);
      expect(await ends(first)).toEqual(["applied"]);
      expect(await insert(second)).toEqual([inserted]);
      expect(await insert(first)).toEqual([{ kind: "known" }]);
      expect(await insert(taking())).toEqual([taken(second)]);
    });

    test("are free in another queue or namespace, and none is no key (H1)", async () => {
      const { namespace, task } = scene();
      const other = taking({}, { namespace: `${namespace}-other` });
      const tasks = [taking(), taking({}, { queue: "mail" }), other, taking({ key: "order-8" })];
      expect(await insert(...tasks, task())).toEqual([...tasks, 0].map(() => inserted));
    });

    test("go to the first of one batch (H1)", async () => {
      const [first, second] = [taking(), taking()];
      expect(await insert(first, second)).toEqual([inserted, taken(first)]);
    });

    test("go to one of many inserts at once (H1)", async () => {
      const tasks = Array.from({ length: 8 }, () => taking());
      const outcomes = (await Promise.all(tasks.map((task) => insert(task)))).flat();
      const winner = outcomes.findIndex(({ kind }) => kind === "inserted");
      expect(winner).toBeGreaterThanOrEqual(0);
      const expected = tasks.map((_, n) => (n === winner ? inserted : taken(tasks[winner]!)));
      expect(outcomes).toEqual(expected);
    });

    test("leave the idempotency key of a loser free (H1)", async () => {
      const { history, namespace } = scene();
      const first = taking();
      const second = taking({}, { idempotencyKey: "again" });
      expect(await insert(first, second)).toEqual([inserted, taken(first)]);
      expect(await history.keyHolder(namespace, second.queue, "again")).toBeUndefined();
    });

    test("are released at the first start where the scope says so (H1)", async () => {
      const [first, second] = [
        taking({ scope: "until_started" }),
        taking({ scope: "until_started" }),
      ];
      await insert(first);
      expect(await insert(second)).toEqual([taken(first)]);
      expect(await starts(first)).toEqual(["applied"]);
      expect(await insert(second)).toEqual([inserted]);
      expect(await ends(first)).toEqual(["applied"]);
      expect(await insert(taking())).toEqual([taken(second)]);
    });

    test("are held for their time, whatever the holder does (H1)", async () => {
      const first = taking({ scope: "for_time", windowMs: 10_000 });
      await insert(first);
      await ends(first);
      expect(await insert(taking())).toEqual([taken(first)]);
      await scene().harness.age(10_001);
      expect(await insert(taking())).toEqual([inserted]);
    });

    const replacedBy = (task: Task, successor: Task) => [
      { ...told(task, { status: "cancelled", completedAt: 5 }), successor },
    ];

    test("go from a replaced task to its successor in one step (H1)", async () => {
      const { history, namespace } = scene();
      for (const scope of ["until_final", "until_started", "for_time"] as const) {
        const change = { key: scope, scope, windowMs: scope === "for_time" ? 60_000 : undefined };
        const first = taking(change);
        const [second, third] = [taking(change, { idempotencyKey: scope }), taking(change)];
        await insert(first);
        expect(await history.record(replacedBy(first, second))).toEqual(["applied"]);
        const rows = await history.get(namespace, [first.id, second.id]);
        const { id, payload } = second;
        expect(rows).toMatchObject([{ status: "cancelled" }, { id, payload, status: "pending" }]);
        expect(await insert(third)).toEqual([taken(second)]);
        expect(await insert(second)).toEqual([{ kind: "known" }]);
        expect(await history.keyHolder(namespace, second.queue, scope)).toBe(second.id);
        expect(await history.record(replacedBy(first, second))).toEqual(["superseded"]);
        await scene().harness.age(5);
        const markers = await history.staleMarkers(1, 1_000);
        const marked = markers.filter(({ marker }) => marker === second.id);
        expect(marked.flatMap(({ tasks }) => tasks.map(({ id }) => id))).toEqual([second.id]);
      }
    });

    test("bring in no successor of a task that ended otherwise (H1)", async () => {
      const { history, namespace } = scene();
      const [first, second] = [taking(), taking()];
      await insert(first);
      await ends(first);
      const late = [{ ...ended(first, "cancelled", { fencingToken: 8 }), successor: second }];
      expect(await history.record(late)).toEqual(["refused"]);
      expect(await history.get(namespace, [second.id])).toEqual([undefined]);
      expect(await insert(second)).toEqual([inserted]);
    });

    test("stay where they are when the successor comes too late for them (H1)", async () => {
      const { history, harness, namespace } = scene();
      const change = { scope: "for_time", windowMs: 10_000 } as const;
      const [first, second, third] = [taking(change), taking(change), taking(change)];
      await insert(first);
      await harness.age(10_001);
      expect(await insert(second)).toEqual([inserted]);
      expect(await history.record(replacedBy(first, third))).toEqual(["applied"]);
      expect(await history.get(namespace, [third.id])).toMatchObject([{ id: third.id }]);
      expect(await insert(taking(change))).toEqual([taken(second)]);
    });

    test("go to one of many successors and inserts at once (H1)", async () => {
      const { history, namespace } = scene();
      const firsts = Array.from({ length: 6 }, (_, n) => taking({ key: `many-${n}` }));
      await insert(...firsts);
      const heirs = firsts.map((_, n) => taking({ key: `many-${n}` }));
      const rivals = firsts.map((_, n) => taking({ key: `many-${n}` }));
      const replace = firsts.map((first, n) => history.record(replacedBy(first, heirs[n]!)));
      const [outcomes] = await Promise.all([insert(...rivals), ...replace]);
      expect((await Promise.all(replace)).flat()).toEqual(firsts.map(() => "applied"));
      for (const [n, outcome] of outcomes.entries()) {
        expect([taken(firsts[n]!), taken(heirs[n]!)]).toContainEqual(outcome);
      }
      expect(await insert(...rivals)).toEqual(heirs.map(taken));
      expect(await history.liveCount(namespace)).toBe(heirs.length);
    });

    test("are released by a cancel (H1)", async () => {
      const { history, namespace } = scene();
      const [first, second] = [taking(), taking()];
      await insert(first);
      await history.cancelLive(namespace, first.id);
      expect(await insert(second)).toEqual([inserted]);
    });
  });
}
