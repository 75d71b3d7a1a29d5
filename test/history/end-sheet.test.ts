import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { EndSheet, History, Told } from "../../src/history/history.js";
import { createMemoryHistory } from "../../src/history/memory-history.js";
import { EarlyRow } from "../../src/history/postgres/early-rows.js";
import { createPostgresHistory } from "../../src/history/postgres/postgres-history.js";
import { defaultSpec, specColumn } from "../../src/history/postgres/spec-column.js";
import type { Durability, Task } from "../../src/task/task.js";
import { freshSchema, sharedPostgres } from "../support/stores.js";
import { attemptThatTold, changes, factory, json, plain, toldOf } from "../support/told-tasks.js";
import { itemOf } from "../support/outbox-items.js";

let real: History;
beforeAll(async () => {
  const { url } = await sharedPostgres();
  real = createPostgresHistory({
    url,
    schema: freshSchema(),
    statementMs: 20_000,
    connectMs: 20_000,
  });
  await real.start();
});
afterAll(() => real.stop());

const both: readonly Durability[] = ["relaxed", "durable"];
const durabilities = fc.constantFrom(...both);

const ended = (change: Partial<Task> = {}): Told => {
  const createdAt = 1_700_000_000_000;
  const grant = { attempt: 1, fencingToken: 7, sessionId: "s-1", workerId: "w-1" };
  const times = { createdAt, startedAt: createdAt + 3, completedAt: createdAt + 9 };
  return toldOf(
    factory.task({
      ...grant,
      ...times,
      payload: json(Buffer.of(49)),
      durability: "relaxed",
      status: "completed",
      version: 3,
      ...change,
    }),
  );
};

function sheetOf(list: readonly Told[]): EndSheet {
  const sheet = real.sheets!.create(list[0]!.task.durability);
  for (const told of list) expect(sheet.take(told)).toBe("taken");
  return sheet;
}

/** As many as they need. */
function sheetsOf(list: readonly Told[]): EndSheet[] {
  const sheets: EndSheet[] = [];
  for (const told of list) {
    if (sheets.at(-1)?.take(told) !== "taken") sheets.push(sheetOf([told]));
  }
  return sheets;
}

const shown = async (history: History, list: readonly Told[]) => {
  const tasks = await history.get(
    undefined,
    list.map(({ task }) => task.id),
  );
  return tasks.map((task) => task && plain(task));
};

test("takes what is plain, whole and completed, and tells it as it came", () => {
  let taken = 0;
  const completed = changes.map((change) => ({
    ...change,
    status: "completed" as const,
    startedAt: change.startedAt ?? 5,
    completedAt: change.completedAt ?? 9,
  }));
  const some = fc.array(fc.oneof(changes, completed), { maxLength: 12 });
  const property = fc.property(some, durabilities, (list, durability) => {
    let sheet = real.sheets!.create(durability);
    let kept: Told[] = [];
    for (const change of list) {
      const told = toldOf(factory.task(change), change.attempt % 3 === 0);
      let judged = sheet.take(told);
      // Rows that name no spec, and one that has its own.
      if (judged === "full") {
        expect(new Set(kept.map(({ task }) => specColumn(task)))).toEqual(new Set([defaultSpec]));
        expect(specColumn(told.task)).not.toBe(defaultSpec);
        sheet = real.sheets!.create(durability);
        kept = [];
        judged = sheet.take(told);
        expect(judged).toBe("taken");
      }
      if (judged === "taken") expect(told.task.durability).toBe(durability);
      if (judged === "taken") kept.push(told);
      else expect(judged).toBe("refused");
    }
    expect(sheet.size).toBe(kept.length);
    for (const [nth, one] of kept.entries()) {
      const { task, partition, outboxId, outboxPlace, payloadOmitted } = one;
      expect(sheet.itemOf(nth)).toEqual(itemOf(one));
      const told = sheet.toldOf(nth);
      expect(told).toBeInstanceOf(EarlyRow);
      expect(plain(told.task)).toEqual(plain(task));
      expect(told.attempt).toEqual(attemptThatTold(task));
      expect(told).toMatchObject({ partition, outboxId, outboxPlace, payloadOmitted });
    }
    taken += kept.length;
  });
  fc.assert(property, { numRuns: 100 });
  expect(taken).toBeGreaterThan(30);
});

test("takes tasks with specs of their own, and after one of them those without", () => {
  const own: Partial<Task> = { maxRetries: 9, traceContext: { traceparent: "t" } };
  const sheet = real.sheets!.create("relaxed");
  expect(sheet.take(ended())).toBe("taken");
  expect(sheet.take(ended(own))).toBe("full");
  expect(sheet.take(ended())).toBe("taken");
  const next = real.sheets!.create("relaxed");
  const list = [ended(own), ended(), ended(own)];
  expect(list.map((told) => next.take(told))).toEqual(["taken", "taken", "taken"]);
  expect(list.map((_, nth) => plain(next.toldOf(nth).task))).toEqual(
    list.map(({ task }) => plain(task)),
  );
});

test("refuses an end that is no row of its own, or not all of it", () => {
  const sheet = real.sheets!.create("relaxed");
  const told = ended();
  const attempt = told.attempt!;
  const others: Told[] = [
    { ...told, payloadOmitted: true, task: factory.task({ ...told.task, payload: undefined }) },
    { ...told, outboxId: undefined },
    { ...told, attempt: undefined },
    { ...told, attempt: { ...attempt, outcome: "lost" } },
    ended({ durability: "durable" }),
    ended({ idempotencyKey: "k" }),
    ended({ payload: json(Buffer.alloc(4_097)) }),
    ended({ traceContext: { tracestate: "t".repeat(1_024) } }),
    ended({ tags: ["a"] }),
    ended({ terms: { batchId: "0192f0c1-2345-7abc-8def-0123456789ab" } as Task["terms"] }),
    ended({ status: "pending" }),
    toldOf(factory.task({ ...told.task, status: "failed" })),
  ];
  for (const other of others) expect(sheet.take(other)).toBe("refused");
  expect(sheet.size).toBe(0);
  expect(sheet.take(told)).toBe("taken");
});

