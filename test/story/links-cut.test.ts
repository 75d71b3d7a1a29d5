import { expect, it } from "vitest";
import { systemClock } from "../../src/clock.js";
import { limits } from "../../src/limits.js";
import {
  type CoordinatorProcess,
  startCoordinator,
  startWorker,
  type WorkerProcess,
} from "../support/processes.js";
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
  until,
} from "../support/story.js";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.js";

const rounds = soak ? 5 : 1;
const submitsPerSecond = 50;
/** Calls of a store are given up meanwhile; no session lease ends. */
const faultMs = limits.storeCommandMs + 2_000;

/** What is done to a link; `pass` heals each. */
const faults: readonly [what: string, begin: (proxy: TcpProxy) => void][] = [
  ["cut", (proxy) => proxy.cut()],
  ["blackholed there", (proxy) => proxy.blackhole("up")],
  ["blackholed back", (proxy) => proxy.blackhole("down")],
  [
    "blackholed",
    (proxy) => {
      proxy.blackhole("up");
      proxy.blackhole("down");
    },
  ],
];

const links = [
  { store: "broker", variable: "REDIS_URL", name: "Redis" },
  { store: "history", variable: "DATABASE_URL", name: "Postgres" },
] as const;

it.concurrent.each(links)(
  "loses nothing when one coordinator's link to $name is cut and blackholed, and charges nobody",
  async ({ store, variable }) => {
    const stores = await storyStores();
    const url = new URL(stores.env[variable]!);
    const proxy = await startTcpProxy(url.host);
    url.host = proxy.address;
    const near = await startCoordinator(stores.env);
    const far = await startCoordinator({ ...stores.env, [variable]: url.href });
    const addresses = [near.grpc, far.grpc];
    const workers = await Promise.all(
      [addresses, addresses.toReversed()].map((list) =>
        startWorker(list, { WORKER_CONCURRENCY: "20" }),
      ),
    );
    await far.events.next("stream", ({ msg }) => msg === "session.opened");
    const client = storyClient(addresses);
    const load = startLoad(client, submitsPerSecond);
    const sleepers = new Set<string>();
    for (let round = 0; round < rounds; round += 1) {
      for (const [what, begin] of faults) {
        const { id } = await client.submit("sleep", { ms: faultMs + 2_000 });
        await startOf(workers, id);
        sleepers.add(id);
        await load.more(submitsPerSecond, 30_000);
        const seen = far.events.all.length;
        const begunAt = systemClock.monotonic();
        begin(proxy);
        await until(`${what} is felt`, async () => feltIn(far, store, seen), 15_000);
        await systemClock.sleep(Math.max(0, faultMs - (systemClock.monotonic() - begunAt)));
        const healed = far.events.all.length;
        proxy.pass();
        await heard(far, store, healed, what);
      }
    }
    invalidUnless(sessionsOf(far).size + sessionsOf(near).size > 0, "no worker was connected");
    await load.more(submitsPerSecond, 30_000);
    await load.stop();
    const acknowledged = new Set([...load.acknowledged, ...sleepers]);
    const ledger = openLedger(stores);
    await drained(ledger, acknowledged.size, 60_000);
    const wanted = rounds * faults.length;
    const least = wanted * submitsPerSecond;
    const { size } = load.acknowledged;
    invalidUnless(size >= least, `${size} tasks were submitted, ${least} were to be`);
    expect(load.failures).toEqual([]);

    await Promise.all(workers.map((worker) => worker.stop()));
    await expectAgreement({ ledger, acknowledged, workers });
    const rows = await ledger.tasks();
    expect(rows.filter((row) => row.retry_count + row.lease_losses > 0)).toEqual([]);
    // A lease that never reached its worker goes back uncharged; what began is never begun again.
    const began = workers.flatMap(({ starts }) => starts.map(({ taskId }) => taskId));
    const again = [...sleepers].filter((id) => began.filter((it) => it === id).length !== 1);
    expect(again).toEqual([]);
    await expectNoOrphans(stores);
  },
  600_000,
);

it.concurrent("workers leave the coordinator that alone has lost Redis, before they must stop", async () => {
  const stores = await storyStores();
  const url = new URL(stores.env.REDIS_URL!);
  const proxy = await startTcpProxy(url.host);
  url.host = proxy.address;
  const near = await startCoordinator(stores.env);
  const far = await startCoordinator({ ...stores.env, REDIS_URL: url.href });
  const addresses = [near.grpc, far.grpc];
  const workers = await Promise.all([0, 1].map(() => startWorker(addresses)));
  // Where both are with one coordinator, one of them is asked to move.
  const onFar = async () => sessionsOf(far).size > 0 && sessionsOf(far);
  const streams = await until("the far one has a stream", onFar, 60_000);
  const client = storyClient([near.grpc]);
  const sleepers = await Promise.all(
    Array.from({ length: 10 }, () => client.submit("sleep", { ms: 20_000 })),
  );
  const ids = sleepers.map(({ id }) => id);
  await Promise.all(ids.map((id) => startOf(workers, id)));

  const cutAt = systemClock.now();
  proxy.blackhole("up");
  for (const id of streams) {
    const moved = await near.events.next(
      "moved session",
      ({ msg, sessionId, time }) => msg === "session.opened" && sessionId === id && time >= cutAt,
      limits.workerAbortMs + 10_000,
    );
    expect(moved.time - cutAt).toBeLessThan(limits.workerAbortMs);
    expect(moved["resumed"]).toBe(true);
  }
  const ledger = openLedger(stores);
  await drained(ledger, ids.length);
  proxy.pass();
  const rows = await ledger.tasks();
  expect(rows.filter((row) => row.attempt !== 1 || row.lease_losses > 0)).toEqual([]);
  await Promise.all(workers.map((worker) => worker.stop()));
  await expectAgreement({ ledger, acknowledged: new Set(ids), workers });
}, 120_000);

const startOf = (workers: readonly WorkerProcess[], id: string) =>
  Promise.any(workers.map((worker) => worker.started(({ taskId }) => taskId === id)));

type Store = (typeof links)[number]["store"];

const feltIn = ({ events }: CoordinatorProcess, store: Store, from: number): boolean =>
  events.all
    .slice(from)
    .some((line) => line.msg === "store.unavailable" && line["store"] === store);

/** Resolves when the coordinator has the store again. */
async function heard(
  { events }: CoordinatorProcess,
  store: Store,
  from: number,
  what: string,
): Promise<void> {
  await events.next(
    `end of ${what}`,
    (line) =>
      line.msg === "store.available" && line["store"] === store && events.all.indexOf(line) >= from,
    30_000,
  );
}
