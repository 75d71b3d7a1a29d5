import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { uuidBytes, uuidText, writeUuid } from "../../src/task/uuid.js";

const sixteen = fc.uint8Array({ minLength: 16, maxLength: 16 });

describe("uuidText", () => {
  it("writes the bytes as hex with hyphens, wherever they stand", () => {
    fc.assert(
      fc.property(sixteen, fc.nat(40), (bytes, at) => {
        const hex = Buffer.from(bytes).toString("hex");
        const larger = Buffer.concat([Buffer.alloc(at, 7), bytes, Buffer.alloc(3)]);
        expect(uuidText(larger, at).replaceAll("-", "")).toBe(hex);
        expect(uuidText(bytes)).toMatch(/^.{8}-.{4}-.{4}-.{4}-.{12}$/);
      }),
    );
  });
});

describe("uuidBytes", () => {
  it("reads what uuidText wrote, in either case", () => {
    fc.assert(
      fc.property(fc.uuid(), (id) => {
        expect(uuidText(uuidBytes(id))).toBe(id);
        expect(uuidText(uuidBytes(id.toUpperCase()))).toBe(id);
      }),
    );
  });
});

describe("writeUuid", () => {
  it("writes 16 bytes at its place and nothing else", () => {
    fc.assert(
      fc.property(fc.uuid(), (id) => {
        const target = Buffer.alloc(20, 9);
        expect(writeUuid(id, target, 2)).toBe(true);
        const hex = id.replaceAll("-", "");
        expect(target.toString("hex")).toBe(`0909${hex}0909`);
      }),
    );
  });

  it.each([
    ["nothing", ""],
    ["one too short", "018bcfe5-6800-7abc-8102-03040506070"],
    ["one too long", "018bcfe5-6800-7abc-8102-0304050607080"],
    ["a letter that is no digit", "018bcfe5-6800-7abc-8102-03040506070g"],
    ["a letter whose low byte is a digit", "018bcfe5-6800-7abc-8102-03040506070\u0130"],
    ["no hyphens", "018bcfe568007abc8102030405060708"],
  ])("refuses %s", (_name, text) => {
    expect(writeUuid(text, Buffer.alloc(16), 0)).toBe(false);
  });
});
