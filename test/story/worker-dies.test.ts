import { beforeAll, expect, it } from "vitest";
import type { Client } from "../../src/client/index.js";
import { systemClock } from "../../src/clock.js";
import { startCoordinator, startWorker, type WorkerProcess } from "../support/processes.js";
import {
  drained,
  expectAgreement,
  expectNoOrphans,
  invalidUnless,
  type Ledger,
  openLedger,
  reaping,
  soak,
  storyClient,
  type StoryStores,
  storyStores,
  until,
} from "../support/story.js";

const waves = soak ? 40 : 1;
const perWave = 5;
const kills = waves * perWave;
const held = soak ? 2_000 : 500;
/** P14: a killed worker's tasks run elsewhere within this. */
const boundMs = 6_000;

let stores: StoryStores;
let ledger: Ledger;
let addresses: string[];
let client: Client;
const acknowledged = new Set<string>();
const everybody: WorkerProcess[] = [];

beforeAll(async () => {
  stores = await storyStores();
  ledger = openLedger(stores);
  const coordinators = [await startCoordinator(stores.env), await startCoordinator(stores.env)];
  addresses = coordinators.map(({ grpc }) => grpc);
  client = storyClient(addresses);
  await reaping(stores);
});

async function crew(size: number, slots: number): Promise<WorkerProcess[]> {
  const env = { WORKER_CONCURRENCY: String(slots) };
  const starting = Array.from({ length: size }, () => startWorker(addresses, env));
  const workers = await Promise.all(starting);
  everybody.push(...workers);
  return workers;
}

const often = `runs elsewhere within 6 s what a worker killed mid-task ran, ${kills} times`;
it(often, { timeout: 600_000 }, async () => {
  const late: string[] = [];
  let midTask = 0;
  let victims = await crew(perWave, 1);
  for (let wave = 0; wave < waves; wave += 1) {
    // One slot each and nobody else there: every victim gets one task, and hangs in it.
    const submits = Array.from({ length: perWave }, (_, n) => client.submit("once", { wave, n }));
    for (const { id } of await Promise.all(submits)) acknowledged.add(id);
    const first = await Promise.all(
      victims.map((victim) =>
        victim.started(({ taskId, attempt }) => acknowledged.has(taskId) && attempt === 1),
      ),
    );
    const rescuers = await crew(perWave, 1);
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
  await drained(ledger, kills);
  invalidUnless(midTask >= kills, `${midTask} workers were killed mid-task, ${kills} were to be`);
  expect(late).toEqual([]);

  await Promise.all(victims.map((worker) => worker.stop()));
  await expectChargedOnce(kills);
  await expectAgreement({ ledger, acknowledged, workers: everybody });
  await expectNoOrphans(stores);
});

const much = `runs elsewhere within 6 s all ${held} tasks that one killed worker held`;
it(much, { timeout: 120_000 }, async () => {
  const [victim] = await crew(1, held);
  const tasks = Array.from({ length: held }, () => ({ type: "once", payload: {} }));
  for (const outcome of await client.submitMany(tasks)) {
    if (outcome.ok) acknowledged.add(outcome.id);
  }
  const all = async (): Promise<boolean> => victim!.starts.length === held;
  await until("all are held", all, 20_000, () => victim!.starts.length);
  const [rescuer] = await crew(1, held);
  const killedAt = systemClock.now();
  await victim!.kill();
  await drained(ledger, acknowledged.size);
  const tookMs = rescuer!.starts.map(({ at }) => at - killedAt);
  expect(tookMs).toHaveLength(held);
  expect(tookMs.filter((ms) => ms > boundMs)).toEqual([]);

  await rescuer!.stop();
  await expectChargedOnce(acknowledged.size);
  await expectAgreement({ ledger, acknowledged, workers: everybody });
  await expectNoOrphans(stores);
});

async function expectChargedOnce(tasks: number): Promise<void> {
  const rows = await ledger.tasks();
  expect(rows).toHaveLength(tasks);
  const wanted = { status: "completed", attempt: 2, retry_count: 0, lease_losses: 1 };
  for (const row of rows) expect(row).toMatchObject(wanted);
  const outcomes = (await ledger.attempts()).map(({ attempt, outcome }) => `${attempt} ${outcome}`);
  expect(outcomes.filter((each) => each === "1 lost")).toHaveLength(tasks);
  expect(outcomes.filter((each) => each === "2 completed")).toHaveLength(tasks);
}
