import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { History } from "../../src/history/history.js";
import { createMemoryHistory } from "../../src/history/memory-history.js";
import { areFresh } from "../../src/history/postgres/fresh-rows.js";
import { createPostgresHistory } from "../../src/history/postgres/postgres-history.js";
import { FreshTask, type NewTask, wholeOf } from "../../src/task/fresh-task.js";
import type { Priority, TaskSpec } from "../../src/task/task.js";
import { freshSchema, sharedPostgres } from "../support/stores.js";
import { factory, plain, said } from "../support/told-tasks.js";

let real: History;
let model: History;
beforeAll(async () => {
  const { url } = await sharedPostgres();
  const deadlines = { statementMs: 20_000, connectMs: 20_000 };
  real = createPostgresHistory({ url, schema: freshSchema(), ...deadlines });
  model = createMemoryHistory();
  await Promise.all([real.start(), model.start()]);
});
afterAll(() => real.stop());

const json = { contentType: "application/json", data: Buffer.alloc(0) };
const specOf = (change: Partial<TaskSpec> = {}): TaskSpec =>
  factory.task({ durability: "durable", payload: json, ...change });

/** Its data stand between others. */
function freshOf(spec: TaskSpec, data: Uint8Array): FreshTask {
  const frame = Buffer.concat([Buffer.from("before"), data, Buffer.from("behind")]);
  return new FreshTask(factory.task().id, spec, frame, 6, 6 + data.length);
}
const some = (count: number, spec = specOf()): FreshTask[] =>
  Array.from({ length: count }, (_, n) => freshOf(spec, Buffer.from(`${n}`)));

const shownBy = async (history: History, tasks: readonly NewTask[]) => {
  const rows = await history.get(
    undefined,
    tasks.map(({ id }) => id),
  );
  return rows.map((row) => row && plain(row));
};

/** Both say the same, and hold the same then. */
async function insertBoth(tasks: readonly NewTask[]): Promise<void> {
  const { outcomes, marker } = await real.insert(tasks);
  const expected = await model.insert(tasks.map(wholeOf));
  expect(outcomes).toEqual(expected.outcomes);
  expect(marker === undefined).toBe(expected.marker === undefined);
  expect(await shownBy(real, tasks)).toEqual(await shownBy(model, tasks));
}

const specs = fc
  .record({
    namespace: fc.constantFrom("default", "ns-\\2", "ö"),
    queue: fc.constantFrom("default", "mail"),
    type: fc.string({ unit: "binary", maxLength: 20 }),
    priority: fc.constantFrom<Priority>(0, 1, 3),
    retentionMs: fc.integer({ min: 0, max: 2 ** 40 }),
    createdAt: fc.integer({ min: 1, max: 2 ** 45 }),
    ...said,
    // What has columns of its own is no plain row.
    tags: fc.constantFrom<string[]>([], [], [], [], ["a"]),
    payload: fc.constantFrom(json, json, json, json, { ...json, contentType: "text/plain" }),
  })
  .map(specOf);

test("writes the rows that whole tasks would be", async () => {
  let fresh = 0;
  const property = fc.asyncProperty(
    fc.array(specs, { minLength: 1, maxLength: 3 }),
    fc.array(fc.tuple(fc.nat(2), fc.uint8Array({ maxLength: 300 })), { minLength: 1 }),
    async (kinds, list) => {
      const tasks = list.map(([kind, data]) => freshOf(kinds[kind % kinds.length]!, data));
      if (areFresh(tasks)) fresh += tasks.length;
      await insertBoth(tasks);
    },
  );
  await fc.assert(property, { numRuns: 60 });
  expect(fresh).toBeGreaterThan(30);
});

test("writes many, in pieces, whatever their order", async () => {
  const specsOfTwo = [specOf(), specOf({ queue: "other" })];
  const tasks = Array.from({ length: 700 }, (_, n) =>
    freshOf(specsOfTwo[n % 2]!, Buffer.alloc(n % 9 === 0 ? 3_000 : 40, n)),
  );
  await insertBoth(tasks.toReversed());
});

test("leaves to the general way what stands already, comes twice or is whole", async () => {
  const [first, ...others] = some(6);
  await insertBoth([first!]);
  await insertBoth([others[0]!, first!, others[1]!]);
  await insertBoth([others[2]!, others[2]!]);
  await insertBoth([others[3]!, factory.task(), others[4]!]);
});

test("is marked, so that what never reached the broker is found", async () => {
  const tasks = some(5);
  const { marker } = await real.insert(tasks);
  const stale = await real.staleMarkers(0, 1_000);
  const found = stale.find((one) => one.marker === marker)!;
  expect(found.tasks.map(({ id }) => id).toSorted()).toEqual(tasks.map(({ id }) => id).toSorted());
});

test("takes only DURABLE tasks about which nothing is special", () => {
  expect(areFresh(some(2))).toBe(true);
  expect(areFresh([...some(1), factory.task({ durability: "durable", payload: json })])).toBe(
    false,
  );
  expect(areFresh(some(1, specOf({ durability: "relaxed" })))).toBe(false);
  expect(areFresh([...some(1), ...some(1, specOf({ tags: ["a"] }))])).toBe(false);
});
