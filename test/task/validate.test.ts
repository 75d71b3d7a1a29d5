import { create, toBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { createValidator } from "@bufbuild/protovalidate";
import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { TaskSchema } from "../../gen/drover/v1/task_pb.js";
import { opaque } from "../../src/api/contract.js";
import { toDraft } from "../../src/api/convert-task.js";
import { decodeValue, encodeValue } from "../../src/api/value-json.js";
import { decodePayload } from "../../src/api/payload.js";
import { DroverError } from "../../src/errors.js";
import { limits } from "../../src/limits.js";
import type { TaskTerms, UniqueRule } from "../../src/task/task.js";
import type { TaskDraft } from "../../src/task/draft.js";
import { checkDraft, defaultQueueSettings, sameSpec, toSpec } from "../../src/task/validate.js";
import { inspectValue } from "../../src/task/value-bytes.js";

const now = Date.UTC(2026, 0, 1);
const queue = defaultQueueSettings("default", "default");
const context = { namespace: "default", queue, now };

const draft = (change: Partial<TaskDraft> = {}): TaskDraft => ({
  type: "send_email",
  queue: undefined,
  priority: undefined,
  payload: undefined,
  maxRetries: undefined,
  retry: undefined,
  runAt: undefined,
  delayMs: undefined,
  timeoutMs: undefined,
  groupKey: "",
  requiredLabels: {},
  tags: [],
  idempotencyKey: "",
  retentionMs: undefined,
  traceContext: {},
  terms: undefined,
  ...change,
});

const spec = (change: Partial<TaskDraft> = {}, at = now) =>
  toSpec(draft(change), { ...context, now: at });

function refusal(run: () => unknown): DroverError {
  try {
    run();
  } catch (error) {
    if (error instanceof DroverError) return error;
    throw error;
  }
  return expect.fail("it was taken");
}

describe("what is left open", () => {
  it("comes from the queue, then from the limits", () => {
    expect(spec()).toMatchObject({
      queue: "default",
      priority: 1,
      maxRetries: 3,
      retry: { initialBackoffMs: 1_000, maxBackoffMs: 600_000, multiplier: 2, jitter: 0.2 },
      timeoutMs: 900_000,
      retentionMs: 7 * 86_400_000,
      durability: "durable",
      runAt: undefined,
      createdAt: now,
    });
    const own = { ...queue, maxRetries: 9, retentionMs: 5, durability: "relaxed" as const };
    const given = toSpec(draft({ retry: { jitter: 0 } }), { ...context, queue: own });
    expect(given).toMatchObject({ maxRetries: 9, retentionMs: 5, durability: "relaxed" });
    expect(given.retry).toEqual({ ...queue.retry, jitter: 0 });
  });

  it("zero is a value, not a default", () => {
    const given = spec({ priority: 0, maxRetries: 0, retentionMs: 0, delayMs: 0 });
    expect(given).toMatchObject({ priority: 0, maxRetries: 0, retentionMs: 0, runAt: undefined });
  });

  it("a delay counts from now, a time in the past means now, fractions round up", () => {
    expect(spec({ delayMs: 0.2 }).runAt).toBe(now + 1);
    expect(spec({ runAt: now + 5 }).runAt).toBe(now + 5);
    expect(spec({ runAt: now }).runAt).toBeUndefined();
    expect(spec({ runAt: -1e15 }).runAt).toBeUndefined();
    expect(refusal(() => spec({ runAt: now + limits.runAtMaxMs + 1 })).field).toBe("task.run_at");
  });
});

const uniqueOf = (change: Partial<UniqueRule>): UniqueRule => ({
  key: "k",
  scope: "until_final",
  windowMs: undefined,
  onConflict: "replace",
  ...change,
});

describe("a debounced task", () => {
  it("waits for its window, or longer where it is asked to, and is always DURABLE", () => {
    const unique = uniqueOf({ onConflict: "debounce", windowMs: 5_000.5 });
    expect(spec({ terms: { unique } }).runAt).toBe(now + 5_001);
    expect(spec({ terms: { unique }, delayMs: 1_000 }).runAt).toBe(now + 5_001);
    expect(spec({ terms: { unique }, delayMs: 9_000 }).runAt).toBe(now + 9_000);
    const relaxed = { ...queue, durability: "relaxed" as const };
    const given = toSpec(draft({ terms: { unique } }), { ...context, queue: relaxed });
    expect(given.durability).toBe("durable");
  });
});

describe("refusals name the field, what was expected and what came", () => {
  it.each<[Partial<TaskDraft>, string, string]>([
    [{ type: "" }, "task.type", '""'],
    [{ queue: "a b" }, "task.queue", '"a b"'],
    [{ priority: 1.5 }, "task.priority", "1.5"],
    [{ maxRetries: 1001 }, "task.max_retries", "1001"],
    [{ retry: { multiplier: Number.NaN } }, "task.retry_policy.multiplier", "NaN"],
    [{ retry: { maxBackoffMs: -1 } }, "task.retry_policy.max_backoff", "-1 ms"],
    [{ retry: { nonRetryableCodes: ["a", ""] } }, "task.retry_policy.non_retryable_codes[1]", ""],
    [{ runAt: 1, delayMs: 1 }, "task.delay", "both"],
    [{ timeoutMs: 0 }, "task.timeout", "0 ms"],
    [{ groupKey: "x".repeat(257) }, "task.group_key", "257"],
    [{ groupKey: "a\0b" }, "task.group_key", "NUL"],
    [{ requiredLabels: { zone: "" } }, 'task.required_labels["zone"]', '""'],
    [{ tags: ["a", "\0"] }, "task.tags[1]", "NUL"],
    [{ traceContext: { a: "x".repeat(1024) } }, "task.trace_context", "1025"],
    [{ terms: { unique: uniqueOf({ key: "" }) } }, "task.unique_key", ""],
    [{ terms: { unique: uniqueOf({ onConflict: "debounce" }) } }, "task.unique.window", "none"],
    [{ terms: { unique: uniqueOf({ scope: "for_time" }) } }, "task.unique.window", "none"],
    [{ terms: { unique: uniqueOf({ windowMs: 5_000 }) } }, "task.unique.window", "until_final"],
  ])("%j", (change, field, came) => {
    const error = refusal(() => spec(change));
    expect(error).toMatchObject({ id: "invalid_field", field });
    expect(error.message).toContain(field);
    expect(error.message).toContain(came);
  });

  it("lengths count characters, not UTF-16 units", () => {
    expect(spec({ groupKey: "\u{1F600}".repeat(256) }).groupKey).toHaveLength(512);
    expect(refusal(() => spec({ groupKey: "\u{1F600}".repeat(257) })).message).toContain("257");
  });

  it("a payload too large has an id of its own", () => {
    const data = Buffer.alloc(limits.payloadBytes + 1);
    const error = refusal(() => spec({ payload: { contentType: "x/y", data } }));
    expect(error).toMatchObject({ id: "payload_too_large", field: "task.payload_blob" });
  });
});

/** Mostly what is taken, for else hardly any task as a whole would be. */
const mostly = <T>(good: fc.Arbitrary<T>, bad: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 30, arbitrary: good }, { weight: 1, arbitrary: bad });
const word = mostly(
  fc.oneof(fc.stringMatching(/^[A-Za-z0-9._-]{1,6}$/), fc.constant("x".repeat(128))),
  fc.constantFrom("", "a b", "ä", "x".repeat(129), "x".repeat(256), "x".repeat(257)),
);
const duration = mostly(
  fc.constantFrom(0, 1, 604_800),
  fc.constantFrom(-1, 604_801, 2_592_000, 2_592_001, 31_536_000, 31_536_001),
);
const span = duration.map((seconds) => ({ seconds: BigInt(seconds), nanos: 0 }));
const some = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined, freq: 2 });

