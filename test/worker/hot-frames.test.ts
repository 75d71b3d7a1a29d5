import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import {
  type TaskResult,
  TaskResultSchema,
  TaskSchema,
  type WorkRequest,
  WorkRequestSchema,
  WorkResponseSchema,
} from "../../gen/drover/v1/task_pb.js";
import { opaque } from "../../src/transport/opaque.js";
import { succeeded } from "../../src/worker/outcome.js";
import { readAnswer, requestOf, writeRequest } from "../../src/worker/hot-frames.js";
import type { WireLease, WorkAnswer } from "../../src/worker/stream.js";
import { encoded, rewritten, type FieldRates } from "../support/wire-arbitraries.js";

const numRuns = process.env.DROVER_SOAK ? 20_000 : 400;

const answerDesc = opaque(WorkResponseSchema);
/** Nearly every leased task has these, and no others. */
const usual: FieldRates = {
  "drover.v1.WorkResponse": ["leases", "acks"],
  "drover.v1.Task": [
    "id",
    "type",
    "queue",
    "priority",
    "payload_blob",
    "max_retries",
    "timeout",
    "tags",
    "trace_context",
    "retry_count",
    "attempt",
    "created_at",
    "started_at",
    "run",
  ],
};

function outcomeOf<T>(run: () => T): T | "malformed" {
  try {
    return run();
  } catch {
    return "malformed";
  }
}

const valuesOf = (it: object, desc: { fields: readonly { localName: string }[] }) =>
  Object.fromEntries(
    desc.fields.map(({ localName }) => [localName, (it as Record<string, unknown>)[localName]]),
  );

/** Field by field, as the defaults of what is rare stand in a prototype. */
function plainLease(lease: WireLease): object {
  const { task, ...rest } = lease;
  return { ...rest, task: task && valuesOf(task, opaque(TaskSchema)) };
}
const plainAnswer = (answer: WorkAnswer): object => ({
  ...valuesOf(answer, answerDesc),
  leases: answer.leases.map(plainLease),
});

describe("what workers get is read as protobuf-es reads it", () => {
  const frames = rewritten(answerDesc, encoded(answerDesc, usual));

  test.prop([frames], { numRuns })("whatever the order, the splits and the damage", (bytes) => {
    const general = outcomeOf(() =>
      plainAnswer(fromBinary(answerDesc, bytes) as unknown as WorkAnswer),
    );
    expect(outcomeOf(() => plainAnswer(readAnswer(bytes)))).toEqual(general);
  });

  it("a lease and an ack come with every default of what they do not say", () => {
    const frame = create(WorkResponseSchema, {
      leases: [{ leaseToken: Buffer.from("t"), timeout: { seconds: 1n }, task: { id: "a" } }],
      acks: [{ leaseToken: Buffer.from("t"), status: 1 }],
    });
    const { leases, acks, commands, welcome } = readAnswer(
      Buffer.from(toBinary(WorkResponseSchema, frame)),
    );
    expect([acks.length, commands, welcome]).toEqual([1, [], undefined]);
    expect(leases[0]!.task).toMatchObject({
      id: "a",
      progress: 0,
      workerId: "",
      requiredLabels: {},
    });
  });
});

describe("what workers send is what protobuf-es writes, byte for byte", () => {
  const requests = encoded(WorkRequestSchema, { "drover.v1.WorkRequest": ["results"] });
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

  test.prop([requests], { numRuns })("any request", (bytes) => {
    const request = fromBinary(WorkRequestSchema, bytes);
    expect(hex(writeRequest(request))).toBe(hex(toBinary(WorkRequestSchema, request)));
  });

  test.prop([fc.array(fc.jsonValue(), { maxLength: 3 })], { numRuns })("results", (values) => {
    const results = values.map(
      (value, index): TaskResult => succeeded(Buffer.from(`token-${index}`), value).result,
    );
    const general = create(WorkRequestSchema, {
      results: results.map((it) => fromBinary(TaskResultSchema, toBinary(TaskResultSchema, it))),
    });
    const request: WorkRequest = requestOf(results);
    expect(hex(writeRequest(request))).toBe(hex(toBinary(WorkRequestSchema, general)));
  });

  it("results stay in their request, whatever else goes with them", () => {
    const request = create(WorkRequestSchema, {
      results: [{ leaseToken: Buffer.from("t"), outcome: { case: "success", value: {} } }],
      leaving: true,
    });
    writeRequest(request);
    expect(request.results).toHaveLength(1);
  });
});
