import { describe, expect, test } from "vitest";
import type { History } from "../../src/history/history.js";
import type { HistoryScene } from "./history.js";
import { attemptOf, countedFinals, ended, shownCounts, told } from "./history-harness.js";

/** H2 and H3: replays and reordering change nothing, a run ends once. */
export function exerciseRecord(scene: () => HistoryScene): void {
  describe("record", () => {
    test("a transition is written to the row it belongs to (H2)", async () => {
      const { history, namespace, task } = scene();
      const one = task();
      await history.insert([one]);
      const change = told(one, {
        status: "retrying",
        attempt: 1,
        retryCount: 1,
        leaseLosses: 1,
        releases: 2,
        fencingToken: 2 ** 40 + 5,
        sessionId: "s-1",
        workerId: "w-1",
        readyAt: one.createdAt + 3_600_000,
        startedAt: one.createdAt + 1,
        cancelRequestedAt: one.createdAt + 2,
        error: { code: "boom", message: "no \0 luck", stack: "at x", retryable: true },
        progress: { fraction: 0.5, message: "half" },
      });
      expect(await history.record([change])).toEqual(["applied"]);
      const [read] = await history.get(namespace, [one.id]);
      expect(read).toEqual({ ...change.task, payload: read?.payload });
      expect(Buffer.from(read!.payload!.data)).toEqual(Buffer.from(one.payload!.data));
    });

    test("a result is kept with its bytes and content type (H2)", async () => {
      const { history, namespace, task } = scene();
      const one = task();
      await history.insert([one]);
      const result = { contentType: "application/json", data: Buffer.from('{"ok":true}') };
      await history.record([ended(one, "completed", { result })]);
      const [read] = await history.get(namespace, [one.id]);
      expect(read?.result?.contentType).toBe("application/json");
      expect(Buffer.from(read!.result!.data).toString()).toBe('{"ok":true}');
    });

    test("a replay is superseded and changes nothing (H2)", async () => {
      const { history, other, namespace, task } = scene();
      const one = task();
      await history.insert([one]);
      const running = told(one, { status: "running" });
      const done = ended(one, "completed");
      expect(await history.record([running])).toEqual(["applied"]);
      expect(await other.record([running])).toEqual(["superseded"]);
      expect(await history.record([done])).toEqual(["applied"]);
      expect(await other.record([running, done])).toEqual(["superseded", "superseded"]);
      expect((await history.get(namespace, [one.id]))[0]?.version).toBe(done.task.version);
    });

    test("what arrives after its successor is superseded (H2)", async () => {
      const { history, namespace, task } = scene();
      const one = task();
      await history.insert([one]);
      const steps = [2, 3, 4, 5].map((version) => told(one, { status: "running", version }));
      const outcomes = [];
      for (const step of steps.toReversed()) outcomes.push(...(await history.record([step])));
      expect(outcomes).toEqual(["applied", "superseded", "superseded", "superseded"]);
      expect((await history.get(namespace, [one.id]))[0]?.version).toBe(5);
    });

    test("of several transitions of a task the newest counts, in any order (H2)", async () => {
      const { history, namespace, task } = scene();
      const [forward, backward] = [task(), task()];
      await history.insert([forward, backward]);
      const steps = (one: typeof forward) => [
        told(one, { status: "running" }),
        told(one, { status: "retrying", version: 3, readyAt: one.createdAt + 3_600_000 }),
        ended(one, "failed", { version: 4 }),
      ];
      const outcomes = await history.record([...steps(forward), ...steps(backward).toReversed()]);
      expect(outcomes).toEqual(Array.from({ length: 6 }, () => "applied"));
      const read = await history.get(namespace, [forward.id, backward.id]);
      expect(read.map((found) => [found?.status, found?.version])).toEqual([
        ["failed", 4],
        ["failed", 4],
      ]);
    });

    test("a second, different end of a run is refused, whatever its version (H2)", async () => {
      const { history, other, namespace, task } = scene();
      const one = task();
      await history.insert([one]);
      await history.record([ended(one, "completed", { version: 5 })]);
      const later = ended(one, "failed", { version: 9, fencingToken: 8 });
      const earlier = ended(one, "failed", { version: 3, fencingToken: 6 });
      const twin = ended(one, "completed", { version: 5, fencingToken: 9 });
      expect(await other.record([later])).toEqual(["refused"]);
      expect(await other.record([earlier])).toEqual(["refused"]);
      expect(await other.record([twin])).toEqual(["refused"]);
      expect((await history.get(namespace, [one.id]))[0]).toMatchObject({
        status: "completed",
        version: 5,
      });
    });

    test("a run that ended is not brought back to life by a later version (H2)", async () => {
      const { history, namespace, task } = scene();
      const one = task();
      await history.insert([one]);
      await history.record([ended(one, "failed")]);
      const revenant = told(one, { status: "running", version: 9 });
      expect(await history.record([revenant])).toEqual(["refused"]);
      expect((await history.get(namespace, [one.id]))[0]?.status).toBe("failed");
    });

    test("what the table of statuses does not hold is refused, and changes nothing (H2)", async () => {
      const { history, namespace, task } = scene();
      const one = task();
      await history.insert([one]);
      const unblocked = told(one, { status: "blocked", version: 9 });
      expect(await history.record([unblocked])).toEqual(["refused"]);
      expect((await history.get(namespace, [one.id]))[0]).toMatchObject({ version: one.version });
    });

    test("two ends of a run at once: one is applied, the other refused (H2)", async () => {
      const { history, other, namespace, tasks, query } = scene();
      const batch = tasks(40);
      await history.insert(batch);
      const [mine, theirs] = await Promise.all([
        history.record(batch.map((one) => ended(one, "completed"))),
        other.record(batch.toReversed().map((one) => ended(one, "failed", { fencingToken: 8 }))),
      ]);
      const pairs = mine.map((outcome, index) => new Set([outcome, theirs.toReversed()[index]]));
      for (const pair of pairs) expect(pair).toEqual(new Set(["applied", "refused"]));
      expect(shownCounts(await history.finalCounts(namespace))).toEqual(
        await countedFinals(history, query()),
      );
    });

    test("an update that finds no row is missing and changes nothing (H3)", async () => {
      const { history, namespace, task } = scene();
      const one = task();
      const done = ended(one, "completed", {}, { attempt: attemptOf(one) });
      expect(await history.record([done])).toEqual(["missing"]);
      expect(await history.get(namespace, [one.id])).toEqual([undefined]);
      expect(await history.finalCounts(namespace)).toEqual([]);
      await history.insert([one]);
      expect(await history.attempts(namespace, one.id)).toEqual([]);
      expect(await history.record([done])).toEqual(["applied"]);
      expect(await history.attempts(namespace, one.id)).toHaveLength(1);
    });

    test("a transition that carries the whole task needs no row (H3)", async () => {
      const { history, namespace, task } = scene();
      const one = task({ durability: "relaxed", idempotencyKey: "relaxed-1" });
      const whole = told(one, { version: 1 }, { payloadOmitted: false });
      expect(await history.record([whole])).toEqual(["applied"]);
      expect(await history.record([whole])).toEqual(["superseded"]);
      const [read] = await history.get(namespace, [one.id]);
      expect(read).toEqual({ ...one, payload: read?.payload });
      expect(await history.keyHolder(namespace, "default", "relaxed-1")).toBe(one.id);
    });

    test("two whole tasks with one key stand both, and the first holds it (H3)", async () => {
      const { history, namespace, task } = scene();
      const change = { durability: "relaxed", idempotencyKey: "forgotten" } as const;
      const [one, two] = [task(change), task(change)];
      const both = [two, one].map((each) => told(each, { version: 1 }, { payloadOmitted: false }));
      expect(await history.record(both)).toEqual(["applied", "applied"]);
      expect(await history.get(namespace, [one.id, two.id])).toMatchObject([one, two]);
      expect(await history.keyHolder(namespace, "default", "forgotten")).toBe(one.id);
    });

    test("a task that began and ended in one batch is one whole row (H3)", async () => {
      const { history, namespace, task } = scene();
      const one = task();
      const outcomes = await history.record([
        ended(one, "completed", {}, { attempt: attemptOf(one) }),
        told(one, { version: 1 }, { payloadOmitted: false }),
      ]);
      expect(outcomes).toEqual(["applied", "applied"]);
      const [read] = await history.get(namespace, [one.id]);
      expect(read).toMatchObject({ status: "completed", version: 3 });
      expect(Buffer.from(read!.payload!.data)).toEqual(Buffer.from(one.payload!.data));
      expect(await history.attempts(namespace, one.id)).toHaveLength(1);
    });

    test("an update older than the whole task of its batch is superseded (H3)", async () => {
      const { history, task } = scene();
      const one = task();
      const outcomes = await history.record([
        told(one, { version: 2, status: "running" }),
        told(one, { version: 4 }, { payloadOmitted: false }),
      ]);
      expect(outcomes).toEqual(["superseded", "applied"]);
    });

    test("two coordinators that bring the same tasks at once write each once (H3)", async () => {
      const { history, other, namespace, tasks, query } = scene();
      const batch = tasks(50).map((one) => ended(one, "completed", {}, { payloadOmitted: false }));
      const replies = await Promise.all([
        history.record(batch),
        other.record(batch.toReversed()),
        history.record(batch),
      ]);
      const outcomes = replies.flat();
      expect(outcomes.filter((outcome) => outcome === "applied")).toHaveLength(50);
      expect(outcomes.filter((outcome) => outcome === "superseded")).toHaveLength(100);
      expect(shownCounts(await history.finalCounts(namespace))).toEqual({
        "default completed": 50,
      });
      expect(await countedFinals(history, query())).toEqual({ "default completed": 50 });
    });

    test("a stored payload is never overwritten (H3)", async () => {
      const { history, namespace, task } = scene();
      const one = task();
      await history.insert([one]);
      const other = { contentType: "text/plain", data: Buffer.from("other") };
      await history.record([told(one, { payload: other }, { payloadOmitted: false })]);
      const [read] = await history.get(namespace, [one.id]);
      expect(Buffer.from(read!.payload!.data)).toEqual(Buffer.from(one.payload!.data));
    });

    test("attempts are written whatever the version of their transition (H2)", async () => {
      const { history, namespace, task } = scene();
      const one = task();
      await history.insert([one]);
      const first = attemptOf(one, {
        fencingToken: 3,
        outcome: "failed",
        error: { code: "boom", message: "bad \0 luck", retryable: true },
      });
      const second = attemptOf(one, { fencingToken: 7, attempt: 2 });
      await history.record([ended(one, "completed", { version: 9 }, { attempt: second })]);
      const late = told(one, { status: "retrying", version: 4 }, { attempt: first });
      expect(await history.record([late])).toEqual(["superseded"]);
      expect(await history.attempts(namespace, one.id)).toEqual([first, second]);
    });

    test("an ended attempt stays as it is, but a lost one may complete (H2)", async () => {
      const { history, namespace, task } = scene();
      const one = task();
      await history.insert([one]);
      const lost = attemptOf(one, { outcome: "lost" });
      const done = attemptOf(one, { outcome: "completed", endedAt: one.createdAt + 99 });
      await history.record([told(one, { status: "pending", version: 3 }, { attempt: lost })]);
      await history.record([ended(one, "completed", { version: 4 }, { attempt: done })]);
      await history.record([told(one, { status: "pending", version: 3 }, { attempt: lost })]);
      expect(await history.attempts(namespace, one.id)).toEqual([done]);
    });

    test("the same attempt twice in a batch is one row (H2)", async () => {
      const { history, namespace, task } = scene();
      const one = task();
      await history.insert([one]);
      const attempt = attemptOf(one);
      const done = ended(one, "completed", {}, { attempt });
      await history.record([done, done]);
      expect(await history.attempts(namespace, one.id)).toEqual([attempt]);
    });

    test("an empty batch is nothing", async () => {
      expect(await scene().history.record([])).toEqual([]);
    });

    test("counts of ended tasks equal a count of the rows after any mixture (H2, H4)", async () => {
      const { history, other, namespace, tasks, query } = scene();
      const [a, b] = [tasks(30, { queue: "a" }), tasks(30, { queue: "b" })];
      await history.insert(a);
      await other.record(b.map((one) => told(one, { version: 1 }, { payloadOmitted: false })));
      await Promise.all([
        history.record(a.map((one) => ended(one, "completed"))),
        other.record([...b, ...a.slice(0, 9)].map((one) => ended(one, "failed"))),
        other.record(b.slice(0, 20).map((one) => ended(one, "cancelled"))),
      ]);
      const some = [...a, ...b].slice(20, 45);
      await history.revive(
        namespace,
        some.slice(0, 5).map(({ id }) => id),
      );
      for (const one of some.slice(5)) await history.revive(namespace, [one.id]);
      await other.record(
        b.slice(5, 9).map((one) => ended(one, "expired", { run: 2, version: 99 })),
      );
      const counts = shownCounts(await history.finalCounts(namespace));
      expect(counts).toEqual(await countedFinals(other, query()));
    });
  });

  describe("cancel and revive", () => {
    test("a live row is cancelled once, and its run has ended (H2)", async () => {
      const { history, other, namespace, task } = scene();
      const one = task();
      await history.insert([one]);
      const done = await history.cancelLive(namespace, one.id);
      expect(done).toMatchObject({ status: "cancelled", version: 2, run: 1 });
      expect(done?.completedAt).toBeTypeOf("number");
      expect(await other.cancelLive(namespace, one.id)).toBeUndefined();
      expect(await other.record([ended(one, "completed")])).toEqual(["refused"]);
      expect(await other.finalCounts(namespace)).toEqual([
        { queue: "default", status: "cancelled", tasks: 1 },
      ]);
    });

    test("a cancel finds neither unknown nor foreign tasks (H5)", async () => {
      const { history, namespace, task } = scene();
      const one = task();
      await history.insert([one]);
      expect(await history.cancelLive(`${namespace}-x`, one.id)).toBeUndefined();
      expect(await history.cancelLive(namespace, task().id)).toBeUndefined();
      expect(await history.cancelLive(namespace, "no id")).toBeUndefined();
      expect((await history.get(namespace, [one.id]))[0]?.status).toBe("pending");
    });

    test("a failed task begins a new run with fresh budgets and a marker (H1)", async () => {
      const { harness, history, other, namespace, task } = scene();
      const one = task();
      await history.insert([one]);
      const error = { code: "boom", message: "no", retryable: true };
      const change = { attempt: 4, retryCount: 3, leaseLosses: 2, releases: 1, error };
      await history.record([ended(one, "failed", { version: 9, ...change })]);
      const { outcomes, marker: given } = await other.revive(namespace, [one.id]);
      const reply = outcomes[0]!;
      if (reply.kind !== "revived") throw new Error(`revived expected, came ${reply.kind}`);
      expect(reply.task).toMatchObject({ status: "pending", run: 2, version: 10, attempt: 4 });
      expect(reply.task).toMatchObject({ retryCount: 0, leaseLosses: 0, releases: 0 });
      expect([reply.task.error, reply.task.completedAt]).toEqual([undefined, undefined]);
      expect(reply.task.payload).toBeDefined();
      expect(await history.finalCounts(namespace)).toEqual([]);
      await harness.age(1_000);
      const stale = await history.staleMarkers(1_000, 10_000);
      const found = stale.find(({ marker }) => marker === given);
      expect(found?.tasks.map(({ id, run }) => [id, run])).toEqual([[one.id, 2]]);
    });

    test("what is told of an old run does not touch the new one (H2)", async () => {
      const { history, namespace, task } = scene();
      const one = task();
      await history.insert([one]);
      const first = ended(one, "failed", { version: 5 });
      await history.record([first]);
      await history.revive(namespace, [one.id]);
      expect(await history.record([first])).toEqual(["superseded"]);
      const stale = told(one, { status: "running", version: 50 });
      expect(await history.record([stale])).toEqual(["superseded"]);
      const second = ended(one, "completed", { run: 2, version: 8, fencingToken: 11 });
      expect(await history.record([second])).toEqual(["applied"]);
      expect((await history.get(namespace, [one.id]))[0]).toMatchObject({
        status: "completed",
        run: 2,
      });
    });

    test("only one of two revivals at once begins a run", async () => {
      const { history, other, namespace, task } = scene();
      const one = task();
      await history.insert([one]);
      await history.record([ended(one, "expired")]);
      const replies = await Promise.all([
        history.revive(namespace, [one.id]),
        other.revive(namespace, [one.id]),
      ]);
      expect(replies.flatMap(kindsOf).toSorted()).toEqual(["live", "revived"]);
    });

    test("live, completed, unknown and foreign tasks are not revived (H5)", async () => {
      const { history, namespace, task } = scene();
      const [live, done, dead] = [task(), task(), task()];
      await history.insert([live, done, dead]);
      await history.record([ended(done, "completed"), ended(dead, "failed")]);
      const asked = [live.id, done.id, task().id, "no id"];
      const kinds = kindsOf(await history.revive(namespace, asked));
      kinds.push(...kindsOf(await history.revive(`${namespace}-x`, [dead.id])));
      expect(kinds).toEqual(["live", "completed", "unknown", "unknown", "unknown"]);
    });

    test("many begin a new run at once, each in its place, under one marker (H1)", async () => {
      const { harness, history, other, namespace, tasks, task } = scene();
      const dead = tasks(20);
      const live = task();
      await history.insert([...dead, live]);
      await history.record(dead.map((one, at) => ended(one, at % 2 ? "failed" : "cancelled")));
      const asked = [dead[3]!.id, live.id, ...dead.slice(4, 15).map(({ id }) => id)];
      const { outcomes, marker } = await other.revive(namespace, asked);
      expect(outcomes.map((it) => (it.kind === "unknown" ? "" : it.task.id))).toEqual(asked);
      expect(outcomes[1]!.kind).toBe("live");
      await harness.age(1_000);
      const stale = await history.staleMarkers(1_000, 10_000);
      const marked = stale.find((it) => it.marker === marker)!.tasks.map(({ id }) => id);
      expect(marked.toSorted()).toEqual(asked.filter((id) => id !== live.id).toSorted());
      expect((await history.revive(namespace, [live.id])).marker).toBeUndefined();
      expect(shownCounts(await history.finalCounts(namespace))).toEqual({
        "default cancelled": 4,
        "default failed": 4,
      });
    });
  });
}

const kindsOf = ({ outcomes }: Awaited<ReturnType<History["revive"]>>) =>
  outcomes.map(({ kind }): string => kind);
