import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { ChurnMap, ChurnSet } from "../src/churn.js";

const steps = fc.array(
  fc.record({ key: fc.nat(20), kind: fc.constantFrom("set", "set", "delete", "delete", "clear") }),
  { maxLength: 2_000, size: "max" },
);
type Steps = readonly { key: number; kind: string }[];

type AnyMap = Pick<ChurnMap<number, number>, "get" | "has" | "delete" | "clear" | "size"> & {
  set(key: number, value: number): unknown;
};
type AnySet = Pick<ChurnSet<number>, "has" | "delete" | "clear" | "size"> & {
  add(key: number): unknown;
};

/** All that they answer. */
function answersOf(map: AnyMap, set: AnySet, all: Steps): unknown[] {
  const answers: unknown[] = [];
  for (const [nth, { key, kind }] of all.entries()) {
    if (kind === "set") {
      map.set(key, nth);
      set.add(key);
    } else if (kind === "delete") answers.push(map.delete(key), set.delete(key));
    else if (nth % 50 === 0) {
      map.clear();
      set.clear();
    }
    answers.push(map.size, map.get(key), map.has(key), set.size, set.has(key));
  }
  return answers;
}

const run = promisify(execFile);

describe("a map and a set of what comes and goes", () => {
  test.prop([steps], { numRuns: 50 })("do what a Map and a Set do", (all) => {
    const [map, set] = [new ChurnMap<number, number>(), new ChurnSet<number>()];
    const [plainMap, plainSet] = [new Map<number, number>(), new Set<number>()];
    expect(answersOf(map, set, all)).toEqual(answersOf(plainMap, plainSet, all));
    expect([...map]).toEqual([...plainMap]);
    expect([...map.keys()]).toEqual([...plainMap.keys()]);
    expect([...map.values()]).toEqual([...plainMap.values()]);
    expect([...set]).toEqual([...plainSet]);
    expect([...set.values()]).toEqual([...plainSet.values()]);
  });

  it("let what is deleted be collected young", async () => {
    const script = join(import.meta.dirname, "support/churn-age.ts");
    const { stdout } = await run(process.execPath, ["--expose-gc", "--import", "tsx", script]);
    // Of a Map and a Set it is some 20 and 40 MB.
    const { ofMap, ofSet } = JSON.parse(stdout) as { ofMap: number; ofSet: number };
    expect([ofMap, ofSet].filter((bytes) => bytes > 8e6)).toEqual([]);
  });
});
