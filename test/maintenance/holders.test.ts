import { describe, expect, it } from "vitest";
import { Holders, heldMost, holderOf, nthOf, placeOf } from "../../src/maintenance/holders.js";

describe("a place", () => {
  it("is one number for a holder and a place in it", () => {
    for (const holder of [0, 1, 77, 2 ** 20 - 1]) {
      for (const nth of [0, 1, heldMost - 1]) {
        const place = placeOf(holder, nth);
        expect([holderOf(place), nthOf(place)]).toEqual([holder, nth]);
        expect(place).toBeLessThan(2 ** 30);
      }
    }
  });
});

describe("holders", () => {
  it("are found by any place in them, and go by their age", () => {
    const holders = new Holders<string>();
    const [a, b, c] = ["a", "b", "c"].map((name) => holders.add(name));
    expect(holders.of(placeOf(b!, 5))).toBe("b");
    holders.delete(a!);
    expect(holders.get(a!)).toBeUndefined();
    expect([...holders]).toEqual([
      [b, "b"],
      [c, "c"],
    ]);
    holders.clear();
    expect([...holders]).toEqual([]);
  });

  it("get numbers that others had, but none that one has still", () => {
    const holders = new Holders<string>();
    const old = holders.add("old");
    for (let n = 0; n < 2 ** 20 + 10; n += 1) {
      const number = holders.add("brief");
      if (number === old || number >= 2 ** 20) throw new Error(`it is ${number}`);
      holders.delete(number);
    }
    expect([...holders]).toEqual([[old, "old"]]);
  });
});
