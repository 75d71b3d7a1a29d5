import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { fc, test } from "@fast-check/vitest";
import { DurationSchema } from "@bufbuild/protobuf/wkt";
import { describe, expect, it } from "vitest";
import { TaskSchema, WorkRequestSchema, WorkResponseSchema } from "../../gen/drover/v1/task_pb.js";
import { opaque } from "../../src/transport/opaque.js";
import { type Grant, grantOf, type WireLease } from "../../src/worker/grant.js";
import { readAnswer, type WorkAnswer, writeRequest } from "../../src/worker/hot-frames.js";
import { tokenKey } from "../../src/worker/lease-table.js";
import { type Outcome, resultOf, succeeded } from "../../src/worker/outcome.js";
import { Writer } from "../../src/wire/writer.js";
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

type General = NonNullable<WorkAnswer["rest"]> & {
  leases: WireLease[];
  acks: { leaseToken: Uint8Array; status: number; message: string }[];
};

const rareFields = ["deadline", "checkpoint", "checkpointBlob", "batchId", "batchCallback"];
const rareNone = { checkpoint: Buffer.alloc(0), batchId: "" };

/** What a worker asks a grant for; the payload last, as it can be taken once. */
function asked(grant: Grant): object {
  const { rare, ...plain } = grant;
  const payload = outcomeOf(() => grant.takePayload());
  const few = Object.fromEntries(
    rareFields.map((name) => {
      const value: unknown = ((rare ?? rareNone) as Record<string, unknown>)[name];
      return [name, value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value];
    }),
  );
  return { ...plain, ...few, payload };
}

const rest = (answer: NonNullable<WorkAnswer["rest"]>): object => {
  const { leases: _, acks: __, ...others } = valuesOf(answer, answerDesc);
  return others;
};
const nothing = create(WorkResponseSchema);

function generalAnswer(bytes: Uint8Array): object {
  const answer = fromBinary(answerDesc, bytes) as unknown as General;
  return {
    ...rest(answer),
    leases: answer.leases.flatMap((lease) => grantOf(lease) ?? []).map(asked),
    acks: answer.acks.map(({ leaseToken, status, message }) => {
      return { key: tokenKey(leaseToken), status, message };
    }),
  };
}

const plainAnswer = (answer: WorkAnswer): object => ({
  ...rest(answer.rest ?? nothing),
  leases: answer.leases.map(asked),
  acks: answer.acks,
});

describe("what workers get is read as protobuf-es reads it", () => {
  const frames = rewritten(answerDesc, encoded(answerDesc, usual));

  test.prop([frames], { numRuns })("whatever the order, the splits and the damage", (bytes) => {
    const general = outcomeOf(() => generalAnswer(bytes));
    expect(outcomeOf(() => plainAnswer(readAnswer(bytes)))).toEqual(general);
  });

  it("a lease and an ack come with every default of what they do not say", () => {
    const frame = create(WorkResponseSchema, {
      leases: [{ leaseToken: Buffer.from("t"), timeout: { seconds: 1n }, task: { id: "a" } }],
      acks: [{ leaseToken: Buffer.from("t"), status: 1 }],
    });
    const { leases, acks, rest } = readAnswer(Buffer.from(toBinary(WorkResponseSchema, frame)));
    expect([acks.length, rest]).toEqual([1, undefined]);
    expect(leases[0]).toMatchObject({
      key: "t",
      taskId: "a",
      timeoutMs: 1_000,
      contentType: undefined,
      tags: [],
      traceContext: {},
    });
    expect(leases[0]!.takePayload()).toBeUndefined();
  });
});

describe("what neighbours in a frame share", () => {
  const lease = (task: object) => ({ timeout: { seconds: 1n }, task });
  const grantsOf = (...leases: object[]) =>
    readAnswer(
      Buffer.from(toBinary(WorkResponseSchema, create(WorkResponseSchema, { leases }))),
    ).leases.map(({ taskId, retryCount, attempt, run, tags }) => {
      return [taskId, retryCount, attempt, run, ...tags];
    });
  const payloadBlob = { contentType: "application/json", data: Buffer.from("1") };
  const createdAt = { seconds: 1_700_000_000n };
  const terms = { payloadBlob, maxRetries: 3, retryCount: 1, attempt: 2, createdAt, run: 3 };

  it("is read for each that has it, and not for one that has something else", () => {
    const grants = grantsOf(
      lease({ id: "a", ...terms }),
      lease({ id: "b", ...terms }),
      lease({ id: "c", ...terms, run: 4 }),
      lease({ id: "d", ...terms, attempt: 5 }),
      lease({ id: "e", payloadBlob }),
      lease({ id: "f", payloadBlob }),
      lease({ id: "g", ...terms }),
      lease({ id: "h", ...terms, tags: ["x"] }),
      lease({ id: "i", ...terms, tags: ["x"] }),
      lease({ id: "j", ...terms }),
    );
    expect(grants).toEqual([
      ["a", 1, 2, 3],
      ["b", 1, 2, 3],
      ["c", 1, 2, 4],
      ["d", 1, 5, 3],
      ["e", 0, 0, 0],
      ["f", 0, 0, 0],
      ["g", 1, 2, 3],
      ["h", 1, 2, 3, "x"],
      ["i", 1, 2, 3, "x"],
      ["j", 1, 2, 3],
    ]);
  });

  it("is not all there is where some of it stands before the payload", () => {
    const part = (task: object) => toBinary(TaskSchema, create(TaskSchema, task));
    const frame = new Writer();
    for (const [id, before] of Object.entries({ a: {}, b: { attempt: 2 }, c: {}, d: { run: 9 } })) {
      const writer = new Writer();
      writer.data(
        3,
        Buffer.concat([part({ id, ...before }), part({ payloadBlob, maxRetries: 3 })]),
      );
      writer.data(4, toBinary(DurationSchema, create(DurationSchema, { seconds: 1n })));
      frame.data(2, writer.finish());
    }
    const grants = readAnswer(frame.finish()).leases;
    expect(grants.map(({ taskId, attempt, run }) => [taskId, attempt, run])).toEqual([
      ["a", 0, 0],
      ["b", 2, 0],
      ["c", 0, 0],
      ["d", 0, 9],
    ]);
  });
});

describe("what workers send is what protobuf-es writes, byte for byte", () => {
  const requests = encoded(WorkRequestSchema, { "drover.v1.WorkRequest": ["results"] });
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

  test.prop([requests], { numRuns })("any request", (bytes) => {
    const request = fromBinary(WorkRequestSchema, bytes);
    const { results } = request;
    const outcomes = request.hello
      ? []
      : results.map((other): Outcome => ({ key: "", bytes: 0, json: undefined, other }));
    const whole = hex(toBinary(WorkRequestSchema, request));
    if (!request.hello) request.results = [];
    expect(hex(writeRequest({ outcomes, rest: request }))).toBe(whole);
  });

  test.prop([fc.array(fc.jsonValue(), { maxLength: 3 })], { numRuns })("results", (values) => {
    const outcomes = values.map((value, index) => succeeded(`token-\xff${index}`, value));
    const general = create(WorkRequestSchema, { results: outcomes.map(resultOf) });
    const written = writeRequest({ outcomes, rest: undefined });
    expect(hex(written)).toBe(hex(toBinary(WorkRequestSchema, general)));
  });
});
