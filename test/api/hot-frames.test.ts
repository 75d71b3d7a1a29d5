import { create, toBinary } from "@bufbuild/protobuf";
import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import {
  SubmitStreamItemSchema,
  SubmitStreamRequestSchema,
  SubmitStreamResponseSchema,
  SubmitTaskRequestSchema,
  SubmitTaskResponseSchema,
  TaskSchema,
  TaskService,
  WorkRequestSchema,
  WorkResponseSchema,
  type SubmitStreamRequest,
  type SubmitTaskRequest,
} from "../../gen/drover/v1/task_pb.js";
import { decode } from "../../src/api/codec.js";
import { opaque, opaqueMethod, type Opaque } from "../../src/api/contract.js";
import { toWireFrame, toWorkerFrame } from "../../src/api/convert-frames.js";
import { toDraft } from "../../src/api/convert-task.js";
import { Kinds } from "../../src/api/hot/kinds.js";
import { readDraft } from "../../src/api/hot/read-draft.js";
import { readGeneralFrame, readPlainFrame } from "../../src/api/hot/read-work.js";
import {
  readSubmitFrame,
  readSubmitRequest,
  writeAnswers,
  writeSubmitResponse,
  type Answer,
} from "../../src/api/hot/submit-frames.js";
import { writeFrame } from "../../src/api/hot/write-work.js";
import { toWireOutcome } from "../../src/api/submit-stream.js";
import type { Lease } from "../../src/broker/broker.js";
import { AlikeSubmission } from "../../src/coordinator/alike.js";
import type { CoordinatorFrame } from "../../src/coordinator/frames.js";
import { DroverError } from "../../src/errors.js";
import type { Task } from "../../src/task/task.js";
import { Reader, Unplain } from "../../src/wire/reader.js";
import { createSeededRandom } from "../support/seeded-random.js";
import { createTaskFactory } from "../support/task-factory.js";
import { encoded, lengthed, rewritten } from "../support/wire-arbitraries.js";

const numRuns = process.env.DROVER_SOAK ? 20_000 : 400;

/** The fields of Task that are read without protobuf-es: all the others are rare, or refused. */
const plainFields = [
  "type",
  "queue",
  "priority",
  "payload",
  "payload_blob",
  "max_retries",
  "run_at",
  "delay",
  "timeout",
  "group_key",
  "required_labels",
  "tags",
  "idempotency_key",
  "retention",
  "trace_context",
];

/** A result, or the words of the refusal, so that both can be compared. */
function outcomeOf<T>(run: () => T): T | string {
  try {
    return run();
  } catch (error) {
    expect(error).toBeInstanceOf(DroverError);
    return (error as Error).message;
  }
}

