import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import type { EnqueueItem } from "../../src/broker/broker.js";
import { enqueueArguments } from "../../src/broker/redis/enqueue.js";
import { FreshTask } from "../../src/task/fresh-task.js";
import { formTaskId } from "../../src/task/ids.js";
import type { TaskSpec } from "../../src/task/task.js";
import { createSeededRandom } from "../support/seeded-random.js";
import { createTaskFactory } from "../support/task-factory.js";

const now = 1_700_000_000_000;
const random = createSeededRandom(5);
const factory = createTaskFactory(random, () => now);

const specs: fc.Arbitrary<TaskSpec> = fc
  .record({
    queue: fc.constantFrom("default", "q"),
    namespace: fc.constantFrom("default", "n"),
    type: fc.constantFrom("a", "b".repeat(70)),
    priority: fc.constantFrom<TaskSpec["priority"]>(0, 3),
    groupKey: fc.constantFrom("", "g"),
    tags: fc.constantFrom([], ["t"]),
    requiredLabels: fc.constantFrom({}, { a: "b" }),
    traceContext: fc.constantFrom({}, { a: "b" }),
    timeoutMs: fc.constantFrom(1, 900_000),
    retentionMs: fc.constantFrom(0, 1),
    contentType: fc.constantFrom(undefined, "application/json", "a/b"),
  })
  .map(({ contentType, ...fields }) => ({
    ...factory.task(),
    ...fields,
    durability: "relaxed" as const,
    payload: contentType === undefined ? undefined : { contentType, data: new Uint8Array(0) },
  }));

describe("What is cast of a call's first task of a spec", () => {
  const chunk = fc
    .tuple(
      fc.array(specs, { minLength: 1, maxLength: 3 }),
      fc.array(
        fc.record({
          nth: fc.nat(2),
          bytes: fc.constantFrom(0, 1, 80, 1_024, 1_025),
          ageMs: fc.constantFrom(0, 3, -3, 70, 500_000),
          isWhole: fc.boolean(),
        }),
        { maxLength: 12 },
      ),
    )
    .map(([some, tasks]) =>
      tasks.map(({ nth, bytes, ageMs, isWhole }) => {
        const spec = some[nth % some.length]!;
        const id = formTaskId(now - ageMs, 7, random.bytes(8));
        const to = spec.payload ? 2 + bytes : 2;
        const fresh = new FreshTask(id, spec, Buffer.alloc(1_100, ageMs), 2, to);
        const whole: EnqueueItem = { task: fresh.task, origin: "submit", claimKey: false };
        return { given: isWhole ? whole : fresh, whole };
      }),
    );

  test.prop([chunk])("is what each packed by itself would be, byte for byte", (tasks) => {
    const given = enqueueArguments(
      tasks.map((it, index) => ({ item: it.given, index })),
      2,
    );
    const whole = enqueueArguments(
      tasks.map((it, index) => ({ item: it.whole, index })),
      2,
    );
    expect(given).toEqual(whole);
  });
});

describe("What is cast of a task that came alone before", () => {
  const json = { contentType: "application/json", data: new Uint8Array(0) };
  const base: TaskSpec = { ...factory.task(), durability: "relaxed", payload: json };
  const { retry } = base;

  /** Its arguments as it comes alone, and as the general way packs it. */
  function bothOf(spec: TaskSpec, bytes = 5, ageMs = 3): unknown[] {
    const id = formTaskId(now - ageMs, 7, random.bytes(8));
    const fresh = new FreshTask(id, spec, Buffer.alloc(1_100, ageMs), 2, 2 + bytes);
    const whole: EnqueueItem = { task: fresh.task, origin: "submit", claimKey: false };
    return [fresh, whole].map((item) => enqueueArguments([{ item, index: 0 }], 2));
  }

  it.each<Partial<TaskSpec>>([
    {},
    { createdAt: now + 70_000 },
    { type: "another" },
    { queue: "another" },
    { namespace: "another" },
    { priority: 3 },
    { payload: undefined },
    { payload: { contentType: "a/b", data: new Uint8Array(0) } },
    { maxRetries: 0 },
    { retry: { ...retry, multiplier: 7 } },
    { runAt: base.createdAt },
    { timeoutMs: 1 },
    { groupKey: "g" },
    { requiredLabels: { a: "b" } },
    { tags: ["t"] },
    { idempotencyKey: "k" },
    { retentionMs: 1 },
    { traceContext: { a: "b" } },
    { durability: "durable" },
    { terms: { deadline: now + 9_000 } },
  ])("is what it would be without: %j", (change) => {
    for (const spec of [base, { ...base, ...change }, { ...base, ...change }, { ...base }]) {
      for (const [bytes, ageMs] of [
        [5, 3],
        [1_024, 500_000],
        [1_025, -3],
        [0, 70],
      ] as const) {
        const [lone, whole] = bothOf(spec, spec.payload ? bytes : 0, ageMs);
        expect(lone).toEqual(whole);
      }
    }
  });

  it("stays right when more kinds come by turns than are kept", () => {
    for (let nth = 0; nth < 40; nth += 1) {
      const [lone, whole] = bothOf({ ...base, type: `kind-${nth % 11}` });
      expect(lone).toEqual(whole);
    }
  });
});
