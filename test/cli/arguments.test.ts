import { InvalidArgumentError } from "commander";
import { describe, expect, it } from "vitest";
import {
  decimal,
  duration,
  label,
  priority,
  readPayload,
  several,
  status,
  time,
  whole,
} from "../../src/cli/arguments.js";
import { age, showDuration } from "../../src/cli/duration.js";
import { limits } from "../../src/limits.js";
import { fakeTerminal } from "../support/fake-terminal.js";

describe("what people type", () => {
  it.each([
    ["0", 0],
    ["500ms", 500],
    ["1.5s", 1_500],
    ["5m", 300_000],
    ["1h30m", 5_400_000],
    ["7d", 604_800_000],
  ])("the duration %s is %i ms", (text, ms) => {
    expect(duration(text)).toBe(ms);
  });

  it.each(["", "5", "-5s", "5 s", "5x", "s", "1s2"])("%j is no duration", (text) => {
    expect(() => duration(text)).toThrow(InvalidArgumentError);
  });

  it.each([
    [20, "20ms"],
    [1_500, "1.5s"],
    [60_000, "1m"],
    [900_000, "15m"],
    [5_400_000, "1h30m"],
    [604_800_000, "7d"],
    [3_605_000, "1h"],
  ])("%i ms are shown as %s", (ms, text) => {
    expect(showDuration(ms)).toBe(text);
  });

  it("ages are told in one unit, in both directions", () => {
    const now = 1_000_000_000;
    expect(age(now, new Date(now - 400))).toBe("now");
    expect(age(now, new Date(now - 12_400))).toBe("12s ago");
    expect(age(now, new Date(now + 3 * 3_600_000))).toBe("in 3h");
  });

  it("priorities are names or numbers", () => {
    expect(["low", "Medium", "high", "critical"].map(priority)).toEqual([0, 1, 2, 3]);
    expect(priority("3")).toBe(3);
    for (const wrong of ["", "urgent", "4", "-1", "1.0"]) {
      expect(() => priority(wrong)).toThrow("Expected low, medium, high, critical");
    }
  });

  it("statuses are the words of the contract", () => {
    expect(status("FAILED")).toBe("failed");
    expect(() => status("dead")).toThrow("blocked, scheduled, pending");
  });

  it("a time needs its zone", () => {
    expect(time("2030-01-31T08:00:00+02:00").toISOString()).toBe("2030-01-31T06:00:00.000Z");
    for (const wrong of ["tomorrow", "2030-01-31", "2030-01-31T08:00:00", "2030-13-01T00:00:00Z"]) {
      expect(() => time(wrong)).toThrow(InvalidArgumentError);
    }
  });

  it("numbers keep to their bounds", () => {
    expect(whole(0, 10)("7")).toBe(7);
    for (const wrong of ["-1", "11", "1.5", "1e1", ""]) {
      expect(() => whole(0, 10)(wrong)).toThrow("0 to 10");
    }
    expect(decimal(1, 10)("2.5")).toBe(2.5);
    expect(() => decimal(1, 10)("0.5")).toThrow("1 to 10");
  });

  it("labels and tags add up", () => {
    expect(label("zone=a=b", label("region=eu"))).toEqual({ region: "eu", zone: "a=b" });
    expect(() => label("region")).toThrow("name=value");
    expect(() => label("=eu")).toThrow("name=value");
    expect(several("b", several("a"))).toEqual(["a", "b"]);
  });
});

describe("payloads", () => {
  const text = async (given: string | undefined, files?: Record<string, string>) => {
    const read = await readPayload(given, fakeTerminal(files ? { files } : {}));
    return read && Buffer.from(read.data).toString("utf8");
  };

  it("come from the command line, a file or stdin, byte for byte", async () => {
    expect(await text(undefined)).toBeUndefined();
    expect(await text('{"n": 12345678901234567890}')).toBe('{"n": 12345678901234567890}');
    expect(await text("@task.json", { "task.json": "[1]" })).toBe("[1]");
    expect(await text("-", { "-": '"é"' })).toBe('"é"');
  });

  it("that are no JSON are refused with a way to mend them", async () => {
    await expect(text("{to: 1}")).rejects.toMatchObject({
      id: "invalid_field",
      field: "task.payload",
      hint: expect.stringContaining("@file"),
    });
  });

  it("over the limit are refused before they travel", async () => {
    const large = JSON.stringify("x".repeat(limits.payloadBytes));
    await expect(text("-", { "-": large })).rejects.toMatchObject({ id: "payload_too_large" });
  });
});
