import { expect } from "vitest";
import type { Broker, Hint, Lease, Settlement, Transition } from "../../../src/broker/broker.js";
import { limits } from "../../../src/limits.js";
import type { Task } from "../../../src/task/task.js";
import { check, done, failed, sayUntil, type Check, type Kit } from "./kit.js";

type News = Extract<Hint, { readonly taskId: string }>;

/** What one coordinator hears of tasks, but for requests to stop one. */
class Ear {
  readonly #broker: Broker;
  readonly #heard: News[] = [];
  #fences = 0;
  #onFence: (() => void) | undefined;
  readonly stop: () => void;

  constructor(broker: Broker) {
    this.#broker = broker;
    this.stop = broker.onHint((hint) => {
      if (hint.kind === "changed" || hint.kind === "logged") this.#heard.push(hint);
      if (hint.kind === "queue" && hint.queue === `fence-${this.#fences}`) this.#onFence?.();
    });
  }

  /** What was heard since the last time. Hints of neighbours in a test come in their order. */
  async news(): Promise<News[]> {
    this.#fences += 1;
    const passed = new Promise<void>((resolve) => (this.#onFence = resolve));
    const queue = `fence-${this.#fences}`;
    await sayUntil(passed, () =>
      this.#broker.setQueue({ namespace: "default", queue, paused: false }),
    );
    return this.#heard.splice(0);
  }
}

const changed = ({ id: taskId }: Pick<Task, "id">): News => ({ kind: "changed", taskId });

/** An ear that is sure to hear. */
async function listen(kit: Kit, broker: Broker = kit.broker): Promise<Ear> {
  const ear = new Ear(broker);
  await ear.news();
  return ear;
}

const progress = { fraction: 0.5, message: "half" };

/** Another partition's first task would be watched in vain: all of these live in one. */
export const watchChecks: readonly Check[] = [
  check("B14", "says nothing of a task that nobody watches", async (kit) => {
    const ear = await listen(kit);
    const holder = await kit.session();
    await kit.submitOne();
    const lease = await kit.take(holder);
    await kit.broker.progress([{ token: lease.token, sessionId: holder.sessionId, progress }]);
    await kit.broker.announceLogs([lease.task.id]);
    await kit.recorded(await kit.end(lease, done));
    expect(await ear.news()).toEqual([]);
    ear.stop();
  }),
  check("B14", "tells every coordinator of each change of a watched task", async (kit) => {
    const ears = [await listen(kit), await listen(kit, await kit.harness.another())];
    const holder = await kit.session();
    const [task, other] = await kit.submitMany(2);
    const both = async (expected: News[]) => {
      for (const ear of ears) expect(await ear.news()).toEqual(expected);
    };
    await kit.broker.watch([task!.id]);
    const lease = await kit.take(holder);
    await both([changed(task!)]);
    await kit.broker.progress([{ token: lease.token, sessionId: holder.sessionId, progress }]);
    await both([changed(task!)]);
    await kit.broker.announceLogs([other!.id, task!.id]);
    await both([{ kind: "logged", taskId: task!.id }]);
    await kit.end(lease, failed(1_000));
    await both([changed(task!)]);
    await kit.elapse(2_000, holder);
    await both([changed(task!)]);
    expect(await kit.statusOf(task!)).toBe("pending");
    for (const ear of ears) ear.stop();
  }),
  check("B14", "tells of the end of a DURABLE task once it is recorded", async (kit) => {
    const ear = await listen(kit);
    const holder = await kit.session();
    const task = await kit.submitOne({ durability: "durable" });
    const lease = await kit.take(holder);
    await kit.broker.watch([task.id]);
    const transition = await kit.end(lease, done);
    expect(await ear.news()).toEqual([]);
    await kit.recorded(transition);
    expect(await ear.news()).toEqual([changed(task)]);
    ear.stop();
  }),
  check("B14", "tells of the end of a RELAXED task at once", async (kit) => {
    const ear = await listen(kit);
    const holder = await kit.session();
    const task = await kit.submitOne({ durability: "relaxed" });
    const lease = await kit.take(holder);
    await kit.broker.watch([task.id]);
    await kit.end(lease, done);
    expect(await ear.news()).toEqual([changed(task)]);
    ear.stop();
  }),
  check("B14", "tells so too of tasks that came, ran and end together", async (kit) => {
    for (const durability of ["relaxed", "durable"] as const) {
      const ear = await listen(kit);
      const holder = await kit.session();
      const tasks = await kit.submitMany(6, { durability });
      const leases = await kit.lease(holder, 6);
      await kit.broker.watch([tasks[1]!.id, tasks[5]!.id]);
      const told: Transition[] = [];
      const end = async (some: readonly Lease[]): Promise<void> => {
        const { sessionId } = holder;
        const items = some.map(({ token }) => ({ ...done, token, sessionId }) as Settlement);
        const replies = await kit.broker.settle(items);
        told.push(...replies.map(({ transition }) => transition!));
      };
      await end(leases.slice(0, 4));
      await end(leases.slice(5));
      const atOnce = await ear.news();
      for (const transition of told) await kit.recorded(transition);
      const both = [changed(tasks[1]!), changed(tasks[5]!)];
      expect(atOnce).toEqual(durability === "relaxed" ? both : []);
      // That history holds it now may be told of the others as well.
      if (durability === "durable") expect(await ear.news()).toEqual(both);
      ear.stop();
    }
  }),
  check(
    "B14",
    "tells that a running task was asked to stop, and of a skipped wait",
    async (kit) => {
      const ear = await listen(kit);
      const holder = await kit.session();
      const task = await kit.submitOne();
      await kit.broker.watch([task.id]);
      const lease = await kit.take(holder);
      await kit.end(lease, failed(60_000));
      await kit.broker.promoteNow(task.id);
      expect(await ear.news()).toEqual([changed(task), changed(task), changed(task)]);
      await kit.take(holder);
      await kit.cancel(task);
      expect(await ear.news()).toEqual([changed(task), changed(task)]);
      ear.stop();
    },
  ),
  check("B14", "tells that an ended task came back", async (kit) => {
    const ear = await listen(kit);
    const task = kit.task();
    await kit.broker.watch([task.id]);
    const again = Object.assign(kit.task(), { id: task.id, run: 2 });
    expect((await kit.restore(again)).kind).toBe("enqueued");
    expect(await ear.news()).toEqual([changed(task)]);
    ear.stop();
  }),
  check("B14", "forgets who does not watch any longer", async (kit) => {
    const ear = await listen(kit);
    const holder = await kit.session();
    const [task, other] = await kit.submitMany(2);
    await kit.broker.watch([task!.id]);
    await kit.harness.advance(limits.watchMs + 1_000);
    await kit.broker.watch([other!.id]);
    await kit.session({ sessionId: holder.sessionId }, 2);
    const leases = await kit.lease({ ...holder, generation: 2 }, 2);
    expect(leases).toHaveLength(2);
    expect(await ear.news()).toEqual([changed(other!)]);
    ear.stop();
  }),
];
