/** `make bench-micro`: what the broker's scripts cost, without a coordinator around them. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { pathToFileURL } from "node:url";
import { Command } from "commander";
import type { Broker, Lease, RecordedItem, Transition } from "../../src/broker/broker.js";
import type * as RedisBroker from "../../src/broker/redis/redis-broker.js";
import { systemClock, systemRandom } from "../../src/clock.js";
import type { Task } from "../../src/task/task.js";
import { createTaskFactory, laneOf, sessionInfo } from "../../test/support/task-factory.js";
import { type BenchRedis, startBenchRedis } from "../redis.js";

interface Flags {
  batches: string;
  tasks: string;
  rounds: string;
  durability: Task["durability"];
  against?: string;
}

const here = path.resolve(import.meta.dirname, "../..");
const flags = new Command("bench-micro")
  .description("CPU of Redis and of this process for each step of a task, by batch size")
  .option("--batches <sizes>", "tasks in one call", "1,10,100,500")
  .option("--tasks <n>", "tasks of a round, at most 500 calls", "10000")
  .option("--rounds <n>", "rounds; the median counts", "3")
  .option("--durability <name>", "relaxed or durable", "relaxed")
  .option("--against <dir>", "another checkout, measured in turns with this one")
  .parse()
  .opts<Flags>();

const phases = ["submit", "record", "lease", "settle", "bury", "eager"] as const;
type Phase = (typeof phases)[number];

/** Microseconds a task, but for `call`: the script's own time for a whole call. */
interface Cost {
  readonly redis: number;
  readonly script: number;
  readonly call: number;
  readonly node: number;
}

const payload = { contentType: "application/json", data: Buffer.alloc(100, 97) };
const sessionId = "0192f0c1-2345-7abc-8def-0123456789ab";
const partition = 0;

class Side {
  readonly #broker: Broker;
  readonly #redis: BenchRedis;
  readonly #task = createTaskFactory(systemRandom, () => systemClock.now()).task;

  constructor(broker: Broker, redis: BenchRedis) {
    this.#broker = broker;
    this.#redis = redis;
  }

  static async start(checkout: string, dir: string): Promise<Side> {
    const redis = await startBenchRedis(dir);
    const file = path.join(checkout, "src/broker/redis/redis-broker.ts");
    const { createRedisBroker } = (await import(pathToFileURL(file).href)) as typeof RedisBroker;
    const broker = createRedisBroker({ url: redis.url, clock: systemClock, random: systemRandom });
    await broker.start();
    await broker.open(partition, 1);
    const info = sessionInfo({ sessionId, workerId: "worker-1.example" });
    const about = { generation: 1, leaseMs: 3_600_000, heldTokens: [], partitions: [partition] };
    await broker.openSession({ sessionId, info, ...about });
    return new Side(broker, redis);
  }

  async stop(): Promise<void> {
    await this.#broker.stop();
    await this.#redis.stop();
  }

