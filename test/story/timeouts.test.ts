import { beforeAll, expect, it } from "vitest";
import type { Client, SubmitOptions, Task } from "../../src/client/index.js";
import {
  startCoordinator,
  startWorker,
  type CoordinatorProcess,
  type WorkerProcess,
} from "../support/processes.js";
import {
  invalidUnless,
  sessionsOf,
  storyClient,
  type StoryStores,
  storyStores,
  timingOut,
  until,
} from "../support/story.js";

/** P9. */
const latenessMs = 2_000;

let stores: StoryStores;
let coordinators: CoordinatorProcess[];
let worker: WorkerProcess;
let client: Client;

beforeAll(async () => {
  stores = await storyStores();
  coordinators = [await startCoordinator(stores.env), await startCoordinator(stores.env)];
  const addresses = coordinators.map(({ grpc }) => grpc);
  worker = await startWorker(addresses, { WORKER_CONCURRENCY: "20" });
  client = storyClient(addresses);
  await timingOut(stores);
}, 60_000);

const submit = async (type: string, options: SubmitOptions, payload: unknown = {}) =>
  (await client.submit(type, payload, options)).id;
const ended = (id: string): Promise<Task> => client.wait(id, { timeoutMs: 30_000 });
const from = (ms: number) => new Date(Date.now() + ms);

/** The task ended after this time, and not much after it. */
function expectInTime({ completedAt }: Task, dueAt: number | Date): void {
  const lateMs = completedAt!.getTime() - Number(dueAt);
  expect(lateMs).toBeGreaterThanOrEqual(0);
  expect(lateMs).toBeLessThan(latenessMs);
}

/** Every attempt ended this long after its start, and not much later. */
async function expectAttempts(id: string, count: number, code: string, ms: number) {
  const attempts = await client.attempts(id);
  expect(attempts.map(({ error }) => error?.code)).toEqual(Array(count).fill(code));
  for (const { startedAt, endedAt } of attempts) {
    const lateMs = endedAt!.getTime() - startedAt!.getTime() - ms;
    expect(lateMs).toBeGreaterThanOrEqual(0);
    expect(lateMs).toBeLessThan(latenessMs);
  }
}

it(
  "ends in time whatever is over, though its coordinator dies and workers do not listen",
  {
    timeout: 90_000,
  },
  async () => {
    const once = { maxRetries: 0 };
    const again = { maxRetries: 1, retryPolicy: { initialBackoffMs: 10, jitter: 0 } };
    const [expireAt, deadline] = [from(9_000), from(10_000)];
    const ids = {
      timeout: await submit("hang", { ...once, attemptTimeoutMs: 3_000 }),
      deaf: await submit("stubborn", { ...once, attemptTimeoutMs: 3_000 }, { ms: 10_000 }),
      silent: await submit("hang", { ...again, heartbeatTimeoutMs: 2_000 }),
      // Each attempt takes longer than that, and its new stream up to 3 s (P14).
      heard: await submit(
        "tell",
        { ...again, heartbeatTimeoutMs: 5_000 },
        { ms: 12_000, steps: 24 },
      ),
      unwanted: await submit("nobody", { expireAt }),
      begun: await submit("sleep", { expireAt }, { ms: 10_000 }),
      waiting: await submit("nobody", { deadline }),
      running: await submit("hang", { deadline }),
      parent: await submit("follow", { deadline }),
    };
    await Promise.all(
      [ids.timeout, ids.deaf, ids.silent, ids.heard, ids.begun, ids.running, ids.parent].map((id) =>
        worker.started(({ taskId }) => taskId === id),
      ),
    );
    const doomed = coordinators.find((one) => sessionsOf(one).size > 0)!;
    await doomed.kill();
    invalidUnless(Date.now() < Number(expireAt), "the coordinator was killed too late");

    for (const [id, ms] of [
      [ids.timeout, 3_000],
      [ids.deaf, 3_000],
    ] as const) {
      expect(await ended(id)).toMatchObject({ status: "failed", error: { code: "timeout" } });
      await expectAttempts(id, 1, "timeout", ms);
    }
    expect(await ended(ids.silent)).toMatchObject({ status: "failed" });
    await expectAttempts(ids.silent, 2, "heartbeat_timeout", 2_000);
    expect(await ended(ids.heard)).toMatchObject({ status: "completed", attempt: 2 });

    const unwanted = await ended(ids.unwanted);
    expect(unwanted).toMatchObject({ status: "expired", error: { code: "expired" }, attempt: 0 });
    expectInTime(unwanted, expireAt);
    // Once started, it is no longer bound by its expire_at.
    expect(await ended(ids.begun)).toMatchObject({ status: "completed", attempt: 1 });
    const waiting = await ended(ids.waiting);
    expect(waiting).toMatchObject({ status: "expired", error: { code: "deadline" } });
    expectInTime(waiting, deadline);
    const running = await ended(ids.running);
    expect(running).toMatchObject({ status: "failed", error: { code: "deadline" } });
    expectInTime(running, deadline);

    const parent = await ended(ids.parent);
    expect(parent.status).toBe("completed");
    const follower = await ended(parent.result as string);
    expect(follower).toMatchObject({ status: "failed", error: { code: "deadline" } });
    expect(follower.deadline).toEqual(parent.deadline);
    expectInTime(follower, deadline);

    // Of the deaf one the coordinator alone has said so. What it still sends is refused: the task
    // stays as it ended.
    await until("the deaf handler ends", async () => worker.ended.has(ids.deaf), 20_000);
    await client.wait(await submit("noop", {}));
    expect(await client.get(ids.deaf)).toMatchObject({ status: "failed", attempt: 1 });
    expect(await client.attempts(ids.deaf)).toMatchObject([{ outcome: "timeout" }]);
    await worker.stop();
  },
);
