import { expect, it } from "vitest";
import { systemClock } from "../../src/clock.js";
import { startCoordinator, startWorker, type WorkerProcess } from "../support/processes.js";
import {
  drained,
  expectAgreement,
  expectNoOrphans,
  invalidUnless,
  openLedger,
  sessionsOf,
  soak,
  startLoad,
  storyClient,
  storyStores,
} from "../support/story.js";

const rounds = soak ? 40 : 2;
const perRound = 8;
/** P14: streams of a killed coordinator stand on another one within this. */
const boundMs = 3_000;
const submitsPerSecond = 100;

const title = `resumes attempts elsewhere within 3 s of a coordinator's kill, ${rounds} times`;
it(
  title,
  async () => {
    const stores = await storyStores();
    let [alive, doomed] = await Promise.all([
      startCoordinator(stores.env),
      startCoordinator(stores.env),
    ]);
    const addresses = [alive.grpc, doomed.grpc];
    const workers = await Promise.all(
      [0, 1, 2, 3].map(() => startWorker(addresses, { WORKER_CONCURRENCY: "20" })),
    );
    const client = storyClient(addresses);
    const load = startLoad(client, submitsPerSecond);
    const acknowledged = new Set<string>();
    const late: string[] = [];
    let cutOff = 0;

    for (let round = 0; round < rounds; round += 1) {
      const submits = Array.from({ length: perRound }, () => client.submit("sleep", { ms: 3_000 }));
      const ids = (await Promise.all(submits)).map(({ id }) => id);
      for (const id of ids) acknowledged.add(id);
      await Promise.all(ids.map((id) => startOf(workers, id)));
      const streams = sessionsOf(doomed);
      const killedAt = systemClock.now();
      await doomed.kill();
      cutOff += streams.size;
      for (const sessionId of streams) {
        const resumed = await alive.events.next(
          "resumed session",
          (line) => line.sessionId === sessionId && line.resumed === true && line.time >= killedAt,
        );
        const tookMs = resumed.time - killedAt;
        if (tookMs > boundMs) late.push(`session ${sessionId}: ${tookMs} ms`);
      }
      await load.more(submitsPerSecond, 20_000);
      const ended = await Promise.all(ids.map((id) => client.wait(id, { timeoutMs: 15_000 })));
      for (const task of ended) expect(task).toMatchObject({ status: "completed", attempt: 1 });
      const { port } = new URL(`http://${doomed.grpc}`);
      // The one that took over all streams dies next, so that each kill cuts some off.
      [alive, doomed] = [await startCoordinator({ ...stores.env, GRPC_PORT: port }), alive];
    }
    await load.stop();
    for (const id of load.acknowledged) acknowledged.add(id);
    const ledger = openLedger(stores);
    await drained(ledger, acknowledged.size);
    invalidUnless(cutOff >= rounds * 2, `${cutOff} streams were cut off in ${rounds} kills`);
    expect(load.failures).toEqual([]);
    expect(late).toEqual([]);

    await Promise.all(workers.map((worker) => worker.stop()));
    invalidUnless(
      load.acknowledged.size >= rounds * submitsPerSecond,
      `${load.acknowledged.size} tasks were submitted meanwhile`,
    );
    await expectAgreement({ ledger, acknowledged, workers });
    const charged = (await ledger.tasks()).filter((row) => row.retry_count + row.lease_losses > 0);
    expect(charged).toEqual([]);
    await expectNoOrphans(stores);
  },
  600_000,
);

const startOf = (workers: readonly WorkerProcess[], id: string) =>
  Promise.any(workers.map((worker) => worker.started(({ taskId }) => taskId === id)));
