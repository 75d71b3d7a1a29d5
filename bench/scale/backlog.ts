import { execFile } from "node:child_process";
import * as path from "node:path";
import { promisify } from "node:util";
import { systemClock } from "../../src/clock.js";
import { build } from "../build.js";
import { atMost, cpuSum, medianRows, rowOf, type ScaleRow, type Verdict } from "./report.js";
import type { ScaleRun } from "./scale-run.js";
import { latencyRow, type Measured, plainRow, rateRow, Stack } from "./stack.js";

const queue = "backlog";
const fillLimitMs = 1_800_000;
const run = promisify(execFile);

interface Sizes {
  /** Not counted: both coordinators are to be as warm as the one that is filled. */
  readonly warmUps: number;
  readonly rounds: number;
  readonly singles: number;
  readonly bulk: number;
  readonly cycles: number;
}

/** A stack whose queue is empty, or deep. */
class Side {
  readonly load: string;
  readonly #stack: Stack;
  /** Submitted and not yet started. */
  #waiting = 0;

  constructor(load: string, stack: Stack) {
    this.load = load;
    this.#stack = stack;
  }

  async fill(tasks: number): Promise<ScaleRow[]> {
    if (tasks === 0) return [];
    const producer = await this.#stack.load("producer");
    const bytes = await this.#stack.redisBytes();
    const rowBytes = await this.#stack.historyBytes();
    const addresses = [this.#stack.address];
    const order = { do: "bulk", addresses, queue, tasks, groups: 0 } as const;
    const filled = await this.#stack.measure(["producer"], () => producer.ask(order, fillLimitMs));
    const perTask = ((await this.#stack.redisBytes()) - bytes) / tasks;
    const rowsPerTask = ((await this.#stack.historyBytes()) - rowBytes) / tasks;
    return [
      rateRow(this.load, "filling the queue", filled),
      plainRow(this.load, "Redis for a waiting task", perTask, "bytes"),
      plainRow(this.load, "Postgres for a waiting task", rowsPerTask, "bytes"),
    ];
  }

  /** One submit after the other, then in bulk; one slot that takes task after task, then 100. */
  async round({ singles, bulk, cycles }: Sizes): Promise<ScaleRow[]> {
    const stack = this.#stack;
    const [address, addresses] = [stack.address, [stack.address]];
    const producer = await stack.load("producer");
    const worker = await stack.load("worker");
    const paced = { do: "pace", address, queue, tasks: singles, perSecond: 200 } as const;
    const submit = await stack.measure(["producer"], () => producer.ask(paced));
    const many = { do: "bulk", addresses, queue, tasks: bulk, groups: 0 } as const;
    const submitBulk = await stack.measure(["producer"], () => producer.ask(many));
    this.#waiting += singles + bulk;
    const one = await this.#work(1, cycles);
    const drain = await this.#work(100, singles + bulk - cycles - 100);
    await worker.ask({ do: "rest" });
    const { cycleP50: p50, cycleP99: p99 } = one.seen;
    return [
      latencyRow(this.load, "submit, 200/s", submit),
      rateRow(this.load, "submit in bulk", submitBulk),
      { ...latencyRow(this.load, "result to next task, one slot", one), value: p50!, p50, p99 },
      { ...rateRow(this.load, "drain, 100 slots", drain), p50: null, p99: null },
    ];
  }

  async #work(concurrency: number, starts: number): Promise<Measured> {
    const worker = await this.#stack.load("worker");
    const addresses = [this.#stack.address];
    const order = { do: "work", addresses, queue, concurrency, handlerMs: 0 } as const;
    const measured = await this.#stack.measure(["worker"], async () => {
      await worker.ask(order);
      const seen = await worker.ask({ do: "until", starts });
      this.#waiting -= (await worker.ask({ do: "rest" })).count;
      return seen;
    });
    return measured;
  }

  /** What the rounds left; of an empty queue only. */
  async empty(): Promise<void> {
    if (this.#waiting > 0) await this.#work(100, this.#waiting);
  }

  async lookedAt(): Promise<ScaleRow[]> {
    const stack = this.#stack;
    const idleMs = 3_000;
    const idle = await stack.idle([], idleMs);
    const sum = Object.values(idle).reduce((total, us) => total + us, 0);
    const scrapes = 10;
    const scrape = await timed(async () => {
      for (let n = 0; n < scrapes; n += 1) {
        const answer = await fetch(`${stack.coordinators[0]!.http}/metrics`);
        await answer.text();
      }
    });
    const main = path.join(build, "main.js");
    const env = { ...stack.env, PATH: process.env.PATH };
    // Its verdict on a machine without a deployment is not what is asked here.
    const doctor = await timed(() =>
      run(process.execPath, [main, "doctor", "--json"], { env }).catch(() => undefined),
    );
    return [
      plainRow(this.load, "left alone", sum, "us/s", idle),
      plainRow(this.load, "scrape of /metrics", scrape / scrapes, "ms"),
      plainRow(this.load, "drover doctor", doctor, "ms"),
    ];
  }
}

async function timed(what: () => Promise<unknown>): Promise<number> {
  const at = systemClock.monotonic();
  await what();
  return systemClock.monotonic() - at;
}

function verdictsOf(rows: readonly ScaleRow[], flat: string, deep: string): Verdict[] {
  const ratio = (figure: string, of: (row: ScaleRow) => number): number =>
    of(rowOf(rows, deep, figure)) / of(rowOf(rows, flat, figure));
  const median = ({ value }: ScaleRow): number => value;
  return [
    atMost("submit latency by that of an empty queue", ratio("submit, 200/s", median), 1.2),
    atMost(
      "lease latency by that of an empty queue",
      ratio("result to next task, one slot", median),
      1.2,
    ),
    atMost("CPU of a submit in bulk by an empty queue's", ratio("submit in bulk", cpuSum), 1.2),
    atMost("CPU of a drained task by an empty queue's", ratio("drain, 100 slots", cpuSum), 1.2),
    atMost(
      "Redis for a waiting task",
      rowOf(rows, deep, "Redis for a waiting task").value,
      500,
      "bytes",
    ),
  ];
}

/** Two stacks beside each other, so that both sides of each ratio are of the same minute. */
export const backlog: ScaleRun = {
  name: "backlog",
  about: "Does a long queue make submitting or leasing dearer than an empty one?",

  async run({ dir, quick, backlog: asked, say }) {
    const waiting = asked ?? (quick ? 20_000 : 1_000_000);
    const sizes: Sizes = quick
      ? { warmUps: 1, rounds: 1, singles: 200, bulk: 2_000, cycles: 100 }
      : { warmUps: 2, rounds: 4, singles: 300, bulk: 8_000, cycles: 300 };
    const [flat, deep] = ["empty", `${waiting.toLocaleString("en-US")} waiting`];
    const stacks: Stack[] = [];
    const rows: ScaleRow[] = [];
    try {
      const sides: Side[] = [];
      for (const load of [flat, deep]) {
        const stack = await Stack.start(path.join(dir, String(stacks.length)));
        stacks.push(stack);
        await stack.queue(queue);
        sides.push(new Side(load, stack));
      }
      for (let round = 0; round < sizes.warmUps; round += 1) {
        for (const side of sides) {
          await side.round(sizes);
          await side.empty();
        }
      }
      say(`backlog: filling ${deep}`);
      rows.push(...(await sides[1]!.fill(waiting)));
      for (let round = 0; round < sizes.rounds; round += 1) {
        for (const side of round % 2 === 0 ? sides : sides.toReversed()) {
          rows.push(...(await side.round(sizes)));
        }
        await sides[0]!.empty();
        say(`backlog: round ${round + 1} of ${sizes.rounds}`);
      }
      for (const side of sides) rows.push(...(await side.lookedAt()));
      await stacks[0]!.settled();
      const left = await stacks[0]!.count(queue, "ended_at IS NULL");
      if (left > 0) throw new Error(`${left} tasks never ended: the figures count for nothing`);
    } finally {
      for (const stack of stacks) await stack.stop();
    }
    const medians = medianRows(rows);
    const { rounds, singles, bulk, cycles } = sizes;
    return {
      settings: [
        "One RELAXED queue each on two stacks (Redis, Postgres, one coordinator), in turns;",
        `${rounds} rounds of ${singles} single submits at 200/s, ${bulk} in bulk, ${cycles}`,
        "leases of one slot, the rest drained by 100 slots.",
      ].join(" "),
      rows: medians,
      verdicts: verdictsOf(medians, flat, deep),
    };
  },
};
