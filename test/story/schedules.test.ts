import { expect, it } from "vitest";
import { systemClock } from "../../src/clock.js";
import { startCoordinator, startWorker } from "../support/processes.js";
import {
  drained,
  expectNoOrphans,
  invalidUnless,
  openLedger,
  soak,
  storyClient,
  storyStores,
} from "../support/story.js";

const rounds = soak ? 30 : 3;
const everyMs = 1_000;
const schedules = ["a", "b", "c", "d"];
const survivedMs = 1_500;
const nobodyMs = soak ? 5_000 : 1_500;

interface TickRow {
  readonly schedule: string;
  readonly tick_at: number;
  readonly task_id: string;
  readonly recorded_at: number;
}

const killed = `3 coordinators killed ${rounds} times`;
const title = `P11: each tick has one task and none is missed, ${killed}`;
it(
  title,
  async () => {
    const stores = await storyStores();
    const alive = await Promise.all([1, 2, 3].map(() => startCoordinator(stores.env)));
    const addresses = alive.map(({ grpc }) => grpc);
    const worker = await startWorker(addresses, { WORKER_CONCURRENCY: "20" });
    const client = storyClient(addresses);
    const again = (grpc: string) =>
      startCoordinator({ ...stores.env, GRPC_PORT: new URL(`http://${grpc}`).port });
    for (const name of schedules) {
      const task = { type: "noop", payload: { name } };
      await client.schedules.create({ name, everyMs, overlapPolicy: "allow_all", task });
    }

    for (let round = 0; round < rounds; round += 1) {
      await systemClock.sleep(survivedMs);
      const doomed = alive.shift()!;
      await doomed.kill();
      alive.push(await again(doomed.grpc));
    }
    // All of them at once: what comes due meanwhile is caught up with.
    const gone = alive.splice(0);
    await Promise.all(gone.map((each) => each.kill()));
    await systemClock.sleep(nobodyMs);
    alive.push(...(await Promise.all(gone.map((each) => again(each.grpc)))));
    await systemClock.sleep(survivedMs);
    for (const name of schedules) await client.schedules.pause(name);

    const ledger = openLedger(stores);
    const ticks = (await ledger.query(
      "SELECT schedule, tick_at, task_id, recorded_at FROM $.schedule_ticks ORDER BY tick_at",
    )) as unknown as TickRow[];
    const expected = rounds * survivedMs + nobodyMs;
    invalidUnless(ticks.length >= schedules.length * (expected / everyMs), `${ticks.length} ticks`);
    await drained(ledger, ticks.length, 20_000);
    await worker.stop();

    const tasks = (await ledger.query(
      "SELECT id, schedule, status, (spec->'terms'->>'scheduledFor')::bigint AS at FROM $.tasks",
    )) as unknown as { id: string; schedule: string; status: string; at: string | number }[];
    const made = tasks.map(({ id, schedule, at }) => `${schedule} ${Number(at)} ${id}`);
    const taken = ticks.map((tick) => `${tick.schedule} ${Number(tick.tick_at)} ${tick.task_id}`);
    expect(made.toSorted()).toEqual(taken.toSorted());
    expect(new Set(tasks.map(({ status }) => status))).toEqual(new Set(["completed"]));
    for (const name of schedules) {
      const times = ticks.filter((tick) => tick.schedule === name).map((tick) => +tick.tick_at);
      const whole = times.map((_, nth) => times[0]! + nth * everyMs);
      expect(times).toEqual(whole);
    }
    const stood = await client.schedules.get("a");
    expect(stood).toMatchObject({ ticksMissed: 0, ticksRefused: 0, ticksSkipped: 0 });
    await Promise.all(alive.map((each) => each.stop()));
    await expectNoOrphans(stores);
  },
  600_000,
);