const words = mostly(
  fc.array(word, { maxLength: 4 }),
  fc.array(fc.constant("x"), { minLength: 31, maxLength: 33 }),
);

const wireTask = fc.record({
  type: word,
  queue: word,
  priority: some(mostly(fc.integer({ min: 0, max: 3 }), fc.constantFrom(-1, 4))),
  maxRetries: some(mostly(fc.constantFrom(0, 1, 1000), fc.constantFrom(-1, 1001))),
  retryPolicy: some(
    fc.record({
      initialBackoff: some(span),
      maxBackoff: some(span),
      multiplier: some(mostly(fc.constantFrom(1, 10), fc.constantFrom(0.5, 10.1, Number.NaN))),
      jitter: some(mostly(fc.constantFrom(0, 1), fc.constantFrom(-0.1, 1.1))),
      nonRetryableCodes: words,
    }),
  ),
  delay: some(span),
  timeout: some(span),
  retention: some(span),
  groupKey: word,
  idempotencyKey: word,
  requiredLabels: fc.dictionary(word, word, { maxKeys: 3, noNullPrototype: true }),
  tags: words,
  traceContext: fc.dictionary(word, word, { maxKeys: 9, noNullPrototype: true }),
});

describe("the rules agree with those in the proto", () => {
  const validator = createValidator();
  const taken = { yes: 0, no: 0 };

  test.prop([wireTask], { numRuns: 1_000 })("a task is taken by both or by neither", (init) => {
    const published = create(TaskSchema, init as MessageInitShape<typeof TaskSchema>);
    // One rule goes beyond the proto's: the trace context is bounded as a whole, too.
    const traced = Object.entries(init.traceContext).flat().join("").length;
    fc.pre(traced <= limits.traceContextLength);
    const proto = validator.validate(TaskSchema, published).kind === "valid";
    const task = create(opaque(TaskSchema), init as Record<string, unknown>);
    let ours = true;
    try {
      checkDraft(toDraft(task as never));
    } catch (error) {
      expect(error).toBeInstanceOf(DroverError);
      ours = false;
    }
    expect(ours).toBe(proto);
    taken[ours ? "yes" : "no"] += 1;
  });

  it("both kinds of task were tried", () => {
    expect(Math.min(taken.yes, taken.no)).toBeGreaterThan(100);
  });
});

