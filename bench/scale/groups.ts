import { atMost, cpuSum, medianRows, rowOf, type ScaleRow } from "./report.js";
import type { ScaleRun } from "./scale-run.js";
import { type Measured, plainRow, rateRow, Stack } from "./stack.js";

const sides = ["no group", "groups"] as const;
type SideName = (typeof sides)[number];
const queueOf = (side: SideName): string => side.replace(" ", "-");
const limitMs = 600_000;
const hog = "hog";

/** A group for every task: the worst that fairness can be asked. */
export const groups: ScaleRun = {
  name: "groups",
  about: "What do 100,000 groups cost, and does each get its turn?",

  async run({ dir, quick, say }) {
    const count = quick ? 5_000 : 100_000;
    const rounds = quick ? 2 : 5;
    const hogTasks = count / 20;
    const name = `${count.toLocaleString("en-US")} groups`;
    const loadOf = (side: SideName): string => (side === "groups" ? name : side);
    const stack = await Stack.start(dir);
    const rows: ScaleRow[] = [];
    let before = 0;
    try {
      const addresses = [stack.address];
      const producer = await stack.load("producer");
      const worker = await stack.load("worker");
      const submit = (side: SideName, tasks: number, group?: string): Promise<Measured> => {
        const keys = side === "groups" ? count : 0;
        const own = group === undefined ? {} : { group };
        const order = { do: "bulk", addresses, queue: queueOf(side), tasks, groups: keys } as const;
        return stack.measure(["producer"], () => producer.ask({ ...order, ...own }, limitMs));
      };
      const drain = (side: SideName, starts: number, group?: string): Promise<Measured> => {
        const told = group === undefined ? {} : { group };
        const queue = queueOf(side);
        const order = { do: "work", addresses, queue, concurrency: 100, handlerMs: 0 } as const;
        return stack.measure(["worker"], async () => {
          await worker.ask({ ...order, ...told });
          const seen = await worker.ask({ do: "until", starts }, limitMs);
          await worker.ask({ do: "rest" });
          return seen;
        });
      };
      for (const side of sides) {
        await stack.queue(queueOf(side));
        await submit(side, 2_000);
        await drain(side, 2_000);
      }
      const share = count / rounds;
      const bytes = { "no group": 0, groups: 0 };
      for (let round = 0; round < rounds; round += 1) {
        for (const side of sides) {
          const had = await stack.redisBytes();
          rows.push(rateRow(loadOf(side), "submit in bulk", await submit(side, share)));
          bytes[side] += (await stack.redisBytes()) - had;
        }
      }
      say(`groups: ${name} wait`);
      for (const side of sides) {
        const perTask = bytes[side] / count;
        rows.push(plainRow(loadOf(side), "Redis for a waiting task", perTask, "bytes"));
      }
      for (let round = 0; round < rounds; round += 1) {
        for (const side of sides) {
          // The workers stop between rounds and may have taken more: the last round takes the rest.
          const left = await stack.count(queueOf(side), "ended_at IS NULL");
          const starts = round < rounds - 1 ? Math.min(share, left) : left;
          rows.push({ ...rateRow(loadOf(side), "drain", await drain(side, starts)), p50: null });
        }
      }
      await submit("groups", hogTasks, hog);
      await submit("groups", count);
      const fair = await drain("groups", count + hogTasks, hog);
      before = fair.seen.groupStarts;
      rows.push(plainRow(name, `of a group of ${hogTasks} before the last other`, before, "tasks"));
      await stack.verify(queueOf("no group"), 2_000 + count);
      await stack.verify(queueOf("groups"), 2_000 + 2 * count + hogTasks);
    } finally {
      await stack.stop();
    }
    const medians = medianRows(rows).map((row) => ({ ...row, p50: null, p99: null }));
    const ratio = (figure: string): number =>
      cpuSum(rowOf(medians, name, figure)) / cpuSum(rowOf(medians, "no group", figure));
    return {
      settings: [
        `One task in each of ${name}, beside as many tasks of a queue without groups, in turns`,
        `over ${rounds} rounds; then a group of ${hogTasks} tasks that were there before one`,
        "task of each other group.",
      ].join(" "),
      rows: medians,
      verdicts: [
        atMost("CPU of a submit with a group by one without", ratio("submit in bulk"), 1.5),
        atMost("CPU of a drained task with a group by one without", ratio("drain"), 1.5),
        atMost("tasks of the large group before the last of the others", before, 200, "tasks"),
      ],
    };
  },
};
