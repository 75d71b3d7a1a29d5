import { expect, it } from "vitest";
import { partitionKey } from "../../src/broker/redis/keys.js";
import { partitionOfSlot, slotOfId, slotOfQueue } from "../../src/task/ids.js";
import { type OwnCluster, ownCluster } from "../support/cluster.js";
import { startCoordinator, startWorker, type WorkerProcess } from "../support/processes.js";
import {
  drained,
  expectAgreement,
  expectNoOrphans,
  invalidUnless,
  openLedger,
  startLoad,
  storyClient,
  storyStores,
  type StoryStores,
} from "../support/story.js";

const partitions = 16;
const submitsPerSecond = 150;

const partitionOf = (queue: string): number =>
  partitionOfSlot(slotOfQueue("default", queue), partitions);

interface Place {
  readonly queue: string;
  readonly partition: number;
  /** What its keys start with. */
  readonly base: string;
}

/** Two queues in partitions of their own for each node. */
async function placesOn(cluster: OwnCluster, { prefix }: StoryStores): Promise<Place[][]> {
  const places: Place[][] = cluster.nodes.map(() => []);
  const taken = new Set<number>();
  for (let n = 0; places.some((some) => some.length < 2); n += 1) {
    const queue = `queue-${n}`;
    const partition = partitionOf(queue);
    const base = partitionKey(prefix, partition);
    const on = places[await cluster.holderOf(base)]!;
    if (on.length === 2 || taken.has(partition)) continue;
    taken.add(partition);
    on.push({ queue, partition, base });
  }
  return places;
}

/** Resolves once tasks of each of these partitions have started that had not before. */
async function startsIn(workers: readonly WorkerProcess[], wanted: readonly Place[]) {
  const known = new Set(workers.flatMap(({ starts }) => starts));
  for (const { partition } of wanted) {
    const fresh = workers.map((worker) =>
      worker.started(
        (start) =>
          !known.has(start) && partitionOfSlot(slotOfId(start.taskId), partitions) === partition,
        20_000,
      ),
    );
    await Promise.any(fresh);
  }
}

it("goes on while a slot moves and a primary is killed, and loses nothing, on a Cluster", async () => {
  const cluster = await ownCluster(3, true);
  const stores = await storyStores({ redis: cluster });
  const places = await placesOn(cluster, stores);
  const all = places.flat();
  // One seed each: it tells of the others.
  const envs = [0, 1].map((n) => ({
    ...stores.env,
    REDIS_URL: cluster.urls[n]!,
    DROVER_PARTITIONS: String(partitions),
  }));
  const coordinators = await Promise.all(envs.map((env) => startCoordinator(env)));
  const addresses = coordinators.map(({ grpc }) => grpc);
  const client = storyClient(addresses);
  for (const [{ queue } = all[0]!] of places) {
    await client.queues.update(queue, { durability: "relaxed" });
  }
  const env = { WORKER_CONCURRENCY: "20", STORY_QUEUES: all.map(({ queue }) => queue).join(",") };
  const workers = await Promise.all([startWorker(addresses, env), startWorker(addresses, env)]);
  const load = startLoad(client, submitsPerSecond, (n) =>
    client.submit("noop", { n }, { queue: all[n % all.length]!.queue }),
  );
  await startsIn(workers, all);

  const [moved] = places[0]!;
  let halfway = 0;
  await cluster.moveSlot(moved!.base, 2, {
    // A slot on the move holds up its own partition only.
    halfway: async () => {
      await startsIn(workers, [...places[1]!, ...places[2]!]);
      halfway = await cluster.redises[2]!.dbsize();
    },
  });
  invalidUnless(halfway > 0, "no key had moved when half of them should have");
  await startsIn(workers, [moved!]);

  const [dead] = [cluster.nodes[1]!];
  await dead.kill();
  const others = [...places[0]!, ...places[2]!];
  await startsIn(workers, others);
  await load.more(submitsPerSecond, 20_000);
  await dead.restart();
  await startsIn(workers, all);
  await load.stop();

  const ledger = openLedger(stores);
  await drained(ledger, load.acknowledged.size, 30_000);
  expect(load.failures).toEqual([]);
  await Promise.all(workers.map((worker) => worker.stop()));
  await expectAgreement({ ledger, acknowledged: load.acknowledged, workers, partitions });
  const charged = (await ledger.tasks()).filter((row) => row.retry_count + row.lease_losses > 0);
  expect(charged).toEqual([]);
  await expectNoOrphans(stores);
}, 120_000);
