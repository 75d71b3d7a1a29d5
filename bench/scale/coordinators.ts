import { atLeast, atMost, cpuSum, medianRows, rowOf, type ScaleRow } from "./report.js";
import type { ScaleRun } from "./scale-run.js";
import { plainRow, rateRow, Stack } from "./stack.js";

const queue = "shared";
const counts = [1, 2, 4] as const;
const most = 4;
const limitMs = 300_000;
const loadOf = (count: number): string => `${count} coordinator${count === 1 ? "" : "s"}`;

/**
 * All four run throughout; work comes to the first so many. Warm ones only, each by as many tasks
 * as a lone one gets in a round: a process that has seen but a few thousand spends more on its
 * compiler, and on code that is not optimized yet, than on what is asked here.
 */
export const coordinators: ScaleRun = {
  name: "coordinators",
  about: "Do coordinators share the work of one store, at the same cost a task?",

  async run({ dir, quick, say }) {
    const rounds = quick ? 1 : 3;
    const tasks = quick ? 4_000 : 20_000;
    const stack = await Stack.start(dir, most);
    const rows: ScaleRow[] = [];
    let done = 0;
    try {
      await stack.queue(queue);
      const producer = await stack.load("producer");
      const worker = await stack.load("worker");
      const measure = async (count: number): Promise<ScaleRow[]> => {
        const addresses = Array.from(
          { length: most },
          (_, n) => stack.coordinators[n % count]!.address,
        );
        const order = { do: "work", addresses, queue, concurrency: 25, handlerMs: 0 } as const;
        await worker.ask(order);
        const bulk = { do: "bulk", addresses, queue, tasks, groups: 0 } as const;
        const measured = await stack.measure(["producer", "worker"], async () => {
          const [seen, submitted] = await Promise.all([
            worker.ask({ do: "until", starts: tasks }, limitMs),
            producer.ask(bulk),
          ]);
          return { ...seen, startedAt: submitted.startedAt };
        });
        await worker.ask({ do: "rest" });
        done += tasks;
        const shares = Array.from({ length: count }, (_, of) =>
          measured.seen.byWorker.reduce((sum, n, at) => sum + (at % count === of ? n : 0), 0),
        );
        const least = (Math.min(...shares) * count) / tasks;
        return [
          { ...rateRow(loadOf(count), "end to end in bulk", measured), p50: null, p99: null },
          plainRow(loadOf(count), "least share of a coordinator, by an equal one", least, "x"),
        ];
      };
      for (let round = 0; round < most; round += 1) await measure(most);
      await measure(1);
      for (let round = 0; round < rounds; round += 1) {
        const turn = round % 2 === 0 ? counts : counts.toReversed();
        for (const count of turn) rows.push(...(await measure(count)));
        say(`coordinators: round ${round + 1} of ${rounds}`);
      }
      await stack.verify(queue, done);
    } finally {
      await stack.stop();
    }
    const medians = medianRows(rows);
    const cpu = (count: number): number =>
      cpuSum(rowOf(medians, loadOf(count), "end to end in bulk"));
    const share = (count: number): number =>
      rowOf(medians, loadOf(count), "least share of a coordinator, by an equal one").value;
    const wider = counts.filter((count) => count > 1);
    return {
      settings: [
        `${tasks} tasks in each of ${rounds} rounds, in turns; always one producer process and`,
        "four workers of 25 slots in one process, spread over the coordinators, each of which has",
        `had about ${tasks} tasks before. On so few cores the rate cannot grow; that the cost`,
        "does not is what is asked.",
      ].join(" "),
      rows: medians,
      verdicts: [
        ...wider.map((count) =>
          atMost(`CPU of a task on ${loadOf(count)} by one`, cpu(count) / cpu(1), 1.3),
        ),
        ...wider.map((count) =>
          atLeast(`least share of ${loadOf(count)} by an equal one`, share(count), 0.5),
        ),
      ],
    };
  },
};
