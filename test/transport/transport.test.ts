import { create, toBinary } from "@bufbuild/protobuf";
import { fromJson } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { BlobSchema, ErrorSchema } from "../../gen/drover/v1/task_pb.js";
import { encodeValue } from "../../src/api/value-json.js";
import { Code } from "../../src/errors.js";
import { createAddressRing, parseAddresses } from "../../src/transport/addresses.js";
import { fullJitter } from "../../src/transport/backoff.js";
import { decodeContent, encodeContent } from "../../src/transport/content.js";
import { freshId } from "../../src/transport/ids.js";
import { refusalOfError, refusalOfStatus } from "../../src/transport/status.js";
import { durationMs, timestampDate, toDuration, toTimestamp } from "../../src/transport/times.js";
import { createManualClock } from "../support/manual-clock.js";
import { createSeededRandom } from "../support/seeded-random.js";

const none = new Uint8Array();

describe("content", () => {
  test.prop([fc.jsonValue({ maxDepth: 20 })])(
    "is the same JSON after the way as bytes",
    (value) => {
      const wanted: unknown = JSON.parse(JSON.stringify(value));
      expect(decodeContent(none, encodeContent(value))).toEqual(wanted);
    },
  );

  // protobuf-es, which makes the bytes here, loses that key.
  const carried = fc
    .jsonValue({ maxDepth: 20 })
    .filter((value) => !JSON.stringify(value).includes("__proto__"));
  test.prop([carried])("is the same JSON read from a Value", (value) => {
    const wanted: unknown = JSON.parse(JSON.stringify(value));
    const bytes = toBinary(ValueSchema, fromJson(ValueSchema, wanted as never));
    expect(decodeContent(bytes, undefined)).toEqual(wanted);
  });

  it("keeps keys that JavaScript minds", () => {
    const value: unknown = JSON.parse('{"__proto__":{"x":[1]},"constructor":2,"":null}');
    const read = decodeContent(encodeValue(value), undefined);
    expect(JSON.stringify(read)).toBe(JSON.stringify(value));
    expect(Object.getPrototypeOf(read)).toBe(Object.prototype);
  });

  it("is taken 64 levels deep from a Value, and no deeper than 66", () => {
    const nested = (depth: number): Uint8Array => {
      let value: unknown = 1;
      for (let level = 1; level < depth; level += 1) value = [value];
      return toBinary(ValueSchema, fromJson(ValueSchema, value as never, { recursionLimit: 999 }));
    };
    expect(() => decodeContent(nested(64), undefined)).not.toThrow();
    expect(() => decodeContent(nested(67), undefined)).toThrow("recursion");
  });

  it("is JSON by its media type, and must be UTF-8 then", () => {
    const blob = (contentType: string, data: Uint8Array) =>
      create(BlobSchema, { contentType, data });
    const text = Buffer.from("[1]");
    expect(decodeContent(none, blob("application/problem+json; charset=utf-8", text))).toEqual([1]);
    expect(decodeContent(none, blob("text/plain", text))).toMatchObject({ data: text });
    expect(() => decodeContent(none, blob("application/json", Buffer.from([0x22, 0xff])))).toThrow(
      TypeError,
    );
  });
});

describe("addresses", () => {
  it("come from the option, the environment, or are localhost", () => {
    expect(parseAddresses("a:1, b:2")).toEqual(["a:1", "b:2"]);
    expect(parseAddresses(["a:1", "dns:///b:2", "[::1]:3"])).toHaveLength(3);
    expect(parseAddresses([])).toEqual(["localhost:50051"]);
    expect(() => parseAddresses("https://a")).toThrow("host:port");
  });

  it("are taken round about from any of them", () => {
    const ring = createAddressRing(["a", "b", "c"], { ...createSeededRandom(1), next: () => 0.5 });
    expect([ring.current, ring.next(), ring.next(), ring.next()]).toEqual(["b", "c", "a", "b"]);
  });
});

test.prop([fc.nat(40), fc.double({ min: 0, max: 0.999, noNaN: true })])(
  "a backoff stays below its ceiling",
  (failures, chance) => {
    const random = { ...createSeededRandom(1), next: () => chance };
    const wait = fullJitter(random, failures);
    expect(wait).toBeLessThanOrEqual(Math.min(5_000, 250 * 2 ** failures));
    expect(wait).toBeGreaterThanOrEqual(0);
  },
);

test.prop([fc.integer({ min: 0, max: 2 ** 40 })])("times survive the wire", (ms) => {
  expect(durationMs(toDuration(ms))).toBe(ms);
  expect(timestampDate(toTimestamp(new Date(ms))).getTime()).toBe(ms);
});

test("request ids are UUIDv7 of the clock", () => {
  const clock = createManualClock(0x0190_a6f0_1234);
  const id = freshId(clock, createSeededRandom(3));
  expect(id).toMatch(/^0190a6f0-1234-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(freshId(clock, createSeededRandom(4))).not.toBe(id);
});

describe("refusals", () => {
  it("take their code from the catalog's word", () => {
    const error = create(ErrorSchema, { code: "overloaded", retryAfter: toDuration(1_500) });
    expect(refusalOfError(error)).toMatchObject({
      code: Code.resourceExhausted,
      retryAfterMs: 1_500,
    });
    expect(refusalOfError(create(ErrorSchema, { code: "toString" })).code).toBe(Code.unknown);
  });

  it("are named after the gRPC code where a peer says no more", () => {
    expect(refusalOfStatus({ code: 4 })).toMatchObject({ code: 4, id: "deadline_exceeded" });
    expect(refusalOfStatus({ code: 99 as 2 })).toMatchObject({ code: Code.unknown, id: "unknown" });
  });
});
