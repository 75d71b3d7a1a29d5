import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { AlikeSubmission } from "../../src/coordinator/alike.js";
import { Intake, Target } from "../../src/coordinator/intake.js";
import type { Parts } from "../../src/coordinator/parts.js";
import { DroverError } from "../../src/errors.js";
import { limits } from "../../src/limits.js";
import { FreshTask } from "../../src/task/fresh-task.js";
import type { Task } from "../../src/task/task.js";
import { defaultQueueSettings } from "../../src/task/validate.js";
import { createSeededRandom } from "../support/seeded-random.js";
import { draft } from "./world.js";

const now = 1_700_000_000_000;
const data = Buffer.from("before{}behind");
const json = "application/json";

const carrier: Parts["carrier"] = {
  atSubmit: (id, given) => ({ ...given, traceparent: id }),
  atLease: ({ traceContext }) => traceContext,
};

/** An id in upper case, or of another time, is one the short way leaves alone. */
const requestIds = fc.oneof(
  fc.constantFrom(timed(now), timed(now - 5), timed(now - 5).toUpperCase()),
  fc.constantFrom(timed(now - limits.submitIdAgeMs - 1), timed(0), "x".repeat(36)),
);

function timed(ms: number): string {
  const hex = ms.toString(16).padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7abc-8def-0123456789ab`;
}

function outcomeOf(make: () => Task | FreshTask): Task | string {
  try {
    const made = make();
    return made instanceof FreshTask ? made.task : made;
  } catch (error) {
    return `${DroverError.from(error).id}: ${(error as Error).message}`;
  }
}

describe("Intake", () => {
  const drafts = fc.record({
    type: fc.constantFrom("a", "no name"),
    priority: fc.constantFrom(undefined, 0, 9),
    runAt: fc.constantFrom(undefined, now + 1_000, now - 1),
    idempotencyKey: fc.constantFrom("", "k"),
    groupKey: fc.constantFrom("", "g"),
    timeoutMs: fc.constantFrom(undefined, 1_000),
  });
  const queues = fc.record({
    durability: fc.constantFrom("durable" as const, "relaxed" as const),
    maxRetries: fc.constantFrom(1, 2),
  });

  test.prop([drafts, queues, requestIds, fc.boolean(), fc.boolean()])(
    "makes the same of tasks that are alike as of each by itself",
    (fields, settings, requestId, traced, isEmpty) => {
      const target = new Target({ ...defaultQueueSettings("n", "q"), ...settings });
      const random = createSeededRandom(1);
      const parts = { random, carrier: traced ? carrier : undefined } as unknown as Parts;
      const intake = new Intake(parts, "n", now);
      const payload = isEmpty ? undefined : { contentType: json, data: Buffer.from("{}") };
      const frame = Buffer.concat([data, Buffer.from(requestId)]);
      const shared = draft({
        ...fields,
        queue: "q",
        payload: payload && { contentType: json, data: new Uint8Array(0) },
      });
      const from = isEmpty ? 0 : 6;
      const alike = new AlikeSubmission(shared, frame, from, from + (isEmpty ? 0 : 2), 14, 50);
      const single = { draft: draft({ ...fields, queue: "q", payload }), requestId };
      expect({ draft: alike.draft, requestId: alike.requestId }).toEqual(single);
      const alone = outcomeOf(() => intake.make(single, target));
      expect(outcomeOf(() => intake.make(alike, target))).toEqual(alone);
      expect(outcomeOf(() => intake.make(alike, target))).toEqual(alone);
      const later = new Intake(parts, "n", now + 7);
      expect(outcomeOf(() => later.make(alike, target))).toEqual(
        outcomeOf(() => later.make(single, target)),
      );
    },
  );

  it.each(["relaxed", "durable"] as const)(
    "makes no whole %s task without tracing",
    (durability) => {
      const target = new Target({ ...defaultQueueSettings("n", "q"), durability });
      const off: Parts["carrier"] = { ...carrier!, atSubmit: (_, given) => given };
      const parts = { random: createSeededRandom(1), carrier: off };
      const intake = new Intake(parts as unknown as Parts, "n", now);
      const alike = new AlikeSubmission(draft({ queue: "q" }), data, 6, 8, 0, 0);
      expect(intake.make(alike, target)).toBeInstanceOf(FreshTask);
    },
  );

  it("refuses the one payload that is too large, not those that are like it otherwise", () => {
    const target = new Target({ ...defaultQueueSettings("n", "q"), durability: "relaxed" });
    const random = createSeededRandom(1);
    const intake = new Intake({ random } as unknown as Parts, "n", now);
    const frame = Buffer.alloc(limits.payloadBytes + 1, 0x31);
    const shared = draft({ payload: { contentType: json, data: new Uint8Array(0) } });
    const make = (to: number) =>
      intake.make(new AlikeSubmission(shared, frame, 0, to, 0, 0), target);
    expect(outcomeOf(() => make(frame.length))).toMatch(/^payload_too_large: task.payload_blob/);
    expect(make(frame.length - 1)).toBeInstanceOf(FreshTask);
  });
});
