import { expect, it } from "vitest";
import { systemClock } from "../../src/clock.js";
import { startCoordinator, startWorker, type WorkerProcess } from "../support/processes.js";
import {
  drained,
  expectAgreement,
  expectNoOrphans,
  invalidUnless,
  openLedger,
  soak,
  storyClient,
  storyStores,
} from "../support/story.js";

const waves = soak ? 40 : 4;
const perWave = 5;
const kills = waves * perWave;
/** P14: a killed worker's tasks run elsewhere within this. */
const boundMs = 6_000;

const title = `runs elsewhere within 6 s what a worker killed mid-task ran, ${kills} times`;
it(
  title,
  async () => {
    const stores = await storyStores();
    const coordinators = [await startCoordinator(stores.env), await startCoordinator(stores.env)];
    const addresses = coordinators.map(({ grpc }) => grpc);
    const client = storyClient(addresses);
    const everybody: WorkerProcess[] = [];
    const crew = async (): Promise<WorkerProcess[]> => {
      const started = Array.from({ length: perWave }, () =>
        startWorker(addresses, { WORKER_CONCURRENCY: "1" }),
      );
      const workers = await Promise.all(started);
      everybody.push(...workers);
      return workers;
    };

    const acknowledged = new Set<string>();
    const late: string[] = [];
    let midTask = 0;
    let victims = await crew();
    for (let wave = 0; wave < waves; wave += 1) {
      // One slot each and nobody else there: every victim gets one task, and hangs in it.
      const submits = Array.from({ length: perWave }, (_, n) => client.submit("once", { wave, n }));
      for (const { id } of await Promise.all(submits)) acknowledged.add(id);
      const first = await Promise.all(
        victims.map((victim) =>
          victim.started(({ taskId, attempt }) => acknowledged.has(taskId) && attempt === 1),
        ),
      );
      const rescuers = await crew();
      await Promise.all(
        victims.map(async (victim, index) => {
          const { taskId } = first[index]!;
          const killedAt = systemClock.now();
          await victim.kill();
          midTask += victim.ended.has(taskId) ? 0 : 1;
          const again = await Promise.any(
            rescuers.map((rescuer) => rescuer.started((start) => start.taskId === taskId)),
          );
          expect(again.attempt).toBe(2);
          const tookMs = again.at - killedAt;
          if (tookMs > boundMs) late.push(`${taskId}: ${tookMs} ms`);
        }),
      );
      victims = rescuers;
    }
    const ledger = openLedger(stores);
    await drained(ledger, kills, 10_000);
    invalidUnless(midTask >= kills, `${midTask} workers were killed mid-task, ${kills} were to be`);
    expect(late).toEqual([]);

    await Promise.all(victims.map((worker) => worker.stop()));
    const rows = await ledger.tasks();
    expect(rows).toHaveLength(kills);
    const wanted = { status: "completed", attempt: 2, retry_count: 0, lease_losses: 1 };
    for (const row of rows) expect(row).toMatchObject(wanted);
    const outcomes = (await ledger.attempts()).map(
      ({ attempt, outcome }) => `${attempt} ${outcome}`,
    );
    expect(outcomes.filter((each) => each === "1 lost")).toHaveLength(kills);
    expect(outcomes.filter((each) => each === "2 completed")).toHaveLength(kills);
    await expectAgreement({ ledger, acknowledged, workers: everybody });
    await expectNoOrphans(stores);
  },
  600_000,
);