describe("a submit frame is read as protobuf-es and toDraft read it", () => {
  const method = opaqueMethod(TaskService.method.submitStream);
  const general = (bytes: Buffer) => {
    const { items } = decode(method, bytes) as Opaque<SubmitStreamRequest>;
    return items.map(({ number, task, requestId }) => ({
      number,
      it: outcomeOf(() => ({ draft: toDraft(task), requestId })),
    }));
  };
  const hot = (bytes: Buffer, kinds?: Kinds) => {
    const { numbers, submissions, refused } = readSubmitFrame(bytes, kinds);
    return [
      ...numbers.map((number, index) => {
        const { draft, requestId } = submissions[index]!;
        return { number, it: { draft, requestId } };
      }),
      ...refused.map(({ number, outcome }) => ({
        number,
        it: outcome.kind === "refused" ? outcome.error.message : "",
      })),
    ];
  };
  // Damage can give two items one number; which of a taken and a refused one is told first is open.
  const isRefused = ({ it }: { it: unknown }) => Number(typeof it === "string");
  const byNumber = (list: ReturnType<typeof hot> | ReturnType<typeof general> | string) =>
    typeof list === "string"
      ? list
      : list.toSorted((a, b) => a.number - b.number || isRefused(a) - isRefused(b));

  const task = encoded(opaque(TaskSchema), { "drover.v1.Task": plainFields });
  const frames = rewritten(
    opaque(SubmitStreamRequestSchema),
    fc.array(task, { maxLength: 4 }).map((tasks) => Buffer.concat(tasks.map(itemOf))),
  );

  test.prop([frames], { numRuns })("whatever the order, the splits and the damage", (bytes) => {
    expect(byNumber(outcomeOf(() => hot(bytes)))).toEqual(
      byNumber(outcomeOf(() => general(bytes))),
    );
  });

  const blob = fc.record({
    contentType: fc.constantFrom("application/json", "application/jsox", "a/b", ""),
    // Lengths of one byte, and of two.
    data: fc.constantFrom(0, 1, 100, 110, 130).map((length) => new Uint8Array(length).fill(7)),
  });
  const alikeTask = fc
    .record({
      type: fc.constantFrom("a", "b"),
      tags: fc.constantFrom([], ["a"]),
      payloadBlob: fc.option(blob, { nil: undefined }),
    })
    .map(({ tags, ...task }) => ({ ...task, tags: [...tags] }));
  const ids = fc.oneof(
    fc.uuid({ version: 7 }),
    fc.constantFrom("", "r", "\u00fc".repeat(18), "A".repeat(36), "x".repeat(35)),
  );
  const itemDesc = SubmitStreamItemSchema;
  const alike = rewritten(
    opaque(SubmitStreamRequestSchema),
    fc.array(fc.tuple(alikeTask, ids), { maxLength: 12 }).map((items) =>
      Buffer.concat(
        items.map(([task, requestId], n) => {
          const item = create(itemDesc, { number: n + 1, requestId, task });
          return lengthed((1 << 3) | 2, Buffer.from(toBinary(itemDesc, item)));
        }),
      ),
    ),
  );

  it("tasks with payloads of 20,000 bytes, whose lengths take three", () => {
    const sizes = [20_000, 16_384, 16_383, 0];
    const items = sizes.map((size) => {
      const payloadBlob = { contentType: "application/json", data: Buffer.alloc(size, size) };
      const item = create(itemDesc, { task: { type: "a", payloadBlob } });
      return lengthed((1 << 3) | 2, Buffer.from(toBinary(itemDesc, item)));
    });
    const { submissions } = readSubmitFrame(Buffer.concat(items));
    const read = submissions.map(({ draft }) => Buffer.from(draft.payload!.data));
    expect(read.map((it, n) => it.equals(Buffer.alloc(sizes[n]!, sizes[n])))).not.toContain(false);
  });

  it("a request id that is no text and is given again, as protobuf-es refuses the first", () => {
    const task = Buffer.from(toBinary(itemDesc, create(itemDesc, { task: { type: "a" } })));
    const ids = [Buffer.of(152), Buffer.from("r")].map((id) => lengthed((3 << 3) | 2, id));
    const bytes = lengthed((1 << 3) | 2, Buffer.concat([...ids, task]));
    expect(outcomeOf(() => hot(bytes))).toEqual(outcomeOf(() => general(bytes)));
    expect(outcomeOf(() => hot(bytes))).toMatch("not valid");
  });

  test.prop([alike], { numRuns: numRuns / 2 })("tasks much alike, whatever is damaged", (bytes) => {
    expect(byNumber(outcomeOf(() => hot(bytes)))).toEqual(
      byNumber(outcomeOf(() => general(bytes))),
    );
  });

  const streams = fc.array(alike, { maxLength: 5 });
  test.prop([streams], { numRuns: numRuns / 2 })("frame by frame of a stream", (all) => {
    const kinds = new Kinds();
    for (const bytes of all) {
      expect(byNumber(outcomeOf(() => hot(bytes, kinds)))).toEqual(
        byNumber(outcomeOf(() => general(bytes))),
      );
    }
  });

  const frameOf = (...types: string[]): Buffer =>
    Buffer.concat(
      types.map((type, n) => {
        const payloadBlob = { contentType: "application/json", data: Buffer.from(String(n)) };
        const item = create(itemDesc, { number: n, task: { type, payloadBlob } });
        return lengthed((1 << 3) | 2, Buffer.from(toBinary(itemDesc, item)));
      }),
    );
  const sharedOf = (bytes: Buffer, kinds: Kinds) =>
    readSubmitFrame(bytes, kinds).submissions.map((it) =>
      it instanceof AlikeSubmission ? it.shared : undefined,
    );

  it("a stream remembers the last sixteen kinds, however many it has had", () => {
    const kinds = new Kinds();
    const [first] = sharedOf(frameOf("a"), kinds);
    expect(sharedOf(frameOf("b", "a"), kinds)[1]).toBe(first);
    sharedOf(frameOf(...Array.from({ length: 16 }, (_, n) => `c${n}`)), kinds);
    const [again] = sharedOf(frameOf("a"), kinds);
    expect(again).toBeDefined();
    expect(again).not.toBe(first);
    expect(sharedOf(frameOf("a"), kinds)).toEqual([again]);
  });

  it("a stream remembers no kind that takes much room", () => {
    const kinds = new Kinds();
    const long = frameOf("x".repeat(5_000));
    const [first] = sharedOf(long, kinds);
    expect(sharedOf(long, kinds)[0]).not.toBe(first);
    const [short] = sharedOf(frameOf("a"), kinds);
    expect(sharedOf(frameOf("a"), kinds)[0]).toBe(short);
  });

  const unary = opaqueMethod(TaskService.method.submitTask);
  const requests = rewritten(
    opaque(SubmitTaskRequestSchema),
    task.map((it) => Buffer.concat([lengthed((1 << 3) | 2, it), Buffer.from([18, 1, 114])])),
  );

  test.prop([requests], { numRuns })("a single task, likewise", (bytes) => {
    const generally = outcomeOf(() => {
      const request = decode(unary, bytes) as Opaque<SubmitTaskRequest>;
      return { draft: toDraft(request.task), requestId: request.requestId };
    });
    expect(outcomeOf(() => readSubmitRequest(bytes))).toEqual(generally);
  });

  it("the key __proto__ is refused in a map, and carried in a payload", () => {
    const proto = Buffer.from("\n\t__proto__\u0012\u0001x");
    const labels = Buffer.concat([Buffer.from([(2 << 3) | 2, 1, 65, (13 << 3) | 2, 14]), proto]);
    expect(outcomeOf(() => hot(itemOf(labels, 1)))).toMatch(/__proto__/);
    const payload = Buffer.concat([Buffer.from([(2 << 3) | 2, 1, 65, (5 << 3) | 2, 14]), proto]);
    expect(hot(itemOf(payload, 1))).toHaveLength(1);
  });

  it("each field of Task is either plain or left to protobuf-es", () => {
    const plain = TaskSchema.fields.filter((field) => {
      const single = Buffer.from(sampleOf(field.number));
      try {
        readDraft(new Reader(single));
        return true;
      } catch (error) {
        expect(error).toBeInstanceOf(Unplain);
        return false;
      }
    });
    expect(plain.map((it) => it.name)).toEqual(plainFields);
  });
});

