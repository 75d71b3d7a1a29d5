import { systemClock, systemRandom } from "../../src/clock.js";
import type { NewBatch } from "../../src/history/history.js";
import { formTaskId } from "../../src/task/ids.js";
import { templateOf } from "./schedule-factory.js";

/** A batch nobody has made yet, with all callbacks unless others are given. */
export const newBatch = (change: Partial<NewBatch> = {}): NewBatch => ({
  id: formTaskId(systemClock.now(), 0, systemRandom.bytes(8)),
  namespace: "default",
  description: "",
  callbacks: { complete: templateOf(), success: templateOf(), failure: templateOf() },
  failureThreshold: 1,
  ...change,
});
