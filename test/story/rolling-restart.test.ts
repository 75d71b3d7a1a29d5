import { expect, it } from "vitest";
import type { Client } from "../../src/client/index.js";
import { limits } from "../../src/limits.js";
import { startCoordinator, startWorker } from "../support/processes.js";
import {
  drained,
  expectAgreement,
  expectNoOrphans,
  invalidUnless,
  openLedger,
  soak,
  startLoad,
  storyClient,
  storyStores,
  until,
} from "../support/story.js";

const rounds = soak ? 10 : 1;
const submitsPerSecond = 100;
const streams = 6;

it("restarts both coordinators in turn under load, and nobody pays for it", async () => {
  const stores = await storyStores();
  const coordinators = [await startCoordinator(stores.env), await startCoordinator(stores.env)];
  const addresses = coordinators.map(({ grpc }) => grpc);
  const workers = await Promise.all(
    Array.from({ length: streams }, () => startWorker(addresses, { WORKER_CONCURRENCY: "20" })),
  );
  const client = storyClient(addresses);
  const load = startLoad(client, submitsPerSecond, (n) =>
    n % 20 === 0 ? client.submit("sleep", { ms: 5_000 }) : client.submit("noop", { n }),
  );
  await load.more(submitsPerSecond, 20_000);
  const startedAs = coordinators.map(({ id }) => id);
  for (let round = 0; round < rounds; round += 1) {
    for (const [index, address] of addresses.entries()) {
      const leaving = coordinators[index]!;
      const holds = async () => (await streamsOf(client)).get(leaving.id);
      await until("it holds a stream that has to move", holds, 30_000);
      expect(await leaving.stop()).toBe(0);
      const { port } = new URL(`http://${address}`);
      coordinators[index] = await startCoordinator({ ...stores.env, GRPC_PORT: port });
      await load.more(submitsPerSecond, 20_000);
    }
  }
  const ids = coordinators.map(({ id }) => id);
  expect(ids.some((id) => startedAs.includes(id))).toBe(false);
  const most = Math.floor((streams / ids.length) * limits.rebalanceRatio);
  let spread: unknown;
  const balanced = async (): Promise<boolean> => {
    const held = await streamsOf(client);
    spread = [...held];
    const counts = ids.map((id) => held.get(id) ?? 0);
    return counts.every((count) => count <= most) && counts[0]! + counts[1]! === streams;
  };
  await until("streams are spread", balanced, 30_000, () => spread);

  await load.stop();
  const ledger = openLedger(stores);
  await drained(ledger, load.acknowledged.size);
  expect(load.failures).toEqual([]);
  const least = rounds * 3 * submitsPerSecond;
  const { size } = load.acknowledged;
  invalidUnless(size >= least, `${size} tasks were submitted, ${least} were to be`);
  await Promise.all(workers.map((worker) => worker.stop()));
  const paid = (await ledger.tasks()).filter((row) => row.attempt !== 1 || row.lease_losses > 0);
  expect(paid).toEqual([]);
  await expectAgreement({ ledger, acknowledged: load.acknowledged, workers });
  await expectNoOrphans(stores);
}, 600_000);

async function streamsOf(client: Client): Promise<Map<string, number>> {
  const held = new Map<string, number>();
  for await (const { coordinatorId } of client.workers.list()) {
    held.set(coordinatorId, (held.get(coordinatorId) ?? 0) + 1);
  }
  return held;
}
