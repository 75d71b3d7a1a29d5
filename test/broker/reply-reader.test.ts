import { describe, expect, it, vi } from "vitest";
import { type RawReply, ReplyError, ReplyReader } from "../../src/broker/redis/reply-reader.js";
import { createSeededRandom } from "../support/seeded-random.js";

/** As Redis writes it. */
function written(reply: RawReply): Buffer {
  if (reply === null) return Buffer.from("$-1\r\n");
  if (typeof reply === "number") return Buffer.from(`:${reply}\r\n`);
  if (reply instanceof ReplyError) return Buffer.from(`-${reply.message}\r\n`);
  if (Buffer.isBuffer(reply)) {
    return Buffer.concat([Buffer.from(`$${reply.length}\r\n`), reply, Buffer.from("\r\n")]);
  }
  return Buffer.concat([Buffer.from(`*${reply.length}\r\n`), ...reply.map(written)]);
}

const samples: RawReply[] = [
  Buffer.from("OK"),
  Buffer.alloc(0),
  Buffer.from("\r\n*3\r\n$-1\r\n"),
  0,
  -12,
  2 ** 53 - 1,
  null,
  [],
  [[], [[]], null, 7],
  [Buffer.from("ok"), 0, [], Buffer.alloc(300, 13), [Buffer.from("é"), -1]],
  new ReplyError("NOSCRIPT No matching script"),
  [1, new ReplyError("ERR inside"), Buffer.from("x")],
];

function read(...chunks: readonly Buffer[]): RawReply[] {
  const reader = new ReplyReader();
  const replies: RawReply[] = [];
  for (const chunk of chunks) reader.take(chunk, (reply) => replies.push(reply));
  return replies;
}

describe("a reader of what Redis answers", () => {
  it("reads each kind, alone and all in one", () => {
    for (const sample of samples) expect(read(written(sample))).toEqual([sample]);
    expect(read(Buffer.concat(samples.map(written)))).toEqual(samples);
    expect(read(Buffer.from("+PONG\r\n*-1\r\n"))).toEqual([Buffer.from("PONG"), null]);
  });

  it("reads the same wherever it is cut", () => {
    const all = Buffer.concat(samples.map(written));
    for (let cut = 1; cut < all.length; cut += 1) {
      expect(read(all.subarray(0, cut), all.subarray(cut))).toEqual(samples);
    }
    expect(read(...Array.from(all, (byte) => Buffer.from([byte])))).toEqual(samples);
  });

  it("says each as soon as its last byte is here, and no sooner", () => {
    for (const sample of samples) {
      const bytes = written(sample);
      expect(read(bytes.subarray(0, -1))).toEqual([]);
    }
  });

  it("joins a long string once all of it is here, and reads what comes behind it", () => {
    const random = createSeededRandom(5);
    const long = Buffer.alloc(1_000_000, "\r\n$1\r\nx");
    const all = Buffer.concat([written([1, long, 3]), written(4), written([long]), written(5)]);
    const chunks: Buffer[] = [];
    for (let at = 0; at < all.length;) {
      const to = at + 1 + Math.floor(random.next() * 65_536);
      chunks.push(all.subarray(at, to));
      at = to;
    }
    const concat = vi.spyOn(Buffer, "concat");
    const [first, four, second, five] = read(...chunks) as [RawReply[], number, RawReply[], number];
    const joined = concat.mock.calls.length;
    concat.mockRestore();
    expect([first[0], first[2], four, five]).toEqual([1, 3, 4, 5]);
    expect([first[1], second[0]].map((bytes) => long.equals(bytes as Buffer))).toEqual([
      true,
      true,
    ]);
    expect(joined).toBeLessThan(12);
  });

  it("throws on what no Redis says to a client of RESP2", () => {
    expect(() => read(Buffer.from("_\r\n"))).toThrow("kind 95");
    expect(() => read(Buffer.from("%1\r\n"))).toThrow("kind 37");
    expect(() => read(Buffer.from(":1x\r\n"))).toThrow("byte 120");
    expect(() => read(Buffer.from("GET / HTTP/1.1\r\n"))).toThrow("byte 69");
  });
});
