import { describe, expect, it } from "vitest";
import { createManualClock } from "../support/manual-clock.js";
import { Batcher, Failed } from "../../src/coordinator/batcher.js";

/** Doubles; a batch that holds a 7 fails. */
function doubler(maxItems: number, maxWaiting = 100) {
  const batches: number[][] = [];
  const batcher = new Batcher<number, number>({
    run: async (items) => {
      batches.push(items);
      await new Promise(setImmediate);
      if (items.includes(7)) throw new Error("no sevens");
      return items.map((item) => item * 2);
    },
    maxItems,
    maxInFlight: 2,
    maxWaiting,
  });
  return { batcher, batches };
}

const shown = (replies: readonly (number | Failed)[]) =>
  replies.map((reply) => (reply instanceof Failed ? "failed" : reply));

describe("what is pushed", () => {
  it("in one tick shares a call, and each group is answered in its own order", async () => {
    const { batcher, batches } = doubler(10);
    const answers = await Promise.all([batcher.pushAll([1, 2]), batcher.push(3), batcher.push(4)]);
    expect(answers).toEqual([[2, 4], 6, 8]);
    expect(batches).toEqual([[1, 2, 3, 4]]);
  });

  it("alone goes in its own tick, or waits for company where it is asked to", async () => {
    const { batcher, batches } = doubler(10);
    const lone = batcher.push(1);
    await new Promise<void>((resolve) => process.nextTick(resolve));
    expect(batches).toEqual([[1]]);
    await lone;

    const clock = createManualClock();
    const gathered: number[][] = [];
    const patient = new Batcher<number, number>({
      run: async (items) => (gathered.push(items), items),
      maxItems: 10,
      maxInFlight: 2,
      maxWaiting: 100,
      gather: { clock, ms: 25 },
    });
    const first = patient.push(1);
    await clock.advance(24);
    const second = patient.push(2);
    expect(gathered).toEqual([]);
    await clock.advance(1);
    expect(await Promise.all([first, second])).toEqual([1, 2]);
    expect(gathered).toEqual([[1, 2]]);
  });

  it("waits for company no longer than there is time for it, or until there is enough", async () => {
    const clock = createManualClock();
    const gathered: number[][] = [];
    let may = true;
    const batcher = new Batcher<number, number>({
      run: async (items) => (gathered.push(items), items),
      maxItems: 10,
      maxInFlight: 2,
      maxWaiting: 100,
      gather: { clock, ms: 25, enough: 3, may: () => may },
    });
    const few = batcher.pushAll([1, 2]);
    await clock.advance(10);
    expect(batcher.gathering).toBe(true);
    const enough = batcher.push(3);
    expect(batcher.gathering).toBe(false);
    await Promise.all([few, enough]);
    expect(gathered).toEqual([[1, 2, 3]]);

    const first = batcher.push(4);
    may = false;
    const hurried = batcher.push(5);
    await Promise.all([first, hurried, batcher.push(6)]);
    expect(gathered.slice(1).flat()).toEqual([4, 5, 6]);
    await clock.advance(25);
    expect(gathered.flat()).toHaveLength(6);
    await batcher.drained();
  });

  it("in groups larger than a call is split, and still answered as a whole", async () => {
    const { batcher, batches } = doubler(3);
    const [first, second] = await Promise.all([
      batcher.pushAll([1, 2, 3, 4, 5]),
      batcher.pushAll([6, 8, 9]),
    ]);
    expect([first, second]).toEqual([
      [2, 4, 6, 8, 10],
      [12, 16, 18],
    ]);
    expect(batches).toEqual([
      [1, 2, 3],
      [4, 5, 6],
      [8, 9],
    ]);
  });

  it("fails with its call alone, item by item", async () => {
    const { batcher } = doubler(3);
    const [group, single] = await Promise.all([
      batcher.pushAll([1, 2, 3, 4, 5]),
      batcher.pushAll([7, 8]),
    ]);
    expect(shown(group)).toEqual([2, 4, 6, "failed", "failed"]);
    expect(shown(single)).toEqual(["failed", 16]);
    await expect(batcher.push(7)).rejects.toThrow("no sevens");
  });

  it("is refused while too much waits, and taken again afterwards", async () => {
    const { batcher } = doubler(10, 2);
    const taken = batcher.pushAll([1, 2]);
    const [refused] = await batcher.pushAll([3]);
    expect(refused).toMatchObject({ error: { id: "overloaded" } });
    expect(await taken).toEqual([2, 4]);
    expect(await batcher.push(3)).toBe(6);
    await batcher.drained();
  });
});