test.each(both)(
  "writes the rows of %s tasks as one by one, and counts them",
  async (durability) => {
    const model = createMemoryHistory();
    await model.start();
    const namespaces = [durability, `${durability}-\\2`];
    const named = (n: number): Partial<Task> => ({
      namespace: namespaces[n % 7 === 0 ? 1 : 0]!,
      queue: n % 3 === 0 ? "öl" : "default",
      durability,
      sessionId: `s-${Math.floor(n / 5)}`,
      retentionMs: n % 4 === 0 ? 60_000 : 7 * 86_400_000,
      result: n % 2 === 0 ? json(Buffer.from(`${n}`)) : undefined,
      maxRetries: n % 6 === 0 ? 9 : 3,
      traceContext: n % 8 === 0 ? { traceparent: `${n}` } : {},
      readyAt: n % 5 === 0 ? 1_700_000_000_000 : undefined,
    });
    // The second round stands in the buffers of the first.
    for (let round = 0; round < 2; round += 1) {
      const list = Array.from({ length: 400 }, (_, n) => ended(named(n + round))).toReversed();
      const sheets = sheetsOf(list);
      expect(await real.sheets!.record(sheets)).toBe(true);
      await model.record(list);
      expect(await shown(real, list)).toEqual(await shown(model, list));
      const [first] = list;
      const { namespace, id } = first!.task;
      expect(await real.attempts(namespace, id)).toEqual(await model.attempts(namespace, id));
    }
    for (const namespace of namespaces) {
      const counts = async (history: History) =>
        (await history.finalCounts(namespace)).toSorted((a, b) => (a.queue < b.queue ? -1 : 1));
      expect(await counts(real)).toEqual(await counts(model));
    }
  },
);

test("says by the store's clock when they ended, and until when they are kept", async () => {
  const list = Array.from({ length: 6 }, (_, n) => ended({ retentionMs: n < 3 ? 0 : 60_000 }));
  expect(await real.sheets!.record([sheetOf(list)])).toBe(true);
  const recent = await real.recentlyEnded(0, 1, 20_000, 1_000);
  const ids = new Set(recent.map(({ id }) => id));
  expect(list.map(({ task }) => ids.has(task.id))).toEqual(list.map(() => true));
  while ((await real.prune(1_000)) > 0);
  const left = await shown(real, list);
  expect(left.map(Boolean)).toEqual([false, false, false, true, true, true]);
});

test.each(both)(
  "writes no %s task where one has a row, and takes all elsewhere",
  async (durability) => {
    const list = Array.from({ length: 20 }, () => ended({ durability }));
    await real.record([list[7]!]);
    const sheets = [sheetOf(list.slice(0, 5)), sheetOf(list.slice(5))];
    expect(await real.sheets!.record(sheets)).toBe(false);
    expect((await shown(real, list)).filter(Boolean)).toHaveLength(1);
    const told = sheets.flatMap((sheet) =>
      Array.from({ length: sheet.size }, (_, nth) => sheet.toldOf(nth)),
    );
    const outcomes = await real.record(told);
    expect(outcomes.filter((outcome) => outcome === "applied")).toHaveLength(19);
    expect(outcomes[7]).toBe("superseded");
    expect((await shown(real, list)).filter(Boolean)).toHaveLength(20);
  },
);

test.each(both)(
  "replaces %s tasks that live, and nothing where one does not",
  async (durability) => {
    const list = Array.from({ length: 12 }, () => ended({ durability }));
    const omitted = list.map((told, nth) => ({ ...told, payloadOmitted: nth % 3 > 0 }));
    const born = list.map(({ task }) => {
      const { id, createdAt, payload } = task;
      return toldOf(factory.task({ id, createdAt, payload, durability }));
    });
    const standing = born.filter((_, nth) => omitted[nth]!.payloadOmitted);
    await real.record(standing.slice(1));
    const before = await shown(real, list);
    expect(await real.sheets!.record([sheetOf(omitted)])).toBe(false);
    expect(await shown(real, list)).toEqual(before);
    await real.record(standing.slice(0, 1));
    const sheets = [sheetOf(omitted.slice(6).toReversed()), sheetOf(omitted.slice(0, 6))];
    expect(await real.sheets!.record(sheets)).toBe(true);
    expect(await shown(real, list)).toEqual(list.map(({ task }) => plain(task)));
    expect(await real.sheets!.record([sheetOf(omitted)])).toBe(false);
    expect(await real.record(omitted)).toEqual(list.map(() => "superseded"));
  },
);

test("is full before a row could find no room, and its successor is not", () => {
  const payload = json(Buffer.alloc(3_000, "x"));
  for (const [change, most] of [
    [{}, 250],
    [{ payload }, 40],
  ] as const) {
    const sheet = real.sheets!.create("relaxed");
    while (sheet.take(ended(change)) === "taken") expect(sheet.size).toBeLessThanOrEqual(most);
    expect(sheet.size).toBeGreaterThan(most / 2);
    expect(sheet.take(ended(change))).toBe("full");
    expect(sheet.bytes).toBeGreaterThan(sheet.size * 200);
    expect(real.sheets!.create("relaxed").take(ended(change))).toBe("taken");
  }
});
