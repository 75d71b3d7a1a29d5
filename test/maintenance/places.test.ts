import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { Places } from "../../src/maintenance/places.js";

/** Places of a list, where any of them may be found by what stands there. */
function placesOf(list: string[], seed = 7): Places {
  return new Places((place, taskId) => list[place] === taskId, seed);
}

/** Few, so that they come again; they end alike, so that many share the way to their slots. */
const idOf = (n: number): string => `${String(n).padStart(4, "0")}-1234567${n % 5}`;

const steps = fc.array(
  fc.record({
    kind: fc.constantFrom("set", "set", "set", "take", "delete", "stale", "clear"),
    n: fc.nat(40),
  }),
  { maxLength: 600, size: "max" },
);

describe("places by task", () => {
  test.prop([steps, fc.integer()], { numRuns: 100 })("do what a Map does", (all, seed) => {
    const list: string[] = [];
    const places = placesOf(list, seed);
    const map = new Map<string, number>();
    for (const [at, { kind, n }] of all.entries()) {
      const id = idOf(n);
      const known = map.get(id);
      if (kind === "set") {
        list.push(id);
        places.set(id, list.length - 1);
        map.set(id, list.length - 1);
      } else if (kind === "take") {
        expect(places.take(id)).toBe(known);
        map.delete(id);
      } else if (kind === "delete") {
        expect(places.delete(id, known ?? list.length)).toBe(map.delete(id));
      } else if (kind === "stale") {
        expect(places.delete(id, list.length)).toBe(false);
      } else if (at % 40 === 0) {
        places.clear();
        map.clear();
      }
      expect(places.size).toBe(map.size);
    }
    for (let n = 0; n <= 40; n += 1) {
      const known = map.get(idOf(n));
      expect(places.get(idOf(n))).toBe(known);
      expect(places.stands(idOf(n), known ?? list.length)).toBe(known !== undefined);
    }
  });

  it("find ten thousand, and take back their memory when those go", () => {
    const list = Array.from({ length: 10_000 }, (_, n) => `0000-${n * 7_919}`);
    const places = placesOf(list);
    for (const [place, id] of list.entries()) places.set(id, place);
    expect(list.every((id, place) => places.get(id) === place)).toBe(true);
    const full = places.bytes;
    for (const id of list.slice(10)) places.take(id);
    expect(list.map((id) => places.get(id)).filter((place) => place !== undefined)).toEqual([
      0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
    ]);
    expect(places.bytes).toBeLessThan(full / 30);
  });

  it("ask few places for an id, also of ids that begin and end alike", () => {
    const ids = Array.from({ length: 4_000 }, (_, n) => `0198-${n.toString(16).padStart(8, "0")}`);
    let asked = 0;
    const isAt = (place: number, taskId: string): boolean => {
      asked += 1;
      return ids[place] === taskId;
    };
    const places = new Places(isAt, 1);
    for (const [place, id] of ids.entries()) places.set(id, place);
    expect(asked).toBeLessThan(10);
    for (const id of ids) places.get(id);
    expect(asked).toBeLessThan(ids.length + 10);
  });
});
