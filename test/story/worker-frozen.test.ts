import { expect, it } from "vitest";
import { systemClock } from "../../src/clock.js";
import { startCoordinator, startWorker, type WorkerProcess } from "../support/processes.js";
import {
  drained,
  expectAgreement,
  expectNoOrphans,
  type Ledger,
  openLedger,
  storyClient,
  storyStores,
  until,
  untilAllWork,
} from "../support/story.js";

/** P14: what a frozen worker ran runs elsewhere within this. */
const boundMs = 17_000;
const frozen = 3;
const blocked = 2;

it("lets one completion stand when a worker is frozen, or blocks, past its lease", async () => {
  const stores = await storyStores();
  const coordinators = [await startCoordinator(stores.env), await startCoordinator(stores.env)];
  const addresses = coordinators.map(({ grpc }) => grpc);
  const client = storyClient(addresses);
  const victims = await Promise.all(
    Array.from({ length: frozen + blocked }, () =>
      startWorker(addresses, { WORKER_CONCURRENCY: "1" }),
    ),
  );
  // `stubborn` ignores its abort and returns all the same; `spin` hears nothing of it.
  const tasks = await Promise.all([
    ...Array.from({ length: frozen }, () => client.submit("stubborn", { ms: 2_000 })),
    ...Array.from({ length: blocked }, () => client.submit("spin", { ms: 20_000 })),
  ]);
  const startedAt = systemClock.now();
  const holders = await Promise.all(tasks.map(({ id }) => holderOf(victims, id)));
  const icy = holders.slice(0, frozen);
  for (const worker of icy) worker.signal("SIGSTOP");
  const rescuer = await startWorker(addresses);
  const late: string[] = [];
  for (const { id } of tasks) {
    const again = await rescuer.started(({ taskId }) => taskId === id, 60_000);
    expect(again.attempt).toBe(2);
    if (again.at - startedAt > boundMs) late.push(`${id}: ${again.at - startedAt} ms`);
  }
  const ledger = openLedger(stores);
  await drained(ledger, tasks.length);
  const stands = await attemptsOf(ledger);
  expect(stands).toEqual(tasks.flatMap(({ id }) => [`${id} 1 lost`, `${id} 2 completed`]).sort());
  for (const worker of icy) worker.signal("SIGCONT");

  // They go on with what is theirs no more, and come back.
  for (const [index, holder] of holders.entries()) {
    const { id } = tasks[index]!;
    await until("the old handler returns", async () => holder.ended.has(id), 40_000);
  }
  await rescuer.stop();
  const next = await untilAllWork(client, victims);
  await drained(ledger, tasks.length + next.length);
  expect(late).toEqual([]);
  expect(await attemptsOf(ledger)).toEqual(expect.arrayContaining(stands));

  await Promise.all(victims.map((worker) => worker.stop()));
  const acknowledged = new Set([...tasks.map(({ id }) => id), ...next]);
  await expectAgreement({ ledger, acknowledged, workers: [...victims, rescuer] });
  await expectNoOrphans(stores);
}, 300_000);

async function attemptsOf(ledger: Ledger): Promise<string[]> {
  const rows = await ledger.attempts();
  return rows.map(({ task_id, attempt, outcome }) => `${task_id} ${attempt} ${outcome}`).sort();
}

async function holderOf(workers: readonly WorkerProcess[], id: string): Promise<WorkerProcess> {
  const holding = workers.map(async (worker) => {
    await worker.started(({ taskId }) => taskId === id);
    return worker;
  });
  return Promise.any(holding);
}
