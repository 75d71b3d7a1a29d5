import { Command } from "ioredis";
import { describe, expect, it } from "vitest";
import { type Argument, ownStoreId, packCall } from "../../src/broker/redis/call.js";

const storeId = "0123456789abcdef".repeat(2) + "01234567";

const asIoredis = (name: string, args: readonly Argument[]): string => {
  const given = args.map((arg) =>
    arg === ownStoreId ? storeId : typeof arg === "string" ? arg : Buffer.from(arg),
  );
  const written = new Command(name, given).toWritable({});
  return Buffer.from(written as Buffer).toString("latin1");
};

describe("a call of Redis", () => {
  const texts = ["", "1", "x".repeat(9), "x".repeat(10), "x".repeat(32), "x".repeat(33)];
  const wide = ["é", "é".repeat(5), "é€😀".repeat(3), "€".repeat(40), "x".repeat(9) + "é"];
  const bytes = [0, 1, 9, 10, 99, 100, 70_000].map((length) => new Uint8Array(length).fill(13));

  it("is written as ioredis writes it, whatever its arguments", () => {
    const lists: Argument[][] = [
      [],
      texts,
      wide,
      bytes,
      [ownStoreId],
      [...texts, ...bytes, ...wide],
    ];
    for (const args of lists) {
      const packed = packCall("FCALL", args, storeId).toString("latin1");
      expect(packed).toBe(asIoredis("FCALL", args));
    }
  });

  it("is written as ioredis writes it with as many arguments as there are", () => {
    for (const count of [8, 9, 10, 98, 99, 100]) {
      const args = Array.from({ length: count }, String);
      const packed = packCall("MGET", args, storeId).toString("latin1");
      expect(packed).toBe(asIoredis("MGET", args));
    }
  });
});
