import { beforeAll, expect, it, vi } from "vitest";
import type { Client, SubmitOptions, Task } from "../../src/client/index.js";
import {
  startCoordinator,
  startWorker,
  type CoordinatorProcess,
  type WorkerProcess,
} from "../support/processes.js";
import { storyClient, type StoryStores, storyStores, until } from "../support/story.js";

/** A sweep, and a second for a busy machine. */
const latenessMs = 2_000;

// A busy machine takes seconds to start a worker.
vi.setConfig({ testTimeout: 90_000 });

let stores: StoryStores;
let coordinators: CoordinatorProcess[];
let addresses: string[];
let worker: WorkerProcess;
let client: Client;

beforeAll(async () => {
  stores = await storyStores();
  coordinators = [await startCoordinator(stores.env), await startCoordinator(stores.env)];
  addresses = coordinators.map(({ grpc }) => grpc);
  worker = await startWorker(addresses, { WORKER_CONCURRENCY: "30" });
  client = storyClient(addresses);
}, 60_000);

const submit = async (type: string, options: SubmitOptions = {}, payload: unknown = {}) =>
  (await client.submit(type, payload, options)).id;
const ended = (id: string): Promise<Task> => client.wait(id, { timeoutMs: 30_000 });
const startOf = (id: string, by = worker) => by.started(({ taskId }) => taskId === id);

/** Each step after the one before, as far as it was taken. */
function proofOf({ status, cancellation }: Task): Record<string, unknown> {
  const { requestedAt, deliveredAt, acknowledgedAt, forcedAt, reason } = cancellation!;
  const times = [requestedAt, deliveredAt, acknowledgedAt ?? forcedAt].filter((at) => at);
  expect(times.map(Number)).toEqual(times.map(Number).toSorted((a, b) => a - b));
  return {
    status,
    reason,
    delivered: deliveredAt !== undefined,
    acknowledged: acknowledgedAt !== undefined,
    forced: forcedAt !== undefined,
  };
}

const forcedAfter = ({ cancellation }: Task): number =>
  cancellation!.forcedAt!.getTime() - cancellation!.requestedAt!.getTime();

it("never starts a queued task that was cancelled", async () => {
  const ids = [await submit("noop", { delayMs: 1_000 }), await submit("nobody")];
  for (const id of ids) await client.cancel(id, { reason: "wrong" });
  const shown = (await Promise.all(ids.map((id) => client.get(id)))).map(proofOf);
  const asked = { status: "cancelled", reason: "wrong" };
  const alone = { ...asked, delivered: false, acknowledged: false, forced: false };
  expect(shown).toEqual([alone, alone]);
  await ended(await submit("noop", { delayMs: 1_500 }));
  expect(worker.starts.filter(({ taskId }) => ids.includes(taskId))).toEqual([]);
});

it("asks a running one to stop, and notes that it did", async () => {
  const id = await submit("hang");
  await startOf(id);
  expect((await client.cancel(id, { reason: "enough" })).status).toBe("running");
  const task = await ended(id);
  expect(proofOf(task)).toEqual({
    status: "cancelled",
    reason: "enough",
    delivered: true,
    acknowledged: true,
    forced: false,
  });
  const tookMs = Number(task.completedAt) - Number(task.cancellation!.requestedAt);
  expect(tookMs).toBeLessThan(latenessMs);
});

it("revokes the lease of one that does not listen once its grace is over", async () => {
  const graceMs = 1_500;
  const id = await submit("stubborn", {}, { ms: 5_000 });
  await startOf(id);
  await client.cancel(id, { graceMs });
  const task = await ended(id);
  expect(proofOf(task)).toMatchObject({ status: "cancelled", acknowledged: false, forced: true });
  expect(forcedAfter(task)).toBeGreaterThanOrEqual(graceMs);
  expect(forcedAfter(task)).toBeLessThan(graceMs + latenessMs);
  await until("its handler ends", async () => worker.ended.has(id), 10_000);
  await ended(await submit("noop"));
  expect(await client.get(id)).toMatchObject({ status: "cancelled", version: task.version });
});

it("holds while the worker is down, and nobody else is given the task", async () => {
  const graceMs = 1_500;
  const own = { STORY_QUEUES: "down", WORKER_CONCURRENCY: "5" };
  const doomed = await startWorker(addresses, own);
  const id = await submit("hang", { queue: "down" });
  await startOf(id, doomed);
  await doomed.kill();
  expect((await client.cancel(id, { graceMs })).status).toBe("running");
  const next = await startWorker(addresses, own);
  const task = await ended(id);
  expect(proofOf(task)).toMatchObject({ status: "cancelled", acknowledged: false, forced: true });
  expect(forcedAfter(task)).toBeLessThan(graceMs + latenessMs);
  await ended(await submit("noop", { queue: "down" }));
  expect(next.starts.map(({ taskId }) => taskId)).not.toContain(id);
  await next.stop();
});

it("stops many by filter, queued and running", async () => {
  const [queued, running] = [300, 8];
  const tags = ["campaign"];
  const runners = await Promise.all(
    Array.from({ length: running }, () => submit("hang", { tags })),
  );
  await Promise.all(runners.map((id) => startOf(id)));
  const waiting = Array.from({ length: queued }, () => ({
    type: "nobody",
    payload: {},
    options: { tags },
  }));
  expect((await client.submitMany(waiting)).filter(({ ok }) => !ok)).toEqual([]);
  const done = await client.cancelMany({ tag: "campaign" }, { reason: "campaign stopped" });
  const { matched, cancelled, requested } = done;
  expect({ matched, cancelled, requested }).toEqual({
    matched: queued + running,
    cancelled: queued,
    requested: running,
  });
  for (const task of await Promise.all(runners.map(ended))) {
    expect(proofOf(task)).toMatchObject({ status: "cancelled", acknowledged: true });
    expect(task.cancellation!.reason).toBe("campaign stopped");
  }
  const again = await client.cancelMany({ tag: "campaign" });
  expect(again.matched).toBe(0);
});

/** Last: one coordinator is gone after it. */
it("is taken by another coordinator while the worker's own is down", async () => {
  const [first, second] = coordinators;
  const near = await startWorker([first!.grpc, second!.grpc], { STORY_QUEUES: "far" });
  const ids = await Promise.all([0, 1].map(() => submit("hang", { queue: "far" })));
  await Promise.all(ids.map((id) => startOf(id, near)));
  const { fields } = near.lines.all.findLast(({ message }) => message === "connected")!;
  const own = coordinators.find(({ grpc }) => grpc === fields["address"])!;
  const other = own === first ? second! : first!;
  await own.kill();
  const there = storyClient([other.grpc]);
  for (const id of ids) await there.cancel(id, { reason: "from afar" });
  for (const id of ids) {
    const task = await there.wait(id, { timeoutMs: 30_000 });
    expect(proofOf(task)).toEqual({
      status: "cancelled",
      reason: "from afar",
      delivered: true,
      acknowledged: true,
      forced: false,
    });
  }
  await Promise.all([near.stop(), worker.stop()]);
});
