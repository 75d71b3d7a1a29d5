import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import type { TaskEvent } from "../../src/client/index.js";
import { startCoordinator, startWorker } from "../support/processes.js";
import { monitorRedis, type RedisMonitor } from "../support/redis-monitor.js";
import { ownRedis } from "../support/stores.js";
import { newsBy, soak, storyClient, storyStores, until } from "../support/story.js";

const watches = soak ? 4_000 : 2_000;
const waits = watches / 5;
const unwatched = 10;
/** A connection carries 1,000 streams. */
const watchesEach = 800;
/** Of the coordinator's process, with all that a stream of gRPC holds; measured: 42 KiB. */
const mostKiBEach = 128;

/** The one that is there most often. */
function usual(all: readonly string[]): string | undefined {
  const counts = new Map<string, number>();
  for (const one of all) counts.set(one, (counts.get(one) ?? 0) + 1);
  return [...counts].toSorted(([, a], [, b]) => b - a)[0]?.[0];
}

/** What Redis does for a task that nobody watches: the commands of each of its scripts. */
async function costOf(
  monitor: RedisMonitor,
  submit: () => Promise<unknown>,
): Promise<Record<string, string | undefined>> {
  const from = monitor.calls.length;
  for (let n = 0; n < unwatched; n += 1) {
    const recorded = monitor.count("recorded");
    await submit();
    await until("it is recorded", async () => monitor.count("recorded") > recorded, 60_000);
  }
  const calls = monitor.calls.slice(from);
  const shapes = ["enqueue", "settle", "recorded"].map((name) => {
    const own = calls.filter(({ script }) => script === name);
    return [name, usual(own.map(({ commands }) => commands.join(" ")))] as const;
  });
  return Object.fromEntries(shapes);
}

/**
 * Scripts after which a task is shown otherwise; the end of a DURABLE one is once it is recorded.
 */
const shows = new Set(["enqueue", "recorded"]);

/** With anybody watching anything, these look once who watches their tasks; else not at all. */
const withLook = (cost: Record<string, string | undefined>) =>
  Object.fromEntries(
    Object.entries(cost).map(([name, shape]) => [
      name,
      shows.has(name) ? `${shape} EXISTS ZMSCORE` : shape,
    ]),
  );

const residentKiB = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]);

it(`${watches} watches cost other tasks one look a script, and all hear the end`, async () => {
  const stores = await storyStores({ redis: await ownRedis() });
  const coordinator = await startCoordinator(stores.env);
  await startWorker([coordinator.grpc], { STORY_QUEUES: "default,held", WORKER_CONCURRENCY: "50" });
  const client = storyClient([coordinator.grpc]);
  await client.queues.update("held", { paused: true });
  const task = { type: "noop", payload: {}, options: { queue: "held" } };
  const outcomes = await client.submitMany(Array.from({ length: watches + waits }, () => task));
  const held = outcomes.map((outcome) => (outcome.ok ? outcome.id : ""));

  const monitor = await monitorRedis(stores.redisUrl);
  const submit = () => client.submit("noop", {});
  await costOf(monitor, submit);
  const alone = await costOf(monitor, submit);
  const idleKiB = residentKiB(coordinator.pid);

  const watchers = Array.from({ length: Math.ceil(watches / watchesEach) }, () =>
    storyClient([coordinator.grpc]),
  );
  const begun = new Set<string>();
  const watching = held.slice(0, watches).map(async (id, nth) => {
    const statuses: string[] = [];
    const note = (event: TaskEvent) => event.type === "status" && statuses.push(event.status);
    for await (const event of watchers[nth % watchers.length]!.watch(id)) {
      note(event);
      begun.add(id);
    }
    return statuses;
  });
  const waiter = storyClient([coordinator.grpc]);
  const waiting = held.slice(watches).map((id) => waiter.wait(id));
  const count = () => begun.size;
  await until("all watches begin", async () => count() === watches, 120_000, count);

  // Nothing of all this is in the way of a task that nobody looks at.
  expect(await costOf(monitor, submit)).toEqual(withLook(alone));
  monitor.stop();
  const each = (residentKiB(coordinator.pid) - idleKiB) / (watches + waits);
  expect(each).toBeLessThan(mostKiBEach);

  // In a quiet moment waits are answered by what is announced, not by looking again.
  const before = await newsBy(coordinator.http);
  for (let n = 0; n < 10; n += 1) {
    const { id } = await client.submit("sleep", { ms: 200 });
    expect((await client.wait(id)).status).toBe("completed");
  }
  const after = await newsBy(coordinator.http);
  expect(after.sweep).toBe(before.sweep);
  expect(after.hint - before.hint).toBeGreaterThanOrEqual(8);

  await client.queues.update("held", { paused: false });
  for (const statuses of await Promise.all(watching)) {
    expect([statuses[0], statuses.at(-1)]).toEqual(["pending", "completed"]);
    expect(statuses.filter((status) => status === "completed")).toHaveLength(1);
  }
  for (const { status } of await Promise.all(waiting)) expect(status).toBe("completed");
  const news = await newsBy(coordinator.http);
  expect(news.sweep).toBeLessThan(news.hint / 5);
}, 300_000);