/** One field with a value that does no harm: text, bytes, an empty message, or 1. */
function sampleOf(number: number): Uint8Array {
  const field = TaskSchema.fields.find((it) => it.number === number)!;
  const tag = (type: number) => {
    const value = (number << 3) | type;
    return value < 128 ? [value] : [(value & 127) | 128, value >>> 7];
  };
  if (field.name === "payload") return Uint8Array.from([...tag(2), 2, 0x20, 1]);
  if (field.name.endsWith("_blob")) return Uint8Array.from([...tag(2), 3, 10, 1, 97]);
  if (field.fieldKind === "scalar" && field.scalar === 1) {
    return Uint8Array.from([...tag(1), 0, 0, 0, 0, 0, 0, 0, 0]);
  }
  const text = field.fieldKind === "scalar" && field.scalar === 9;
  if (text) return Uint8Array.from([...tag(2), 1, 97]);
  if (field.fieldKind === "list") return Uint8Array.from([...tag(2), 1, 97]);
  if (field.fieldKind === "scalar" || field.fieldKind === "enum") {
    return Uint8Array.from([...tag(0), 1]);
  }
  return Uint8Array.from([...tag(2), 0]);
}

/** A SubmitStreamItem around an encoded task, as a field of the request. */
function itemOf(task: Buffer, number: number): Buffer {
  const desc = opaque(SubmitStreamRequestSchema);
  const rest = toBinary(desc, create(desc, { items: [{ number, requestId: `r${number}` }] }));
  const item = Buffer.concat([rest.subarray(2), lengthed((2 << 3) | 2, task)]);
  return lengthed((1 << 3) | 2, item);
}

