import { beforeAll, expect, it } from "vitest";
import type { Client, TaskFilter } from "../../src/client/index.js";
import { startCoordinator, startWorker, type CoordinatorProcess } from "../support/processes.js";
import {
  drained,
  type Ledger,
  openLedger,
  storyClient,
  type StoryStores,
  storyStores,
} from "../support/story.js";

const tasks = 1_000;
/** How each task fails until its handler is mended; those of the last kind need another payload. */
const kinds = { smtp_down: 200, no_account: 100, bad_payload: 60 } as const;
type Kind = keyof typeof kinds;

let stores: StoryStores;
let ledger: Ledger;
let coordinators: CoordinatorProcess[];
let addresses: string[];
let client: Client;

beforeAll(async () => {
  stores = await storyStores();
  ledger = openLedger(stores);
  coordinators = [await startCoordinator(stores.env), await startCoordinator(stores.env)];
  addresses = coordinators.map(({ grpc }) => grpc);
  client = storyClient(addresses);
});

const plans = Object.entries(kinds).flatMap(([kind, count]) =>
  Array.from({ length: count }, () => kind as Kind),
);

function submitAll() {
  const policy = { initialBackoffMs: 10, nonRetryableCodes: ["no_account", "bad_payload"] };
  const all = Array.from({ length: tasks }, (_, n) => {
    const fail = plans[n];
    const tags = fail ? [`kind-${fail}`] : [];
    const options = { maxRetries: 1, retryPolicy: policy, tags, queue: n % 2 ? "odd" : "even" };
    return { type: "fails", payload: fail ? { n, fail } : { n }, options };
  });
  return client.submitMany(all);
}

async function found(filter: TaskFilter): Promise<string[]> {
  const ids: string[] = [];
  for await (const task of client.list({ ...filter, pageSize: 37 })) ids.push(task.id);
  return ids;
}

const it1 = `redrives and mends the dead letters of ${tasks} tasks, and loses none`;
it(it1, { timeout: 180_000 }, async () => {
  const env = { STORY_QUEUES: "odd,even", WORKER_CONCURRENCY: "50" };
  const broken = await startWorker(addresses, env);
  const outcomes = await submitAll();
  expect(outcomes.filter(({ ok }) => !ok)).toEqual([]);
  await drained(ledger, tasks, 60_000);
  await broken.stop();

  await expectFilters();
  const retried = (await found({ errorCode: "smtp_down" }))[0]!;
  const mended = await startWorker(addresses, { ...env, STORY_MENDED: "1" });
  // One coordinator dies in the middle of it: what it had begun is carried on, the rest asked anew.
  const redriving = client.retryMany({ errorCode: "smtp_down" }, { timeoutMs: 60_000 });
  await coordinators[0]!.kill();
  expect((await redriving).matched).toBeGreaterThanOrEqual(0);
  const rest = await client.retryMany({ text: "No_Account" });
  expect(rest).toMatchObject({ matched: kinds.no_account, done: kinds.no_account });
  await drained(ledger, tasks, 60_000);
  expect(await found({ status: "failed" })).toHaveLength(kinds.bad_payload);
  expect((await client.attempts(retried)).map(({ run, outcome }) => [run, outcome])).toEqual([
    [1, "failed"],
    [1, "failed"],
    [2, "completed"],
  ]);

  for await (const dead of client.list({ errorCode: "bad_payload" })) {
    const copy = await client.retry(dead.id, { payload: { mended: true } });
    expect(copy).toMatchObject({ redrivenFrom: dead.id, type: "fails" });
  }
  await drained(ledger, tasks + kinds.bad_payload, 60_000);
  const purged = await client.purgeMany({ status: "failed" });
  expect(purged).toMatchObject({ matched: kinds.bad_payload, done: kinds.bad_payload });
  const rows = await ledger.tasks();
  expect(rows).toHaveLength(tasks);
  expect(rows.filter(({ status }) => status !== "completed")).toEqual([]);
  await mended.stop();
});

async function expectFilters(): Promise<void> {
  for (const [kind, count] of Object.entries(kinds)) {
    expect(await found({ status: "failed", errorCode: kind })).toHaveLength(count);
    expect(await found({ tag: `kind-${kind}`, status: ["failed", "cancelled"] })).toHaveLength(
      count,
    );
    expect(await found({ text: kind.toUpperCase(), queue: "odd" })).toHaveLength(count / 2);
  }
  expect(await found({ status: "failed" })).toHaveLength(plans.length);
  expect(await found({ status: "failed", type: "other" })).toEqual([]);
  const soon = new Date(Date.now() + 60_000);
  expect(await found({ status: "failed", createdAfter: soon })).toEqual([]);
  expect(await found({ status: "failed", createdBefore: soon })).toHaveLength(plans.length);
  const counted = await client.retryMany({ errorCode: "smtp_down" }, { dryRun: true });
  expect(counted).toMatchObject({ matched: kinds.smtp_down, done: 0 });
}
