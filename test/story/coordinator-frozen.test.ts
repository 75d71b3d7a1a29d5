import { expect, it } from "vitest";
import { systemClock } from "../../src/clock.js";
import {
  type CoordinatorProcess,
  type LogLine,
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
  startLoad,
  storyClient,
  storyStores,
} from "../support/story.js";

const submitsPerSecond = 50;
const perKind = 6;
/** P14: to its workers a frozen coordinator is a lost host. */
const boundMs = 12_000;
/** End while it is frozen, and after it woke and could have cut leases to 5 s. */
const sleepsMs = { short: 3_000, long: 26_000 };

it("takes a frozen coordinator's workers over within 12 s, and heeds nothing it does awake", async () => {
  const stores = await storyStores();
  const both = await Promise.all([startCoordinator(stores.env), startCoordinator(stores.env)]);
  const addresses = both.map(({ grpc }) => grpc);
  const workers = await Promise.all(
    [0, 1, 2, 3].map(() => startWorker(addresses, { WORKER_CONCURRENCY: "20" })),
  );
  const [frozen, awake] =
    sessionsOf(both[0]).size >= sessionsOf(both[1]).size ? both : both.toReversed();
  const client = storyClient(addresses);
  const load = startLoad(client, submitsPerSecond);
  const sleep = (ms: number) =>
    Promise.all(Array.from({ length: perKind }, () => client.submit("sleep", { ms })));
  const [short, long] = [await sleep(sleepsMs.short), await sleep(sleepsMs.long)];
  await Promise.all([...short, ...long].map(({ id }) => startOf(workers, id)));
  await load.more(submitsPerSecond, 20_000);
  const streams = sessionsOf(frozen!);
  invalidUnless(streams.size >= 2, `${streams.size} streams were on the coordinator`);

  const frozenAt = systemClock.now();
  frozen!.signal("SIGSTOP");
  const moves = await Promise.all([...streams].map((id) => moveOf(awake!, id, frozenAt)));
  for (const { time, resumed } of moves) {
    expect(time - frozenAt).toBeLessThan(boundMs);
    expect(resumed).toBe(true);
  }
  const near = storyClient([awake!.grpc]);
  const ended = await Promise.all(short.map(({ id }) => near.wait(id, { timeoutMs: 15_000 })));
  for (const task of ended) expect(task).toMatchObject({ status: "completed", attempt: 1 });
  const wokenAt = systemClock.now();
  frozen!.signal("SIGCONT");
  await frozen!.events.next("its streams end", ({ msg, time }) => {
    return msg === "session.closed" && time >= wokenAt;
  });
  // It works on: what is submitted to it alone is taken.
  const through = storyClient([frozen!.grpc]);
  const after = await Promise.all(
    Array.from({ length: 10 }, (_, n) => through.submit("noop", { n })),
  );
  await load.more(submitsPerSecond, 30_000);
  await load.stop();

  const acknowledged = new Set([...load.acknowledged, ...ids(short), ...ids(long), ...ids(after)]);
  const ledger = openLedger(stores);
  await drained(ledger, acknowledged.size);
  const lastEndAt = await endOf(ledger, ids(long));
  invalidUnless(lastEndAt - wokenAt > 6_000, `handlers ran on for ${lastEndAt - wokenAt} ms`);
  expect(load.failures).toEqual([]);
  const told = both.flatMap(({ events }) => events.all);
  expect(told.filter(({ msg }) => msg === "session.lost")).toEqual([]);
  await Promise.all(workers.map((worker) => worker.stop()));
  await expectAgreement({ ledger, acknowledged, workers });
  const rows = await ledger.tasks();
  expect(rows.filter((row) => row.retry_count + row.lease_losses > 0)).toEqual([]);
  const held = new Set([...ids(short), ...ids(long)]);
  expect(rows.filter(({ id, attempt }) => held.has(id) && attempt !== 1)).toEqual([]);
  await expectNoOrphans(stores);
}, 300_000);

const ids = (receipts: readonly { id: string }[]): string[] => receipts.map(({ id }) => id);

const startOf = (workers: readonly WorkerProcess[], id: string) =>
  Promise.any(workers.map((worker) => worker.started(({ taskId }) => taskId === id)));

const moveOf = ({ events }: CoordinatorProcess, id: string, after: number): Promise<LogLine> =>
  events.next(
    "moved session",
    ({ msg, sessionId, time }) => msg === "session.opened" && sessionId === id && time >= after,
    30_000,
  );

async function endOf(ledger: ReturnType<typeof openLedger>, of: string[]): Promise<number> {
  const sql = "SELECT max(ended_at)::float8 AS at FROM $.tasks WHERE id::text = ANY($1)";
  return Number((await ledger.query(sql, [of]))[0]?.at);
}
