import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NameMemory, writeText } from "../src/short-text.js";

const texts = fc.oneof(fc.string(), fc.string({ unit: "binary", maxLength: 80 }));

describe("writeText", () => {
  it("writes the UTF-8 of any text at its place, and nothing behind it", () => {
    fc.assert(
      fc.property(texts, fc.nat(9), (text, at) => {
        const target = Buffer.alloc(at + 3 * text.length + 2, 7);
        const written = writeText(target, text, at);
        expect(target.subarray(at, at + written)).toEqual(Buffer.from(text));
        expect(target.subarray(at + written).length).toBeGreaterThanOrEqual(2);
      }),
    );
  });
});

describe("NameMemory", () => {
  it("reads each text as it stands there, however many share a place", () => {
    const names = new NameMemory();
    fc.assert(
      fc.property(fc.array(texts, { minLength: 1 }), (list) => {
        for (const text of [...list, ...list]) {
          const bytes = Buffer.from(`<${text}>`);
          expect(names.read(bytes, 1, bytes.length - 1)).toBe(
            bytes.toString("utf8", 1, bytes.length - 1),
          );
        }
      }),
    );
  });

  it("gives the same string again for the same bytes", () => {
    let decoded = 0;
    const names = new NameMemory((bytes, from, to) => {
      decoded += 1;
      return bytes.toString("utf8", from, to);
    });
    const read = () => names.read(Buffer.from("send_email"), 0, 10);
    expect([read(), read(), read()]).toEqual(["send_email", "send_email", "send_email"]);
    expect(decoded).toBe(1);
  });

  it("does not remember what its decoder refuses", () => {
    const names = new NameMemory(() => {
      throw new Error("no text");
    });
    const read = () => names.read(Buffer.from("x"), 0, 1);
    expect(read).toThrow("no text");
    expect(read).toThrow("no text");
  });
});
