import { fromBinary } from "@bufbuild/protobuf";
import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import {
  SubmitStreamRequestSchema,
  SubmitStreamResponseSchema,
  SubmitTasksRequestSchema,
} from "../../gen/drover/v1/task_pb.js";
import { encodeAnyTask } from "../../src/client/convert.js";
import { encodeItem, taskOf } from "../../src/client/encode-task.js";
import {
  readAnswers,
  streamFrame,
  toSubmitStatus,
  unaryRequest,
} from "../../src/client/hot-frames.js";
import { checkOptions } from "../../src/client/known-names.js";
import type { Submission } from "../../src/client/submissions.js";
import type { TaskOptions } from "../../src/client/task.js";
import { encoded, rewritten } from "../support/wire-arbitraries.js";

const numRuns = process.env.DROVER_SOAK ? 20_000 : 400;

const text = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 60 }),
  fc.string({ unit: "binary" }),
);
const ms = fc.oneof(fc.nat(), fc.double(), fc.constantFrom(0, -1, 0.5, 1e300, Number.NaN));
const map = fc.dictionary(text, text, { maxKeys: 3, noNullPrototype: true });
/** What a caller without types may give instead. */
const wrong = fc.constantFrom(null, "x", 1.5, -1, 2 ** 40, {}, [], true);
const maybe = <T>(it: fc.Arbitrary<T>): fc.Arbitrary<unknown> =>
  fc.oneof(
    { weight: 40, arbitrary: fc.constant(undefined) },
    { weight: 40, arbitrary: it },
    { weight: 1, arbitrary: wrong },
  );
const options = fc.record({
  queue: maybe(text),
  priority: maybe(fc.constantFrom(0, 1, 2, 3)),
  maxRetries: maybe(fc.nat(1_000)),
  retryPolicy: fc.oneof(
    { weight: 9, arbitrary: fc.constant(undefined) },
    fc.record({ jitter: ms }),
  ),
  runAt: maybe(fc.date({ noInvalidDate: false })),
  delayMs: maybe(ms),
  attemptTimeoutMs: maybe(ms),
  groupKey: maybe(text),
  requiredLabels: maybe(map),
  tags: maybe(fc.array(text, { maxLength: 3 })),
  idempotencyKey: maybe(text),
  retentionMs: maybe(ms),
  traceContext: maybe(map),
  signal: fc.constant(undefined),
  timeoutMs: fc.constantFrom(undefined, 5),
});
const payload = fc.oneof(
  fc.jsonValue(),
  fc.string({ unit: "grapheme" }),
  fc.constantFrom<unknown>(undefined, () => 1, 1n, { contentType: "a/b", data: Buffer.from("x") }),
  fc.nat(3).map((n) => "\u00fc".repeat(n * 90_000)),
);

const encodeTask = (type: string, it: unknown, task: TaskOptions): Uint8Array =>
  taskOf(encodeItem(type, it, task));

/** As whatever is not plain is encoded. */
function encodeGenerally(type: string, it: unknown, task: TaskOptions): Uint8Array {
  checkOptions(task);
  return encodeAnyTask(type, it, task);
}

function outcomeOf<T>(run: () => T): T | string {
  try {
    return run();
  } catch (error) {
    return (error as Error).message;
  }
}

describe("a task is encoded as protobuf-es encodes it", () => {
  test.prop([text, payload, options], { numRuns })(
    "byte for byte, or refused alike",
    (type, it, given) => {
      const task = given as TaskOptions;
      const hex = (encode: typeof encodeTask) =>
        outcomeOf(() => Buffer.from(encode(type, it, task)).toString("hex"));
      expect(hex(encodeTask)).toBe(hex(encodeGenerally));
    },
  );

  it("a task that was refused leaves nothing for the next one", () => {
    expect(() => encodeTask("a", 1, { priority: "x" as never })).toThrow("expected 0 (low)");
    expect(encodeTask("b", undefined, {})).toEqual(Buffer.from([18, 1, 98]));
  });
});

describe("frames of a submit stream", () => {
  const frames = rewritten(SubmitStreamResponseSchema, encoded(SubmitStreamResponseSchema));

  test.prop([frames], { numRuns })("answers are read as protobuf-es reads them", (bytes) => {
    const general = outcomeOf(() =>
      fromBinary(SubmitStreamResponseSchema, bytes).outcomes.flatMap(({ number, outcome }) => {
        if (!outcome) return [];
        const { taskId, status, error } = outcome;
        return [{ number, taskId, status: toSubmitStatus(status), error }];
      }),
    );
    expect(outcomeOf(() => readAnswers(bytes))).toEqual(general);
  });

  const requestIds = [
    "0190aaaa-0000-7000-8000-000000000001",
    "0190aaaa-0000-7000-8000-000000000002",
  ];
  const submissions = (payloads: readonly unknown[]): Submission[] =>
    requestIds.map((requestId, nth) => {
      const item = encodeItem("a", payloads[nth], {});
      item.write(requestId, item.length - requestId.length);
      return { item } as Submission;
    });

  it.each([
    ["short", "two"],
    ["long", "two".repeat(50_000)],
  ])("tasks are sent under rising numbers, with their request ids: %s ones", (_, two) => {
    const bytes = streamFrame(submissions(["one", two]), 127);
    const { items } = fromBinary(SubmitStreamRequestSchema, bytes);
    expect(items.map(({ number }) => number)).toEqual([127, 128]);
    expect(items.map(({ requestId }) => requestId)).toEqual(requestIds);
    expect(items[1]!.task).toMatchObject({
      type: "a",
      payloadBlob: { data: Buffer.from(JSON.stringify(two)) },
    });
  });

  it("numbers begin anew after the last of 32 bits", () => {
    const bytes = streamFrame(submissions(["one", "two"]), 2 ** 32 - 1);
    const { items } = fromBinary(SubmitStreamRequestSchema, bytes);
    expect(items.map(({ number }) => number)).toEqual([2 ** 32 - 1, 0]);
    // In one byte: readers may cut off what is beyond 32 bits, or refuse it.
    expect(bytes.includes(Buffer.from([0x08, 0x00]))).toBe(true);
  });

  it("the same tasks go into a unary request", () => {
    const request = fromBinary(SubmitTasksRequestSchema, unaryRequest(submissions([1, 2])));
    expect(request.requestIds).toEqual(requestIds);
    const payloads = request.tasks.map(({ payloadBlob }) => payloadBlob?.data);
    expect(payloads).toEqual([Buffer.from("1"), Buffer.from("2")]);
  });
});
