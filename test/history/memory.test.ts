import { expect, test } from "vitest";
import { createMemoryHistory } from "../../src/history/memory-history.js";
import { createMemoryHistoryStore } from "../../src/history/memory/store.js";
import type { HistoryHarness } from "../conformance/history-harness.js";
import { exerciseHistory } from "../conformance/history.js";
import { createManualClock } from "../support/manual-clock.js";

async function make(): Promise<HistoryHarness> {
  const clock = createManualClock();
  const store = createMemoryHistoryStore();
  const histories = [
    createMemoryHistory({ clock, store }),
    createMemoryHistory({ clock, store }),
  ] as const;
  for (const history of histories) await history.start();
  return {
    histories,
    now: () => clock.now(),
    age: (ms) => clock.advance(ms),
    // Nothing is encoded here, so nothing can be spoilt.
    spoil: async () => undefined,
    stop: async () => void (await Promise.all(histories.map((history) => history.stop()))),
  };
}

exerciseHistory("memory", make);

test("a memory history that is told to be down rejects every call as unavailable", async () => {
  let down = false;
  const history = createMemoryHistory({ isDown: () => down });
  await history.start();
  expect(history.available).toBe(true);
  down = true;
  expect(history.available).toBe(false);
  await expect(history.get(undefined, [])).rejects.toMatchObject({ id: "history_unavailable" });
  await expect(history.insert([])).rejects.toMatchObject({ id: "history_unavailable" });
  down = false;
  expect(await history.get(undefined, [])).toEqual([]);
});
