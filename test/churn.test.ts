import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { ChurnMap } from "../src/churn.js";

const steps = fc.array(
  fc.record({ key: fc.nat(20), kind: fc.constantFrom("set", "set", "delete", "delete", "clear") }),
  { maxLength: 2_000, size: "max" },
);
type Steps = readonly { key: number; kind: string }[];

type AnyMap = Pick<ChurnMap<number, number>, "get" | "has" | "delete" | "clear" | "size"> & {
  set(key: number, value: number): unknown;
};

/** All that they answer. */
function answersOf(map: AnyMap, all: Steps): unknown[] {
  const answers: unknown[] = [];
  for (const [nth, { key, kind }] of all.entries()) {
    if (kind === "set") map.set(key, nth);
    else if (kind === "delete") answers.push(map.delete(key));
    else if (nth % 50 === 0) map.clear();
    answers.push(map.size, map.get(key), map.has(key));
  }
  return answers;
}

const run = promisify(execFile);

describe("a map of what comes and goes", () => {
  test.prop([steps], { numRuns: 50 })("does what a Map does", (all) => {
    const [map, plainMap] = [new ChurnMap<number, number>(), new Map<number, number>()];
    expect(answersOf(map, all)).toEqual(answersOf(plainMap, all));
    expect([...map]).toEqual([...plainMap]);
    expect([...map.keys()]).toEqual([...plainMap.keys()]);
    expect([...map.values()]).toEqual([...plainMap.values()]);
  });

  it("lets what is deleted be collected young", async () => {
    const script = join(import.meta.dirname, "support/churn-age.ts");
    const { stdout } = await run(process.execPath, ["--expose-gc", "--import", "tsx", script]);
    // Of a Map it is some 20 MB.
    expect(Number(stdout)).toBeLessThan(8e6);
  });
});
