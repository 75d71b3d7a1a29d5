import { readFileSync } from "node:fs";
import { atMost, cpuSum, medianRows, rowOf, type ScaleRow } from "./report.js";
import type { ScaleRun } from "./scale-run.js";
import { latencyRow, plainRow, rateRow, Stack } from "./stack.js";

const queue = "streams";
const few = 10;
const limitMs = 300_000;

function ownBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)![1]) * 1_024;
}

/** The guard of a coordinator is a shell; the coordinator is its child. */
function residentBytesOf(pid: number): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
  const all = [pid, ...children.filter(Boolean).map(Number)];
  return Math.max(...all.map(ownBytes));
}

/** Sessions in a process of their own, which speaks the protocol and does nothing else. */
export const streams: ScaleRun = {
  name: "streams",
  about: "What do 1,000 connected worker processes cost a coordinator?",

  async run({ dir, quick, say }) {
    const many = quick ? 200 : 1_000;
    const rounds = quick ? 1 : 2;
    const tasks = quick ? 2_000 : 10_000;
    const idleMs = quick ? 3_000 : 6_000;
    const loadOf = (count: number): string => `${count.toLocaleString("en-US")} streams`;
    const stack = await Stack.start(dir);
    const rows: ScaleRow[] = [];
    let done = 0;
    try {
      const { address, coordinators } = stack;
      await stack.queue(queue);
      const producer = await stack.load("producer");
      const worker = await stack.load("workers");
      const both = ["producer", "workers"];
      const bulk = { do: "bulk", addresses: [address], queue, tasks, groups: 0 } as const;
      const paced = { do: "pace", address, queue, tasks: 600, perSecond: 200 } as const;
      const connect = async (count: number): Promise<void> => {
        const connections = Math.ceil(count / 100);
        const slots = Math.max(2, 1_000 / count);
        const order = { do: "streams", address, queue, streams: count, connections } as const;
        await worker.ask({ ...order, slots }, limitMs);
      };
      const figures = async (count: number): Promise<void> => {
        const load = loadOf(count);
        const before = residentBytesOf(coordinators[0]!.pid);
        await connect(count);
        const idle = await stack.idle([], idleMs);
        const sum = Object.values(idle).reduce((total, us) => total + us, 0);
        rows.push(plainRow(load, "connected and idle", sum, "us/s", idle));
        const grown = (residentBytesOf(coordinators[0]!.pid) - before) / count / 1_024;
        if (count === many) rows.push(plainRow(load, "memory for a stream", grown, "KiB"));
        const rate = await stack.measure(both, async () => {
          const [seen, submitted] = await Promise.all([
            worker.ask({ do: "until", starts: tasks }, limitMs),
            producer.ask(bulk),
          ]);
          return { ...seen, startedAt: submitted.startedAt };
        });
        rows.push({ ...rateRow(load, "end to end in bulk", rate), p50: null, p99: null });
        await worker.ask({ do: "rest" });
        await connect(count);
        const slow = await stack.measure(both, async () => {
          const [seen] = await Promise.all([
            worker.ask({ do: "until", starts: paced.tasks }),
            producer.ask(paced),
          ]);
          return seen;
        });
        rows.push(latencyRow(load, "submit to start, 200/s", slow));
        done += tasks + paced.tasks;
        await worker.ask({ do: "rest" });
        say(`streams: ${load}`);
      };
      await connect(few);
      await Promise.all([worker.ask({ do: "until", starts: tasks }), producer.ask(bulk)]);
      await worker.ask({ do: "rest" });
      done += tasks;
      for (let round = 0; round < rounds; round += 1) {
        for (const count of [few, many]) await figures(count);
      }
      await stack.verify(queue, done);
    } finally {
      await stack.stop();
    }
    const medians = medianRows(rows);
    const [flat, wide] = [loadOf(few), loadOf(many)];
    const ratio = (figure: string, of: (row: ScaleRow) => number): number =>
      of(rowOf(medians, wide, figure)) / of(rowOf(medians, flat, figure));
    const idle = rowOf(medians, wide, "connected and idle").cpu_us;
    return {
      settings: [
        `${few} and ${many} sessions in turns, ${rounds} rounds: ${idleMs / 1_000} s idle with`,
        `a heartbeat every 5 s each, ${tasks} tasks in bulk over 1,000 slots in all (at least 2`,
        "a stream), 600 tasks at 200/s.",
      ].join(" "),
      rows: medians,
      verdicts: [
        atMost(
          "CPU of a task end to end, by few streams",
          ratio("end to end in bulk", cpuSum),
          1.5,
        ),
        atMost(
          `idle CPU of the coordinator with ${many} streams`,
          idle.coordinator! / 1e4,
          15,
          "% of a core",
        ),
      ],
    };
  },
};