const nested = (levels: number, wrap: (inner: unknown) => unknown): unknown =>
  levels === 0 ? 1 : wrap(nested(levels - 1, wrap));

describe("values stay unread and are still judged", () => {
  test.prop([fc.json().map((text) => JSON.parse(text) as unknown)])(
    "JSON survives the way through wire bytes, which protobuf-es reads alike",
    (json) => {
      const bytes = encodeValue(json);
      expect(inspectValue(bytes)).toBe("ok");
      expect(JSON.stringify(decodeValue(bytes))).toBe(JSON.stringify(json));
    },
  );

  test.prop([fc.uint8Array({ maxLength: 64 })], { numRuns: 2_000 })(
    "bytes taken are always readable",
    (bytes) => {
      if (inspectValue(bytes) === "ok") expect(decodeValue(bytes)).not.toBeUndefined();
    },
  );

  it.each([
    ["objects", 31, (inner: unknown) => ({ a: inner })],
    ["lists", 46, (inner: unknown) => [inner]],
  ] as const)("%s may nest as deep as every protobuf library reads", (_, levels, wrap) => {
    expect(inspectValue(encodeValue(nested(levels, wrap)))).toBe("ok");
    expect(inspectValue(encodeValue(nested(levels + 1, wrap)))).toBe("too_deep");
    const data = encodeValue(nested(64, wrap));
    const error = refusal(() => spec({ payload: { contentType: "", data } }));
    expect(error.hint).toContain("payload_blob");
  });

  it.each([
    ["nothing", Buffer.alloc(0), "empty"],
    ["a kind that is unknown", Buffer.of(0x3a, 0), "malformed"],
    ["a length beyond the end", Buffer.of(0x1a, 9, 65), "malformed"],
    ["text that is not UTF-8", Buffer.of(0x1a, 1, 0xff), "malformed"],
    ["an entry without a value", Buffer.of(0x2a, 4, 0x0a, 2, 0x0a, 0), "malformed"],
    ["NaN", toBinary(ValueSchema, number(Number.NaN)), "not_finite"],
    ["an endless varint", Buffer.alloc(20, 0xff), "malformed"],
  ])("%s is refused", (_, bytes, verdict) => {
    expect(inspectValue(bytes)).toBe(verdict);
  });
});