describe("a frame of a worker is read as protobuf-es and the conversions read it", () => {
  const desc = opaque(WorkRequestSchema);
  const frames = rewritten(
    desc,
    encoded(desc, { "drover.v1.WorkRequest": ["results", "progress"] }),
  );

  test.prop([frames], { numRuns })("whatever the order, the splits and the damage", (bytes) => {
    const plain = outcomeOf(() => readPlainFrame(bytes));
    if (plain === undefined) return;
    expect(plain).toEqual(outcomeOf(() => toWorkerFrame(readGeneralFrame(bytes))));
  });

  it("results and progress alone are plain, a result of any kind", () => {
    const frame = create(desc, {
      results: [
        { leaseToken: Buffer.from("a"), outcome: { case: "success", value: {} } },
        { leaseToken: Buffer.from("b"), outcome: { case: "failure", value: {} } },
      ],
      progress: [{ leaseToken: Buffer.from("a"), fraction: 0.5, message: "half" }],
    });
    expect(readPlainFrame(Buffer.from(toBinary(desc, frame)))?.results).toHaveLength(2);
  });
});

const factory = createTaskFactory(createSeededRandom(3), () => 1_700_000_000_000);
const ms = fc.oneof(fc.constantFrom(0, 1, 999, 1_000, 0.5), fc.integer(), fc.nat(2 ** 40));
const content = fc.record({
  contentType: fc.constantFrom("", "application/json", "x".repeat(130)),
  data: fc.uint8Array({ maxLength: 300 }),
});
const words = fc.string({ unit: "grapheme", maxLength: 90 });
const map = fc.dictionary(words, words, { maxKeys: 3, noNullPrototype: true });
const rarely = <T>(it: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 9, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: it });
/** Every field of a task that a lease may show. */
const change: fc.Arbitrary<Partial<Task>> = fc.record({
  id: words,
  type: words,
  queue: words,
  priority: fc.constantFrom(0, 1, 2, 3),
  payload: fc.option(content, { nil: undefined }),
  maxRetries: fc.nat(1_000),
  runAt: fc.option(ms, { nil: undefined }),
  timeoutMs: ms,
  groupKey: words,
  tags: fc.array(words, { maxLength: 4 }),
  idempotencyKey: words,
  traceContext: map,
  retryCount: fc.nat(),
  attempt: fc.nat(),
  createdAt: ms,
  startedAt: fc.option(ms, { nil: undefined }),
  run: fc.nat(70_000),
  leaseLosses: fc.nat(3),
  fencingToken: fc.oneof(fc.nat(), fc.nat(Number.MAX_SAFE_INTEGER)),
  terms: rarely(
    fc.record({ batchId: words, deadline: ms, schedule: words, heartbeatTimeoutMs: ms }),
  ),
  error: rarely(fc.record({ code: words, message: words, retryable: fc.boolean() })),
  checkpoint: rarely(content),
});
const lease: fc.Arbitrary<Lease> = fc
  .record({ change, token: fc.uint8Array({ maxLength: 40 }), timeoutMs: ms, trace: rarely(map) })
  .map(({ change: given, token, timeoutMs, trace }) => ({
    token,
    sessionId: "s",
    task: { ...factory.task(), ...given },
    timeoutMs,
    ...(trace && { traceContext: trace }),
  }));
const token = fc.uint8Array({ maxLength: 40 });
const frame: fc.Arbitrary<CoordinatorFrame> = fc.record(
  {
    welcome: fc.record({
      sessionId: words,
      resumed: fc.boolean(),
      leaseMs: fc.nat(),
      heartbeatMs: fc.nat(),
      revokedTokens: fc.array(token, { maxLength: 2 }),
      coordinatorId: words,
    }),
    leases: fc.array(lease, { maxLength: 4 }),
    acks: fc.array(
      fc.record({
        token,
        verdict: fc.constantFrom("accepted", "duplicate", "stale", "retry", "invalid"),
        message: words,
      }),
      { maxLength: 4 },
    ),
    commands: fc.array(
      fc.oneof(
        fc.record({ kind: fc.constant("cancel" as const), token, graceMs: fc.nat() }),
        fc.record({ kind: fc.constant("revoke" as const), token, reason: words }),
      ),
      { maxLength: 2 },
    ),
    heartbeatAck: fc.record({
      number: fc.nat(),
      renewed: fc.boolean(),
      unknownTokens: fc.array(token, { maxLength: 2 }),
    }),
    goAway: fc.record({ reason: fc.constant("shutdown" as const), reconnectDelayMs: fc.nat() }),
  },
  { requiredKeys: [] },
);

