import { atLeast, medianRows, rowOf, type ScaleRow } from "./report.js";
import type { ScaleRun } from "./scale-run.js";
import { plainRow, rateRow, Stack } from "./stack.js";

const durabilities = ["relaxed", "durable"] as const;
const aim = 6_000;

/** Every call is one HTTP/2 request of its own: what a client without the SDK costs. */
export const unary: ScaleRun = {
  name: "unary",
  about: "How many unary SubmitTask calls does one coordinator process take?",

  async run({ dir, quick, say }) {
    const calls = quick ? 4_000 : 12_000;
    const rounds = quick ? 1 : 3;
    const [connections, inFlight] = [4, 32];
    const stack = await Stack.start(dir);
    const rows: ScaleRow[] = [];
    try {
      const { address } = stack;
      const load = await stack.load("callers");
      for (const durability of durabilities) await stack.queue(durability, durability);
      const warm = quick ? 2_000 : 8_000;
      for (let round = 0; round <= rounds; round += 1) {
        for (const queue of durabilities) {
          const count = round === 0 ? warm : calls;
          const order = { do: "unary", address, queue, calls: count, connections } as const;
          const measured = await stack.measure(["callers"], () => load.ask({ ...order, inFlight }));
          if (round === 0) continue;
          const row = rateRow(queue, "SubmitTask", measured);
          rows.push({ ...row, unit: "calls/s" });
          say(`unary ${queue}: ${row.value.toFixed(0)} calls/s`);
        }
      }
      for (const queue of durabilities) {
        const stood = await stack.count(queue);
        const made = warm + rounds * calls;
        if (stood !== made) throw new Error(`${queue}: ${stood} tasks stand of ${made} calls`);
      }
    } finally {
      await stack.stop();
    }
    const medians = medianRows(rows);
    const ofACore = durabilities.map((load) => {
      const { cpu_us } = rowOf(medians, load, "SubmitTask");
      return plainRow(load, "a core of its own would take", 1e6 / cpu_us.coordinator!, "calls/s");
    });
    return {
      settings: [
        `${calls} calls in each of ${rounds} rounds, ${connections} connections, ${inFlight}`,
        "calls in flight on each; the callers write HTTP/2 frames by hand.",
      ].join(" "),
      rows: [...medians, ...ofACore],
      verdicts: ofACore.map(({ load, value }) =>
        atLeast(`unary SubmitTask at the server, ${load}`, value, aim, "calls/s"),
      ),
    };
  },
};