function number(value: number) {
  return create(ValueSchema, { kind: { case: "numberValue", value } });
}

describe("the same submission again", () => {
  const json = (text: string) => ({ contentType: "application/json", data: Buffer.from(text) });
  const same = (a: Partial<TaskDraft>, b: Partial<TaskDraft>, later = 0) =>
    sameSpec(spec(a), spec(b, now + later), decodePayload, queue);

  it("is told by values: order of keys, form and trace context do not count", () => {
    expect(same({ payload: json('{"a":1,"b":[2]}') }, { payload: json('{"b":[2],"a":1.0}') })).toBe(
      true,
    );
    const value = { contentType: "", data: encodeValue({ b: [2], a: 1 }) };
    expect(same({ payload: json('{"a":1,"b":[2]}') }, { payload: value })).toBe(true);
    const labels = { requiredLabels: { a: "1", b: "2" } };
    expect(same(labels, { requiredLabels: { b: "2", a: "1" } })).toBe(true);
    expect(same({ traceContext: { traceparent: "1" } }, {})).toBe(true);
  });

  it("has the terms of before, also where a store left out what is undefined", () => {
    const rule = { key: "k", scope: "until_final", windowMs: undefined } as const;
    const terms = { unique: { ...rule, onConflict: "reject" as const } };
    const stored = spec({ terms });
    const read = { ...stored, terms: JSON.parse(JSON.stringify(stored.terms)) as TaskTerms };
    expect(sameSpec(read, spec({ terms }), decodePayload, queue)).toBe(true);
    const other = { unique: { ...terms.unique, key: "l" } };
    expect(sameSpec(read, spec({ terms: other }), decodePayload, queue)).toBe(false);
  });

  it("keeps its delay, and a time that has passed meanwhile", () => {
    expect(same({ delayMs: 5_000 }, { delayMs: 5_000 }, 3_000)).toBe(true);
    expect(same({ runAt: now + 5_000 }, { runAt: now + 5_000 }, 9_000)).toBe(true);
    expect(same({ delayMs: 5_000 }, { delayMs: 6_000 })).toBe(false);
  });

  it.each<[Partial<TaskDraft>]>([
    [{ type: "other" }],
    [{ queue: "other" }],
    [{ priority: 3 }],
    [{ maxRetries: 1 }],
    [{ retry: { jitter: 0 } }],
    [{ timeoutMs: 5 }],
    [{ tags: ["a"] }],
    [{ requiredLabels: { a: "b" } }],
    [{ payload: json("1") }],
    [{ runAt: now + 1 }],
  ])("differs by %j", (change) => {
    expect(same({}, change)).toBe(false);
  });

  it("bytes that do not decode are compared as bytes", () => {
    const bytes = (text: string) => ({ contentType: "image/png", data: Buffer.from(text) });
    expect(same({ payload: bytes("a") }, { payload: bytes("a") })).toBe(true);
    expect(same({ payload: bytes("a") }, { payload: bytes("b") })).toBe(false);
    expect(same({ payload: json("{") }, { payload: json("[") })).toBe(false);
  });
});