  async round(size: number, tasks: number): Promise<Map<Phase, Cost>> {
    const costs = new Map<Phase, Cost>();
    const measure = async <T, R>(phase: Phase, items: readonly T[], run: Run<T, R>) => {
      const { cost, replies } = await this.#measure(items, size, run);
      costs.set(phase, cost);
      return replies;
    };
    const made = this.#make(tasks);
    const told = await measure("submit", made, (some) => this.#submit(some));
    await measure("record", told.flat(), (some) => this.#broker.recorded(some));
    const leases = await measure("lease", made, (some) => this.#lease(some.length));
    const ended = await measure("settle", leases.flat(), (some) => this.#settle(some));
    await measure("bury", ended.flat(), (some) => this.#broker.recorded(some));
    await measure("eager", this.#make(tasks), (some) => this.#eager(some));
    return costs;
  }

  #make(tasks: number): Task[] {
    const { durability } = flags;
    return Array.from({ length: tasks }, () => this.#task({ payload, durability }));
  }

  #request(slots: number) {
    const sessions = [{ sessionId, generation: 1, slots }];
    return { partition, lanes: [laneOf(this.#task())], sessions, maxBytes: 1_048_576 };
  }

  async #submit(tasks: readonly Task[]): Promise<RecordedItem[]> {
    const items = tasks.map((task) => ({ task, origin: "submit" as const }));
    const { outcomes } = await this.#broker.enqueue(items);
    return outcomes.flatMap((outcome, n) => {
      if (outcome.kind !== "enqueued") throw new Error(`a task was ${outcome.kind}`);
      return outcome.outboxId === undefined ? [] : [itemOf({ ...outcome, task: tasks[n]! })];
    });
  }

  /** A script grants at most 200. */
  async #lease(slots: number): Promise<Lease[]> {
    const leases: Lease[] = [];
    while (leases.length < slots) {
      const reply = await this.#broker.lease(this.#request(slots - leases.length));
      if (reply.leases.length === 0) throw new Error(`no lease: ${reply.kind}`);
      leases.push(...reply.leases);
    }
    return leases;
  }

  async #settle(leases: readonly Lease[]): Promise<RecordedItem[]> {
    const result = undefined;
    const replies = await this.#broker.settle(
      leases.map(({ token }) => ({ token, sessionId, kind: "complete", result })),
    );
    return replies.map(({ verdict, transition }) => {
      if (verdict !== "accepted") throw new Error(`a result was ${verdict}`);
      return itemOf(transition!);
    });
  }

  /** From submit to tombstone, each task being leased by the call that takes it in. */
  async #eager(tasks: readonly Task[]): Promise<void> {
    const items = tasks.map((task) => ({ task, origin: "submit" as const }));
    const { leases, outcomes } = await this.#broker.enqueue(items, this.#request(tasks.length));
    const told = outcomes.flatMap((outcome, n) => {
      if (outcome.kind !== "enqueued" || outcome.outboxId === undefined) return [];
      return [itemOf({ ...outcome, task: tasks[n]! })];
    });
    const left = tasks.length - leases.length;
    const all = left > 0 ? [...leases, ...(await this.#lease(left))] : leases;
    await this.#broker.recorded([...told, ...(await this.#settle(all))]);
  }

  async #measure<T, R>(items: readonly T[], size: number, run: Run<T, R>) {
    const replies: R[] = [];
    const before = await this.#read();
    const cpu = process.cpuUsage();
    for (let at = 0; at < items.length; at += size) {
      replies.push(await run(items.slice(at, at + size)));
    }
    const { user, system } = process.cpuUsage(cpu);
    const after = await this.#read();
    const per = (us: number): number => us / items.length;
    const cost: Cost = {
      redis: per(after.cpuUs - before.cpuUs),
      script: per(after.scriptUs - before.scriptUs),
      call: (after.scriptUs - before.scriptUs) / (after.scripts - before.scripts),
      node: per(user + system),
    };
    return { cost, replies };
  }

  async #read() {
    const { connection } = this.#redis;
    const text = (await connection.info("cpu")) + (await connection.info("commandstats"));
    const find = (pattern: RegExp): number => Number(pattern.exec(text)?.[1] ?? 0);
    const seconds = find(/used_cpu_sys:([\d.]+)/) + find(/used_cpu_user:([\d.]+)/);
    return {
      cpuUs: seconds * 1e6,
      scripts: find(/cmdstat_(?:fcall|evalsha):calls=(\d+)/),
      scriptUs: find(/cmdstat_(?:fcall|evalsha):calls=\d+,usec=(\d+)/),
    };
  }
}

type Run<T, R> = (items: readonly T[]) => Promise<R>;

type Ended = Pick<Transition, "outboxId" | "outboxPlace" | "task">;

const itemOf = ({ outboxId, outboxPlace, task }: Ended): RecordedItem => ({
  partition,
  outboxId: outboxId!,
  outboxPlace,
  taskId: task.id,
  version: task.version,
});

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

function medianCost(costs: readonly Cost[]): Cost {
  const of = (name: keyof Cost): number => median(costs.map((cost) => cost[name]));
  return { redis: of("redis"), script: of("script"), call: of("call"), node: of("node") };
}

const cell = (value: number): string => value.toFixed(value < 10 ? 2 : 1).padStart(8);

function print(size: number, rounds: readonly (readonly Map<Phase, Cost>[])[]): void {
  const names = rounds[0]!.map((_, side) => (side === 0 ? "" : "   against: redis  node  ratio"));
  console.log(`\nbatch ${String(size).padEnd(6)}   redis  script    call    node${names.join("")}`);
  for (const phase of phases) {
    const [own, other] = rounds[0]!.map((_, side) =>
      medianCost(rounds.flatMap((sides) => sides[side]!.get(phase) ?? [])),
    );
    if (!own || Number.isNaN(own.redis)) continue;
    const line = `${phase.padEnd(11)}${cell(own.redis)}${cell(own.script)}${cell(own.call)}`;
    const beside = other
      ? `  ${cell(other.redis)}${cell(other.node)}  redis ${(own.redis / other.redis).toFixed(2)}` +
        `  node ${(own.node / other.node).toFixed(2)}`
      : "";
    console.log(line + cell(own.node) + beside);
  }
}

async function main(): Promise<void> {
  const dir = mkdtempSync(path.join(tmpdir(), "drover-bench-micro-"));
  const checkouts = [here, ...(flags.against ? [path.resolve(flags.against)] : [])];
  const sides: Side[] = [];
  try {
    for (const [n, checkout] of checkouts.entries()) {
      sides.push(await Side.start(checkout, path.join(dir, String(n))));
    }
    for (const side of sides) await side.round(100, 2_000);
    console.log("microseconds a task; call: of one script");
    for (const size of flags.batches.split(",").map(Number)) {
      const tasks = Math.min(Number(flags.tasks), size * 500);
      const rounds: Map<Phase, Cost>[][] = [];
      for (let n = 0; n < Number(flags.rounds); n += 1) {
        const costs: Map<Phase, Cost>[] = [];
        for (const side of sides) costs.push(await side.round(size, tasks));
        rounds.push(costs);
      }
      print(size, rounds);
    }
  } finally {
    await Promise.all(sides.map((side) => side.stop()));
    rmSync(dir, { recursive: true, force: true });
  }
}

await main();
