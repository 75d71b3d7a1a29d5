import fc from "fast-check";
import { expect, test } from "vitest";
import { systemRandom } from "../../src/clock.js";
import type { RecordOutcome, Told } from "../../src/history/history.js";
import { createMemoryHistory } from "../../src/history/memory-history.js";
import { copiesOf } from "../../src/history/postgres/copies.js";
import { EarlyRow, EarlyRows } from "../../src/history/postgres/early-rows.js";
import { createPostgresHistory } from "../../src/history/postgres/postgres-history.js";
import type { Status, Task } from "../../src/task/task.js";
import { attemptOf } from "../conformance/history-harness.js";
import { freshSchema, sharedPostgres } from "../support/stores.js";
import { attemptThatTold, changes, factory, json, plain, toldOf } from "../support/told-tasks.js";

test("a row written early is the row that would be written late, and tells its task", () => {
  let early = 0;
  const property = fc.property(fc.array(changes, { maxLength: 12 }), (list) => {
    const rows = new EarlyRows();
    const tasks = list.map((change) => factory.task(change));
    const prepared = tasks.map((task) => rows.write(toldOf(task)));
    for (const [nth, told] of prepared.entries()) {
      const task = tasks[nth]!;
      expect(plain(told.task)).toEqual(plain(task));
      expect(told.attempt).toEqual(attemptThatTold(task));
      expect({ ...told, ...toldOf(told.task) }).toMatchObject(toldOf(told.task));
      if (told instanceof EarlyRow) early += 1;
    }
    const late = tasks.map((task) => ({ task, payload: task.payload }));
    const mixed = prepared.map((told, nth) =>
      told instanceof EarlyRow ? { ...late[nth]!, early: told } : late[nth]!,
    );
    expect(copiesOf(mixed, 1_234)).toEqual(copiesOf(late, 1_234));
  });
  fc.assert(property, { numRuns: 100 });
  expect(early).toBeGreaterThan(30);
});

test("rows outlive the slab they stand in, and large ones are not written early", () => {
  const rows = new EarlyRows();
  const tasks = Array.from({ length: 900 }, (_, n) =>
    factory.task({ durability: "relaxed", payload: json(Buffer.alloc((n * 37) % 4_500, n)) }),
  );
  const prepared = tasks.map((task) => rows.write(toldOf(task)));
  for (const [nth, told] of prepared.entries()) {
    const task = tasks[nth]!;
    expect(told instanceof EarlyRow).toBe(task.payload!.data.byteLength <= 4_096);
    expect(plain(told.task)).toEqual(plain(task));
  }
});

/** What may be told of a task: its birth, then some of its ends, in any order and repeatedly. */
function lifeOf(task: Task, pick: (below: number) => number): Told[] {
  const grant = { attempt: 1, fencingToken: 7 + pick(2), sessionId: "s-1", workerId: "w-1" };
  const [startedAt, completedAt] = [task.createdAt + 3, task.createdAt + 9];
  const at = (status: Status, version: number, change: Partial<Task>): Task =>
    factory.task({ ...task, ...change, status, version });
  const done = at("completed", 3, {
    ...grant,
    startedAt,
    completedAt,
    result: json(Buffer.of(49)),
  });
  const failed = at("failed", 3, { ...grant, startedAt, completedAt });
  const running = at("running", 2, { ...grant, startedAt });
  const runs = {
    ...toldOf(running, true),
    attempt: attemptOf(running, { ...grant, startedAt, endedAt: undefined, outcome: undefined }),
  };
  const ends = [
    toldOf(done, true),
    toldOf(done),
    { ...toldOf(failed, true), attempt: undefined },
    runs,
  ];
  const life = [toldOf(task)];
  for (let n = pick(4); n > 0; n -= 1) life.push(ends[pick(ends.length)]!);
  return life
    .map((told) => ({ told, order: pick(100) }))
    .sort((a, b) => (pick(3) === 0 ? a.order - b.order : 0))
    .map(({ told }) => ({ ...told, task: Object.assign({}, told.task, { id: task.id }) }));
}

test("what was prepared is recorded as it would have been, in whatever order it comes", async () => {
  const { url } = await sharedPostgres();
  const options = { url, schema: freshSchema(), statementMs: 20_000, connectMs: 20_000 };
  const real = createPostgresHistory(options);
  const model = createMemoryHistory();
  await Promise.all([real.start(), model.start()]);
  const pick = (below: number): number => Math.floor(systemRandom.next() * below);
  for (let round = 0; round < 40; round += 1) {
    const tasks = Array.from({ length: 12 }, () =>
      factory.task({ durability: pick(5) === 0 ? "durable" : "relaxed" }),
    );
    const lives = tasks.map((task) => lifeOf(task, pick));
    while (lives.some((life) => life.length > 0)) {
      const batch: Told[] = [];
      for (const life of lives) batch.push(...life.splice(0, pick(3)));
      if (pick(2) === 0) batch.reverse();
      const outcomes: RecordOutcome[] = await real.record(batch.map((told) => real.prepare(told)));
      expect(outcomes).toEqual(await model.record(batch));
    }
    const ids = tasks.map(({ id }) => id);
    const shown = async (history: typeof real) =>
      (await history.get("default", ids)).map((task) => task && plain(task));
    expect(await shown(real)).toEqual(await shown(model));
    for (const id of ids) {
      expect(await real.attempts("default", id)).toEqual(await model.attempts("default", id));
    }
  }
  await Promise.all([real.stop(), model.stop()]);
});
