import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { limits } from "../../src/limits.js";
import {
  decodeLeaseToken,
  encodeLeaseToken,
  fencingEpochUnit,
  formTaskId,
  leaseTokenLength,
  parseTaskId,
  partitionOfSlot,
  slotOfId,
  slotOfQueue,
  timeOfId,
} from "../../src/task/ids.js";

const times = fc.integer({ min: 0, max: 2 ** 48 - 1 });
const slots = fc.integer({ min: 0, max: limits.partitionSlots - 1 });
const eightBytes = fc.uint8Array({ minLength: 8, maxLength: 8 });
const numbers = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });

describe("formTaskId", () => {
  it("keeps time and slot, and is a UUIDv7 with its variant", () => {
    fc.assert(
      fc.property(times, slots, eightBytes, (time, slot, random) => {
        const id = formTaskId(time, slot, random);
        expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
        expect(parseTaskId(id)).toBe(id);
        expect(timeOfId(id)).toBe(time);
        expect(slotOfId(id)).toBe(slot);
      }),
    );
  });

  it("gives the same id for the same time, slot and bytes, as retried submits need", () => {
    const bytes = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(formTaskId(1_700_000_000_000, 0xabc, bytes)).toBe(
      "018bcfe5-6800-7abc-8102-030405060708",
    );
  });

  it("sorts as text in the order of time", () => {
    fc.assert(
      fc.property(times, times, slots, eightBytes, (one, other, slot, random) => {
        const [earlier, later] = one < other ? [one, other] : [other, one];
        return formTaskId(earlier, slot, random) <= formTaskId(later, slot, random);
      }),
    );
  });
});

describe("parseTaskId", () => {
  it.each([
    ["upper case", "018BCFE5-6800-7ABC-8102-030405060708", "018bcfe5-6800-7abc-8102-030405060708"],
    ["any UUID", "00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000000"],
    ["no hyphens", "018bcfe568007abc8102030405060708", undefined],
    ["a brace", "{018bcfe5-6800-7abc-8102-030405060708}", undefined],
    ["a line end", "018bcfe5-6800-7abc-8102-030405060708\n", undefined],
    ["no hex", "018bcfe5-6800-7abc-8102-03040506070g", undefined],
    ["nothing", "", undefined],
  ])("reads %s", (_name, text, expected) => {
    expect(parseTaskId(text)).toBe(expected);
  });
});

describe("slotOfQueue", () => {
  it("is stable: stored keys depend on it", () => {
    expect(slotOfQueue("default", "default")).toBe(slotOfQueue("default", "default"));
    expect([slotOfQueue("default", "default"), slotOfQueue("a", "bc"), slotOfQueue("ab", "c")])
      .toMatchInlineSnapshot(`
      [
        1990,
        1844,
        1186,
      ]
    `);
  });

  it("hashes names as their UTF-8", () => {
    const fnv = (text: string): number =>
      Buffer.from(text).reduce(
        (hash, byte) => Math.imul(hash ^ byte, 0x01000193) >>> 0,
        0x811c9dc5,
      );
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.string({ unit: "binary" }), (ns, queue) => {
        const hash = fnv(`${ns}\0${queue}`);
        expect(slotOfQueue(ns, queue)).toBe(((hash ^ (hash >>> 16)) >>> 0) % limits.partitionSlots);
      }),
    );
  });

  it("stays in range, and its partition too", () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.constantFrom(1, 2, 16, 64), (ns, queue, parts) => {
        const slot = slotOfQueue(ns, queue);
        return (
          slot >= 0 && slot < limits.partitionSlots && partitionOfSlot(slot, parts) === slot % parts
        );
      }),
    );
  });
});

describe("decodeLeaseToken", () => {
  const token = fc.record({ time: times, slot: slots, fencingToken: numbers, secret: eightBytes });

  it("reads back what encodeLeaseToken wrote", () => {
    fc.assert(
      fc.property(token, eightBytes, ({ time, slot, fencingToken, secret }, random) => {
        const taskId = formTaskId(time, slot, random);
        const bytes = encodeLeaseToken({ slot, taskId, fencingToken, secret });
        const parts = decodeLeaseToken(bytes);
        expect(bytes.length).toBe(leaseTokenLength);
        expect(parts).toMatchObject({ slot, taskId, fencingToken });
        expect(Buffer.compare(parts!.secret, secret)).toBe(0);
      }),
    );
  });

  it("reads a token inside a larger buffer", () => {
    const taskId = formTaskId(5, 7, new Uint8Array(8));
    const bytes = encodeLeaseToken({ slot: 7, taskId, fencingToken: 9, secret: new Uint8Array(8) });
    const larger = Buffer.concat([Buffer.from([1, 2, 3]), bytes, Buffer.from([4])]);
    expect(decodeLeaseToken(larger.subarray(3, 3 + leaseTokenLength))?.taskId).toBe(taskId);
  });

  it("refuses whatever cannot be a token", () => {
    const taskId = formTaskId(5, 7, new Uint8Array(8));
    const good = Buffer.from(
      encodeLeaseToken({ slot: 7, taskId, fencingToken: 9, secret: new Uint8Array(8) }),
    );
    const withFencing = (value: number) => {
      const bytes = Buffer.from(good);
      bytes.writeDoubleBE(value, 18);
      return bytes;
    };
    expect(decodeLeaseToken(good)).toBeDefined();
    const bad = [
      new Uint8Array(0),
      good.subarray(1),
      Buffer.concat([good, Buffer.alloc(1)]),
      encodeLeaseToken({ slot: 8, taskId, fencingToken: 9, secret: new Uint8Array(8) }),
      ...[0, -1, 1.5, NaN, Infinity, 2 ** 53].map(withFencing),
    ];
    for (const bytes of bad) expect(decodeLeaseToken(bytes)).toBeUndefined();
  });

  it("never throws on any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        decodeLeaseToken(bytes);
      }),
    );
  });

  it("keeps fencing numbers of the highest epochs exact", () => {
    const taskId = formTaskId(5, 7, new Uint8Array(8));
    const fencingToken = 8_191 * fencingEpochUnit + fencingEpochUnit - 1;
    const bytes = encodeLeaseToken({ slot: 7, taskId, fencingToken, secret: new Uint8Array(8) });
    expect(decodeLeaseToken(bytes)?.fencingToken).toBe(fencingToken);
  });
});
