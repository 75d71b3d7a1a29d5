import { create, fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import {
  HelloSchema,
  OfferSchema,
  WorkResponseSchema,
  type WorkResponse,
} from "../../gen/drover/v1/task_pb.js";
import { toHello, toOffer } from "../../src/api/convert-frames.js";
import { FrameQueue, sizeOf } from "../../src/api/frame-queue.js";
import { writeFrame } from "../../src/api/hot/write-work.js";
import { opaque, type Opaque } from "../../src/api/contract.js";
import { DroverError } from "../../src/errors.js";
import { createTaskFactory } from "../support/task-factory.js";
import { createSeededRandom } from "../support/seeded-random.js";
import type { CoordinatorFrame } from "../../src/coordinator/frames.js";
import { limits } from "../../src/limits.js";

const mostly = <T>(good: fc.Arbitrary<T>, bad: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 20, arbitrary: good }, { weight: 1, arbitrary: bad });
const word = mostly(
  fc.stringMatching(/^[A-Za-z0-9._-]{1,6}$/),
  fc.constantFrom("", "a b", "x".repeat(129)),
);

const subscription = fc.record({
  queue: word,
  types: mostly(
    fc.array(word, { minLength: 1, maxLength: 3 }),
    fc.constantFrom(
      [],
      Array.from({ length: 257 }, () => "x"),
    ),
  ),
  weight: mostly(fc.constantFrom(0, 1, 100), fc.constantFrom(-1, 101)),
});
const offer = fc.record({
  slots: mostly(fc.constantFrom(0, 1, 10_000), fc.constantFrom(-1, 10_001)),
  maxBytes: mostly(fc.constantFrom(0n, 1n, 1n << 40n), fc.constant(-1n)),
  subscriptions: fc.array(subscription, { maxLength: 3 }),
});
const hello = fc.record({
  workerId: word,
  sessionId: mostly(fc.uuid(), fc.constantFrom("", "x", "0190aaaa00007000800000000000001")),
  generation: mostly(fc.constantFrom(1n, 2n, 1n << 50n), fc.constantFrom(0n, -1n)),
  offer: fc.option(offer, { nil: undefined }),
  labels: fc.dictionary(word, word, { maxKeys: 3, noNullPrototype: true }),
  sdk: mostly(fc.constant("sdk/1"), fc.constantFrom("x".repeat(128), "x".repeat(129))),
  host: mostly(fc.constant("here"), fc.constantFrom("x".repeat(256), "x".repeat(257))),
});

function isTaken(run: () => unknown): boolean {
  try {
    run();
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(DroverError);
    return false;
  }
}

describe("hand-written checks of frames agree with the rules in the proto", () => {
  const validator = createValidator();

  test.prop([hello], { numRuns: 500 })("hello", (init) => {
    const published = create(HelloSchema, init as MessageInitShape<typeof HelloSchema>);
    const proto = validator.validate(HelloSchema, published).kind === "valid";
    expect(isTaken(() => toHello(published))).toBe(proto);
  });

  test.prop([offer], { numRuns: 500 })("offer", (init) => {
    const published = create(OfferSchema, init as MessageInitShape<typeof OfferSchema>);
    const proto = validator.validate(OfferSchema, published).kind === "valid";
    expect(isTaken(() => toOffer(published, "offer"))).toBe(proto);
  });
});

const factory = createTaskFactory(createSeededRandom(3), () => 1_000);
const lease = fc
  .record({
    size: fc.nat(300_000),
    tags: fc.array(fc.string({ unit: "grapheme", maxLength: 30 }), { maxLength: 8 }),
    groupKey: fc.string({ unit: "grapheme", maxLength: 200 }),
    contentType: fc.constantFrom("", "application/json"),
    message: fc.string({ unit: "grapheme", maxLength: 200 }),
    traceContext: fc.dictionary(fc.string(), fc.string(), { maxKeys: 3, noNullPrototype: true }),
  })
  .map(({ size, contentType, message, ...rest }) => ({
    token: Buffer.alloc(34),
    sessionId: "s",
    timeoutMs: 1e9,
    task: factory.task({
      ...rest,
      payload: { contentType, data: Buffer.alloc(size) },
      error: { code: "c", message, retryable: true },
      fencingToken: 2 ** 50,
      attempt: 7,
    }),
  }));
const part: fc.Arbitrary<CoordinatorFrame> = fc.oneof(
  fc.array(lease, { maxLength: 6 }).map((leases) => ({ leases })),
  fc.constantFrom<CoordinatorFrame>(
    { acks: [{ token: Buffer.alloc(34), verdict: "stale", message: "moved on" }] },
    { commands: [{ kind: "revoke", token: Buffer.alloc(34), reason: "over" }] },
    { heartbeatAck: { number: 3, renewed: true, unknownTokens: [Buffer.alloc(34)] } },
    { goAway: { reason: "shutdown", reconnectDelayMs: 100 } },
  ),
);

describe("merging", () => {
  const desc = opaque(WorkResponseSchema);
  const decoded = (bytes: Buffer) => fromBinary(desc, bytes) as unknown as Opaque<WorkResponse>;

  test.prop([fc.array(part, { maxLength: 12 })], { numRuns: 100 })(
    "keeps every part in its order, within 1 MiB a frame, and never underestimates a size",
    (parts) => {
      const queue = new FrameQueue();
      for (const one of parts) queue.add(one);
      const encoded: Buffer[] = [];
      for (let frame = queue.take(); frame; frame = queue.take()) {
        const pieces = writeFrame(frame);
        const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
        expect(bytes).toBeLessThanOrEqual(sizeOf(frame));
        encoded.push(...pieces);
      }
      for (const bytes of encoded) expect(bytes.length).toBeLessThanOrEqual(limits.frameBytes);
      const frames = encoded.map(decoded);
      expect(frames.flatMap((it) => it.leases.map(({ task }) => task!.id))).toEqual(
        parts.flatMap((it) => (it.leases ?? []).map(({ task }) => task.id)),
      );
      for (const key of ["acks", "commands"] as const) {
        const sent = parts.reduce((sum, it) => sum + (it[key]?.length ?? 0), 0);
        expect(frames.reduce((sum, it) => sum + it[key].length, 0)).toBe(sent);
      }
      expect(
        frames.flatMap((it) => (it.heartbeatAck ? [Number(it.heartbeatAck.number)] : [])),
      ).toEqual(parts.flatMap((it) => it.heartbeatAck?.number ?? []));
    },
  );

  it("nothing sent is no frame", () => {
    expect(new FrameQueue().take()).toBeUndefined();
    expect(writeFrame({})).toEqual([]);
  });
});
