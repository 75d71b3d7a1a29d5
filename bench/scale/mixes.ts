import type { Mix } from "./orders.js";
import { atMost, cpuSum, medianRows, rowOf, type ScaleRow } from "./report.js";
import type { ScaleRun } from "./scale-run.js";
import { type Measured, rateRow, Stack } from "./stack.js";

const figure = "submit in bulk to last ack";
const limitMs = 120_000;
const alike = "all alike";
const loads: Readonly<Record<string, Mix>> = {
  [alike]: { types: 1, own: "nothing" },
  "4 types in turns": { types: 4, own: "nothing" },
  "16 types in turns": { types: 16, own: "nothing" },
  "own retries and timeout": { types: 1, own: "options" },
  "a trace for each": { types: 1, own: "trace" },
};
/** By so much more CPU than a task among others that are all alike, at most. */
const bounds: Readonly<Record<string, number>> = {
  "4 types in turns": 1.5,
  "16 types in turns": 2.5,
  "own retries and timeout": 1.25,
  "a trace for each": 2,
};

/** What an application submits is seldom as alike as what a benchmark does. */
export const mixes: ScaleRun = {
  name: "mixes",
  about: "What do tasks cost that are not all alike?",

  async run({ dir, quick, say }) {
    const tasks = quick ? 2_000 : 20_000;
    const rounds = quick ? 1 : 5;
    const queue = "mixed";
    const stack = await Stack.start(dir);
    const rows: ScaleRow[] = [];
    try {
      const addresses = [stack.address];
      await stack.queue(queue);
      const producer = await stack.load("producer");
      const worker = await stack.load("worker");
      const endToEnd = async (mix: Mix): Promise<Measured> => {
        const work = { do: "work", addresses, queue, concurrency: 100, handlerMs: 0 } as const;
        await worker.ask({ ...work, types: mix.types });
        const order = { do: "bulk", addresses, queue, tasks, groups: 0, mix } as const;
        const measured = await stack.measure(["producer", "worker"], async () => {
          const [submitted, seen] = await Promise.all([
            producer.ask(order, limitMs),
            worker.ask({ do: "until", starts: tasks }, limitMs),
          ]);
          return { ...seen, startedAt: submitted.startedAt };
        });
        await worker.ask({ do: "rest" });
        return measured;
      };
      // The first round shows the code to the compilers.
      for (let round = 0; round <= rounds; round += 1) {
        for (const [load, mix] of Object.entries(loads)) {
          const row = rateRow(load, figure, await endToEnd(mix));
          if (round > 0) rows.push(row);
        }
        say(`mixes: round ${round} of ${rounds}`);
      }
      await stack.verify(queue, tasks * (rounds + 1) * Object.keys(loads).length);
    } finally {
      await stack.stop();
    }
    const medians = medianRows(rows);
    const base = cpuSum(rowOf(medians, alike, figure));
    return {
      settings: [
        `${tasks.toLocaleString("en-US")} RELAXED tasks, in batches of 500, 4 under way, and a`,
        `worker with 100 slots; ${rounds} rounds, in turns.`,
      ].join(" "),
      rows: medians,
      verdicts: Object.entries(bounds).map(([load, most]) => {
        const ratio = cpuSum(rowOf(medians, load, figure)) / base;
        return atMost(`CPU of a task, ${load}, by one of ${alike}`, ratio, most);
      }),
    };
  },
};
