import { beforeAll, expect, it } from "vitest";
import { type Batch, type Client, DroverClientError } from "../../src/client/index.js";
import { systemClock } from "../../src/clock.js";
import {
  type CoordinatorProcess,
  startCoordinator,
  startWorker,
  type WorkerProcess,
} from "../support/processes.js";
import {
  expectNoOrphans,
  type Ledger,
  openLedger,
  soak,
  storyClient,
  type StoryStores,
  storyStores,
  until,
} from "../support/story.js";

const rounds = soak ? 20 : 3;
const batchesOfRound = 6;
const tasksOfBatch = soak ? 400 : 60;
/** How long a load goes on between two kills: the fault itself, not a wait for something. */
const survivedMs = 700;
/** Every so many tasks of a mixed batch fail. */
const failEvery = 10;

let stores: StoryStores;
let ledger: Ledger;
let alive: CoordinatorProcess[];
let workers: WorkerProcess[];
let client: Client;

beforeAll(async () => {
  stores = await storyStores();
  ledger = openLedger(stores);
  alive = await Promise.all([1, 2, 3].map(() => startCoordinator(stores.env)));
  const addresses = alive.map(({ grpc }) => grpc);
  workers = await Promise.all(
    [1, 2].map(() => startWorker(addresses, { WORKER_CONCURRENCY: "30" })),
  );
  client = storyClient(addresses);
});

type Kind = "good" | "mixed" | "cancelled";
interface Made {
  readonly kind: Kind;
  readonly id: string;
}

/** A call whose coordinator died while it acted may have acted: it is asked again. */
async function persist<T>(call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof DroverClientError) || ![4, 14].includes(error.code)) throw error;
      await systemClock.sleep(50);
    }
  }
}

async function run(kind: Kind): Promise<Made> {
  const callback = { type: "noop", tags: ["callback"] };
  const batch = await persist(() =>
    client.batches.create({
      description: kind,
      onComplete: callback,
      onSuccess: callback,
      onFailure: callback,
      failureThreshold: 3,
    }),
  );
  const tasks = Array.from({ length: tasksOfBatch }, (_, n) => taskOf(kind, n));
  const outcomes = await batch.submitMany(tasks);
  expect(outcomes.filter(({ ok }) => !ok)).toEqual([]);
  if (kind === "cancelled") await persist(() => batch.cancel({ graceMs: 2_000 }));
  else await persist(() => batch.close());
  return { kind, id: batch.id };
}

function taskOf(kind: Kind, n: number) {
  if (kind === "cancelled") return { type: "hang", payload: n };
  const fails = kind === "mixed" && n % failEvery === 0;
  if (fails) return { type: "fails", payload: { fail: "no_way" }, options: { maxRetries: 0 } };
  return { type: "sleep", payload: { ms: n % 40 } };
}

const killed = `3 coordinators killed ${rounds} times, then all at once`;
it(`each callback of a batch is made and runs once, and counts are exact: ${killed}`, async () => {
  const running: Promise<Made>[] = [];
  const again = (grpc: string) =>
    startCoordinator({ ...stores.env, GRPC_PORT: new URL(`http://${grpc}`).port });
  for (let round = 0; round < rounds; round += 1) {
    for (let n = 0; n < batchesOfRound; n += 1) {
      running.push(run((["good", "mixed", "cancelled"] as const)[n % 3]!));
    }
    await systemClock.sleep(survivedMs);
    const doomed = alive.shift()!;
    await doomed.kill();
    alive.push(await again(doomed.grpc));
  }
  const made = await Promise.all(running);
  const gone = alive.splice(0);
  await Promise.all(gone.map((each) => each.kill()));
  alive.push(...(await Promise.all(gone.map((each) => again(each.grpc)))));

  const ended = await Promise.all(made.map(({ id }) => client.batches.wait(id)));
  for (const [nth, { kind }] of made.entries()) expectEnd(kind, ended[nth]!);
  const calls = await settled(ended.map(({ id }) => id));
  await expectOnce(ended, calls);
  for (const worker of workers) await worker.stop();
  await expectNoOrphans(stores);
  for (const coordinator of alive) await coordinator.stop();
}, 600_000);

function expectEnd(kind: Kind, batch: Batch): void {
  const failed = Math.ceil(tasksOfBatch / failEvery);
  const rest = { total: tasksOfBatch, running: 0, pending: 0, retrying: 0, expired: 0 };
  const counts = {
    good: { completed: tasksOfBatch, failed: 0, cancelled: 0 },
    mixed: { completed: tasksOfBatch - failed, failed, cancelled: 0 },
    cancelled: { completed: 0, failed: 0, cancelled: tasksOfBatch },
  };
  expect(batch).toMatchObject({ status: "completed", counts: { ...rest, ...counts[kind] } });
}

interface CallRow {
  readonly id: string;
  readonly batch: string;
  readonly event: string;
  readonly ended: boolean;
}

/** Every callback there is in history, once all that are due are there and have ended. */
async function settled(ids: readonly string[]): Promise<CallRow[]> {
  const sql = `SELECT id::text, spec->'terms'->'batchCallback'->>'batchId' AS batch,
      spec->'terms'->'batchCallback'->>'event' AS event, ended_at IS NOT NULL AS ended
    FROM $.tasks WHERE spec->'terms'->'batchCallback' IS NOT NULL`;
  let rows: CallRow[] = [];
  const look = async (): Promise<boolean> => {
    rows = (await ledger.query(sql)) as unknown as CallRow[];
    const complete = rows.filter(({ event }) => event === "complete").map(({ batch }) => batch);
    return ids.every((id) => complete.includes(id)) && rows.every(({ ended }) => ended);
  };
  await until("all callbacks have run", look, 30_000, () => rows.length);
  return rows;
}

/** What rows, batches and workers say of the callbacks is one story. */
async function expectOnce(ended: readonly Batch[], calls: readonly CallRow[]): Promise<void> {
  const expected = ended.flatMap(({ id, description }) => {
    const second = { good: ["success"], mixed: ["failure"], cancelled: [] }[description as Kind];
    return ["complete", ...second].map((event) => `${id} ${event}`);
  });
  const made = calls.map(({ batch, event }) => `${batch} ${event}`);
  expect(made.toSorted()).toEqual(expected.toSorted());
  const noted = await Promise.all(ended.map(({ id }) => client.batches.get(id)));
  const named = noted.flatMap((batch) =>
    (["complete", "success", "failure"] as const).flatMap((event) => {
      const taskId = batch[`${event}TaskId`];
      return taskId === undefined ? [] : [`${batch.id} ${event} ${taskId}`];
    }),
  );
  const rows = calls.map(({ batch, event, id }) => `${batch} ${event} ${id}`);
  expect(named.toSorted()).toEqual(rows.toSorted());
  const ids = new Set(calls.map(({ id }) => id));
  const starts = workers.flatMap((worker) => worker.starts).filter(({ taskId }) => ids.has(taskId));
  expect(starts.map(({ taskId }) => taskId).toSorted()).toEqual([...ids].toSorted());
}
