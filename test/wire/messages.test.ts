import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { framed, MessageCutter } from "../../src/wire/messages.js";

const messages = fc.array(
  fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  { maxLength: 12 },
);

/** `bytes` in pieces, each of a length of the list, taken round about. */
function inPieces(bytes: Buffer, lengths: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0, nth = 0; at < bytes.length; nth += 1) {
    const length = lengths[nth % lengths.length]!;
    pieces.push(bytes.subarray(at, at + length));
    at += length;
  }
  return pieces;
}

function cut(pieces: readonly Buffer[], cutter = new MessageCutter(64, "heeded")) {
  const cutOut: Buffer[] = [];
  for (const [nth, piece] of pieces.entries()) {
    const odd = cutter.take(piece, (message) => cutOut.push(message));
    if (odd) return { cutOut, odd: Buffer.concat([odd, ...pieces.slice(nth + 1)]) };
  }
  return { cutOut, odd: undefined };
}

const lengths = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 8 });

describe("messages of a stream", () => {
  test.prop([messages, lengths])("are what was framed, however they are cut", (given, sizes) => {
    const { cutOut, odd } = cut(inPieces(Buffer.concat(given.map(framed)), sizes));
    expect(odd).toBeUndefined();
    expect(cutOut).toEqual(given);
  });

  const unusual = fc.constantFrom(
    Buffer.concat([Buffer.of(1, 0, 0, 0, 2), Buffer.from("xy")]),
    Buffer.concat([Buffer.of(0, 0, 0, 0, 65), Buffer.alloc(65)]),
  );
  test.prop([messages, unusual, messages, lengths])(
    "end before one that is compressed or too long, of which no byte is lost",
    (before, strange, after, sizes) => {
      const rest = Buffer.concat([strange, ...after.map(framed)]);
      const all = Buffer.concat([...before.map(framed), rest]);
      const { cutOut, odd } = cut(inPieces(all, sizes));
      expect(cutOut).toEqual(before);
      expect(odd).toEqual(rest);
    },
  );

  it("may be marked as compressed where no compression is agreed", () => {
    const marked = framed(Buffer.from("x"));
    marked[0] = 1;
    const { cutOut, odd } = cut([marked], new MessageCutter(64, "ignored"));
    expect([cutOut.map(String), odd]).toEqual([["x"], undefined]);
  });

  it("do not keep what was read from the socket", () => {
    const chunk = Buffer.concat([framed(Buffer.from("abc"))], 64 * 1024);
    const { cutOut } = cut([chunk]);
    expect(cutOut[0]!.buffer).not.toBe(chunk.buffer);
  });
});
