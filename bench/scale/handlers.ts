import { cpus } from "node:os";
import { systemClock } from "../../src/clock.js";
import { atLeast, atMost, medianRows, rowOf, type ScaleRow } from "./report.js";
import type { ScaleRun } from "./scale-run.js";
import { latencyRow, plainRow, rateRow, Stack } from "./stack.js";

const queue = "sleepers";
const counts = [1, 2, 4, 8] as const;
const handlerMs = 10;
const slots = 16;
const singlesPerSecond = 100;
/** From here on the machine has no CPU left that a further worker could use. */
const full = 0.85;
const limitMs = 300_000;
const loadOf = (count: number): string => `${count} worker${count === 1 ? "" : "s"}`;

/** Milliseconds that all cores of this machine were busy with anything, and had in all. */
function coreTimes(): { busy: number; all: number } {
  const times = cpus().map((core) => core.times);
  const sum = (one: (typeof times)[number]): number =>
    one.user + one.nice + one.sys + one.irq + one.idle;
  const all = times.reduce((total, one) => total + sum(one), 0);
  return { busy: all - times.reduce((total, one) => total + one.idle, 0), all };
}

/** Workers whose handlers wait 10 ms: each slot can do 100 tasks a second, and no more. */
export const handlers: ScaleRun = {
  name: "handlers",
  about: "Does the rate grow with the workers until the CPU is full?",

  async run({ dir, quick, say }) {
    const rounds = quick ? 1 : 2;
    const windowMs = quick ? 1_500 : 3_000;
    const warmMs = 500;
    const ideal = (count: number): number => (count * slots * 1_000) / handlerMs;
    const stack = await Stack.start(dir);
    const rows: ScaleRow[] = [];
    let submitted = 0;
    try {
      const { address } = stack;
      await stack.queue(queue);
      const producer = await stack.load("producer");
      const submit = async (tasks: number): Promise<void> => {
        submitted += tasks;
        const order = { do: "bulk", addresses: [address], queue, tasks, groups: 0 } as const;
        await producer.ask(order, limitMs);
        await stack.settled();
      };
      const measure = async (count: number): Promise<void> => {
        const load = loadOf(count);
        const names = Array.from({ length: count }, (_, n) => `worker ${n + 1}`);
        const workers = await Promise.all(names.map((name) => stack.load(name)));
        await stack.settled();
        const waiting = await stack.count(queue, "ended_at IS NULL");
        const wanted = Math.ceil((ideal(count) * (windowMs + warmMs + 1_000)) / 1_000);
        if (wanted > waiting) await submit(wanted - waiting);
        const order = { do: "work", addresses: [address], queue, handlerMs } as const;
        await Promise.all(workers.map((worker) => worker.ask({ ...order, concurrency: slots })));
        await systemClock.sleep(warmMs);
        const singles = Math.floor((singlesPerSecond * windowMs) / 1_000);
        const paced = { do: "pace", address, queue, tasks: singles, perSecond: singlesPerSecond };
        const cpuNames = ["producer", ...names];
        const [before, cores] = [stack.cpu(cpuNames), coreTimes()];
        const at = systemClock.monotonic();
        const [calls, ...seen] = await Promise.all([
          producer.ask({ ...paced, do: "pace" }),
          ...workers.map((worker) => worker.ask({ do: "during", ms: windowMs })),
        ]);
        const seconds = (systemClock.monotonic() - at) / 1_000;
        const [after, coresAfter] = [stack.cpu(cpuNames), coreTimes()];
        submitted += singles;
        await Promise.all(workers.map((worker) => worker.ask({ do: "rest" })));
        const started = seen.reduce((sum, one) => sum + one.count, 0);
        const all = seen.map((one) => one.count / ((one.endedAt - one.startedAt) / 1e6));
        const rate = all.reduce((sum, one) => sum + one, 0);
        const workersUs = names.reduce((sum, name) => sum + after[name]! - before[name]!, 0);
        const others = ["coordinator", "redis", "postgres", "producer"].map(
          (name) => [name, (after[name]! - before[name]!) / started] as const,
        );
        const cpu_us = { ...Object.fromEntries(others), workers: workersUs / started };
        const measured = { seen: { ...seen[0]!, p50: null, p99: null }, cpu_us, seconds };
        const row = { ...rateRow(load, "10 ms handlers", measured), value: rate };
        const used = (coresAfter.busy - cores.busy) / (coresAfter.all - cores.all);
        rows.push(
          row,
          plainRow(load, `by slots / ${handlerMs} ms`, rate / ideal(count), "x"),
          plainRow(load, "CPU of the machine in use", used * 100, "%"),
          latencyRow(load, `submit, ${singlesPerSecond}/s`, {
            ...measured,
            seen: calls,
            cpu_us: {},
          }),
        );
        say(`handlers: ${load}: ${rate.toFixed(0)} tasks/s`);
      };
      for (let round = 0; round <= rounds; round += 1) {
        for (const count of counts) await measure(count);
        if (round === 0) rows.length = 0;
      }
      const drain = await stack.load("worker 1");
      await stack.settled();
      const left = await stack.count(queue, "ended_at IS NULL");
      await drain.ask({ do: "work", addresses: [address], queue, concurrency: 500, handlerMs: 0 });
      await drain.ask({ do: "until", starts: left }, limitMs);
      await drain.ask({ do: "rest" });
      await stack.verify(queue, submitted);
    } finally {
      await stack.stop();
    }
    const medians = medianRows(rows);
    const rate = (count: number): number => rowOf(medians, loadOf(count), "10 ms handlers").value;
    const isFull = (count: number): boolean =>
      rowOf(medians, loadOf(count), "CPU of the machine in use").value >= full * 100;
    const linear = counts.filter((count) => count > 1 && !isFull(count));
    const worst = Math.max(
      ...counts.map((count) => rowOf(medians, loadOf(count), `submit, ${singlesPerSecond}/s`).p99!),
    );
    return {
      settings: [
        `${slots} slots a worker, each worker a process; a window of ${windowMs / 1_000} s in`,
        `each of ${rounds} rounds, on a queue that never empties, while ${singlesPerSecond}`,
        "single submits a second come in.",
      ].join(" "),
      rows: medians,
      verdicts: [
        atLeast("one worker process", rate(1), 1_000, "tasks/s"),
        ...linear.map((count) =>
          atLeast(
            `rate of ${loadOf(count)} by as many times one`,
            rate(count) / count / rate(1),
            0.85,
          ),
        ),
        atMost("p99 of a submit meanwhile, at worst", worst, 100, "ms"),
      ],
    };
  },
};