const expectAlike = (given: CoordinatorFrame): void => {
  const desc = opaque(WorkResponseSchema);
  const general = toBinary(desc, create(desc, toWireFrame(given) as Record<string, unknown>));
  expect(Buffer.concat(writeFrame(given)).toString("hex")).toBe(
    Buffer.from(general).toString("hex"),
  );
};

/** What is remembered of a task must never be said of another one. */
const resembling = fc
  .record({
    type: fc.constantFrom("a", "b"),
    queue: fc.constantFrom("", "a"),
    priority: fc.constantFrom<Task["priority"]>(0, 1),
    maxRetries: fc.constantFrom(0, 3),
    runAt: fc.constantFrom(undefined, 5),
    timeoutMs: fc.constantFrom(1_000, 2_000),
    groupKey: fc.constantFrom("", "a"),
    tags: fc.constantFrom([], ["a"]),
    idempotencyKey: fc.constantFrom("", "a"),
    traceContext: fc.constantFrom({}, { a: "b" }),
    createdAt: fc.constantFrom(1_000, 1_001),
    startedAt: fc.constantFrom(undefined, 1_001, 1_002),
  })
  .chain((given) => fc.nat(5).map((times) => Array.from({ length: times }, () => given)));

describe("what is written is what protobuf-es writes, byte for byte", () => {
  test.prop([frame], { numRuns })("frames for workers", (given) => {
    expectAlike(given);
  });

  test.prop([fc.array(resembling, { maxLength: 12 })])("leases of tasks much alike", (given) => {
    const leases = given.flat().map((fields) => ({
      token: Buffer.from("token"),
      sessionId: "s",
      task: { ...factory.task(), ...fields },
      timeoutMs: 1_000,
    }));
    expectAlike({ leases });
  });

  it("a field that tasks get is given a value here, and shown alike in both ways", () => {
    const values = fc.sample(change, { numRuns: 300, seed: 1 });
    const given = new Set(values.flatMap((it) => Object.keys(it)));
    // Never shown to workers.
    const hidden = ["namespace", "retry", "requiredLabels", "retentionMs", "durability", "status"];
    hidden.push("version", "releases", "sessionId", "workerId", "readyAt", "completedAt");
    hidden.push("cancelRequestedAt", "result", "progress", "cancellation");
    const missing = Object.keys(factory.task()).filter((it) => !given.has(it));
    expect(missing.toSorted()).toEqual(hidden.toSorted());
  });

  it("the answer to a single submit", () => {
    const desc = opaque(SubmitTaskResponseSchema);
    const outcome = { kind: "existing", taskId: "t".repeat(36) } as const;
    const general = toBinary(desc, create(desc, toWireOutcome(outcome) as Record<string, unknown>));
    expect(writeSubmitResponse(outcome).toString("hex")).toBe(Buffer.from(general).toString("hex"));
  });

  const answer: fc.Arbitrary<Answer> = fc.record({
    number: fc.oneof(fc.constant(0), fc.nat(2 ** 32 - 1)),
    outcome: fc.oneof(
      fc.record({
        kind: fc.constantFrom("submitted", "existing", "replaced", "debounced"),
        taskId: fc.uuid(),
      }),
      fc.constantFrom({
        kind: "refused" as const,
        error: new DroverError("overloaded", "too many", { retryAfterMs: 500 }),
      }),
    ),
  });
  test.prop([fc.array(answer, { maxLength: 5 })], { numRuns })("answers to submits", (answers) => {
    const desc = opaque(SubmitStreamResponseSchema);
    const outcomes = answers.map(({ number, outcome }) => ({
      number,
      outcome: toWireOutcome(outcome),
    }));
    const general = toBinary(desc, create(desc, { outcomes } as Record<string, unknown>));
    expect(writeAnswers(answers, 0, answers.length).toString("hex")).toBe(
      Buffer.from(general).toString("hex"),
    );
  });
});
