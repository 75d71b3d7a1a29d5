import { afterAll, beforeAll, beforeEach, describe } from "vitest";
import type { History } from "../../src/history/history.js";
import { freshTasks, type HistoryHarness, type MakeHistory } from "./history-harness.js";
import { exerciseBatches } from "./history-batches.js";
import { exerciseFilters } from "./history-filters.js";
import { exerciseInsert } from "./history-insert.js";
import { exerciseLives } from "./history-lives.js";
import { exerciseLogs } from "./history-logs.js";
import { exerciseQueuesAndEpochs } from "./history-queues.js";
import { exerciseReads } from "./history-reads.js";
import { exerciseRecord } from "./history-record.js";
import { exerciseRetention } from "./history-retention.js";
import { exerciseSchedules } from "./history-schedules.js";
import { exerciseUnique } from "./history-unique.js";
import { exerciseUniqueModel } from "./history-unique-model.js";

/** One test's view: a store shared by the suite, a namespace of its own. */
export interface HistoryScene extends ReturnType<typeof freshTasks> {
  readonly harness: HistoryHarness;
  readonly history: History;
  /** Of another coordinator on the same store. */
  readonly other: History;
}

/** The promises H1 to H8 of `src/history/history.ts`, for any history. */
export function exerciseHistory(name: string, make: MakeHistory): void {
  describe(`history in ${name}`, () => {
    let harness: HistoryHarness;
    let scene: HistoryScene;

    beforeAll(async () => {
      harness = await make();
    }, 60_000);
    afterAll(() => harness.stop());
    beforeEach(() => {
      const [history, other] = harness.histories;
      scene = { ...freshTasks(() => harness), harness, history, other };
    });

    exerciseInsert(() => scene);
    exerciseRecord(() => scene);
    exerciseLives(() => scene);
    exerciseReads(() => scene);
    exerciseFilters(() => scene);
    exerciseRetention(() => scene);
    exerciseLogs(() => scene);
    exerciseQueuesAndEpochs(() => scene);
    exerciseSchedules(() => scene);
    exerciseUnique(() => scene);
    exerciseUniqueModel(() => scene);
    exerciseBatches(() => scene);
  });
}
