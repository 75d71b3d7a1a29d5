import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { LeaseBook } from "../../src/coordinator/lease-book.js";
import type { Held } from "../../src/coordinator/worker-session.js";

const heldOf = (since: number): Held => ({ since, settling: false }) as Held;
const keys = ["a", "b", "c", "d"];
const steps = fc.array(
  fc.record({
    key: fc.constantFrom(...keys),
    kind: fc.constantFrom("set", "take", "settle", "settled"),
  }),
  { maxLength: 100, size: "max" },
);

/** What is out, and of which tokens results are under way. */
class Reference {
  readonly out = new Map<string, Held>();
  readonly settling = new Set<string>();

  take(key: string): Held | undefined {
    const held = this.out.get(key);
    this.out.delete(key);
    return held;
  }

  settle(key: string): Held | "again" | undefined {
    if (this.settling.has(key)) return "again";
    this.settling.add(key);
    return this.take(key);
  }
}

describe("the leases of a session", () => {
  test.prop([steps], { numRuns: 200, endOnFailure: true })("are out, then settling", (all) => {
    const [book, reference] = [new LeaseBook(), new Reference()];
    for (const [nth, { key, kind }] of all.entries()) {
      if (kind === "set") {
        const held = heldOf(nth);
        book.set(key, held);
        // A result may come before the lease that a resumed session brings back.
        if (!reference.settling.has(key)) reference.out.set(key, held);
      } else if (kind === "take") expect(book.take(key)).toBe(reference.take(key));
      else if (kind === "settle") expect(book.settle(key)).toBe(reference.settle(key));
      else if (kind === "settled") {
        book.settled(key);
        reference.settling.delete(key);
      }
      expect(book.size).toBe(reference.out.size);
      expect(book.settling).toBe(reference.settling.size);
      for (const one of keys) {
        expect(book.get(one)).toBe(reference.out.get(one));
        expect(book.isSettling(one)).toBe(reference.settling.has(one));
      }
    }
    expect(new Map(book)).toEqual(reference.out);
    expect([...book.values()]).toEqual([...book].map(([, held]) => held));
    expect(new Set(book.settlingKeys())).toEqual(reference.settling);
  });

  it("that are out keep their order while others settle", () => {
    const book = new LeaseBook();
    for (const [nth, key] of keys.entries()) book.set(key, heldOf(nth));
    expect(book.settle("b")).toMatchObject({ since: 1 });
    expect([...book].map(([key]) => key)).toEqual(["a", "c", "d"]);
    expect(book.settlingKeys()).toEqual(["b"]);
  });
});
