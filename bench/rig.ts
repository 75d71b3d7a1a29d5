import * as path from "node:path";
import { type Child as AnyChild, startChild } from "./child.js";
import { cpuOf } from "./cpu.js";
import { startForeign } from "./foreign.js";
import type { Answer, Command, Timing } from "./protocol.js";
import type { Figure, Sample } from "./summary.js";
import type { Durability, Servers, System } from "./systems/system.js";

/** What every system is measured with alike. */
export interface Load {
  /** Tasks of a throughput figure. */
  readonly tasks: number;
  /** Single submits that wait for their ack at once. */
  readonly singlesInFlight: number;
  readonly batch: number;
  readonly batchesInFlight: number;
  /** Tasks that the worker's process runs at once. */
  readonly concurrency: number;
  readonly perSecond: number;
  readonly latencySeconds: number;
}

/** A system that runs: its servers, a producer's and a worker's process. */
export interface Rig {
  readonly system: System;
  readonly versions: Readonly<Record<string, string>>;
  measure(figure: Figure, durability: Durability, load: Load, round: number): Promise<Sample[]>;
  /** Throws unless every task ever submitted has ended as it should. */
  verify(): Promise<void>;
  stop(): Promise<void>;
}

export interface RigOptions {
  readonly dir: string;
  readonly profile: string | undefined;
}

type Child = AnyChild<Command, Answer>;

export async function startRig(system: System, { dir, profile }: RigOptions): Promise<Rig> {
  const program = "program" in system ? system.program() : undefined;
  const servers = await system.serve({ dir: path.join(dir, system.name), profile });
  const children: Child[] = [];
  try {
    for (let n = 0; n < 2; n += 1) {
      const { env } = servers;
      const own = { program: "peer.ts", args: [system.name], env, profile };
      children.push(await (program ? startForeign(program, env) : startChild(own)));
    }
  } catch (error) {
    await Promise.all(children.map((child) => child.stop()));
    await servers.stop();
    throw error;
  }
  return new RunningRig(system, servers, children[0]!, children[1]!);
}

type End = "producer" | "worker";

class RunningRig implements Rig {
  readonly system: System;
  readonly #servers: Servers;
  readonly #producer: Child;
  readonly #worker: Child;
  readonly #pids: Record<string, number>;
  #stopping: Promise<void> | undefined;
  readonly #submitted = new Map<Durability, number>();
  /** Bytes and tasks that the submits of this round have added to Redis. */
  readonly #queued = new Map<Durability, { bytes: number; tasks: number }>();

  constructor(system: System, servers: Servers, producer: Child, worker: Child) {
    this.system = system;
    this.#servers = servers;
    this.#producer = producer;
    this.#worker = worker;
    this.#pids = { producer: producer.pid, ...servers.pids, worker: worker.pid };
  }

  get versions(): Readonly<Record<string, string>> {
    return this.#servers.versions;
  }

  async measure(figure: Figure, durability: Durability, load: Load, round: number) {
    const about = { round, system: this.system.name, durability, figure };
    switch (figure) {
      case "submit_single":
      case "submit_bulk":
        return [{ ...about, ...(await this.#submit(durability, this.#submitOf(figure, load))) }];
      case "redis_bytes":
        return this.#bytes(durability).map((bytes) => ({ ...about, ...bytes }));
      case "drain":
        return [{ ...about, ...(await this.#drain(durability, load)) }];
      case "latency_200":
      case "e2e_single":
      case "e2e_bulk":
        return [{ ...about, ...(await this.#endToEnd(figure, durability, load)) }];
    }
  }

  async #submit(durability: Durability, command: Submit) {
    const before = await this.#servers.redisBytes();
    const { timing, cpu } = await this.#timed(["producer"], command.tasks, () =>
      this.#submitAll(durability, command),
    );
    const queued = this.#queued.get(durability) ?? { bytes: 0, tasks: 0 };
    queued.bytes += ((await this.#servers.redisBytes()) ?? Number.NaN) - (before ?? Number.NaN);
    queued.tasks += command.tasks;
    this.#queued.set(durability, queued);
    return throughput(timing, timing.startedAt, cpu, timing);
  }

  #submitOf(figure: Figure, load: Load): Submit {
    const { singleShare, bulkShare } = this.system;
    const share = (figure.endsWith("_single") ? singleShare : bulkShare) ?? 1;
    return submitOf(figure, { ...load, tasks: Math.ceil(load.tasks * share) });
  }

  #bytes(durability: Durability) {
    const { bytes, tasks } = this.#queued.get(durability) ?? { bytes: 0, tasks: 0 };
    const value = bytes / tasks;
    // Not a number: it has no Redis.
    if (Number.isNaN(value)) return [];
    return [{ tasks, value, unit: "bytes/task" as const, p50: null, p99: null, cpu_us: {} }];
  }

  /** Everything the round has submitted so far. From the first start of a handler. */
  async #drain(durability: Durability, load: Load) {
    if (!this.#queued.has(durability))
      await this.#submit(durability, this.#submitOf("e2e_bulk", load));
    const { tasks } = this.#queued.get(durability)!;
    const { concurrency } = load;
    this.#queued.delete(durability);
    const { timing, cpu } = await this.#timed(["worker"], tasks, async () => {
      await this.#worker.ask({ do: "work", durability, concurrency });
      return timed(await this.#worker.ask({ do: "acked", tasks }));
    });
    await this.#worker.ask({ do: "rest" });
    return throughput(timing, timing.startedAt, cpu, { p50: null, p99: null });
  }

  async #endToEnd(figure: Figure, durability: Durability, load: Load) {
    const command = this.#submitOf(figure, load);
    const { tasks } = command;
    await this.#worker.ask({ do: "work", durability, concurrency: load.concurrency });
    let startedAt = 0;
    const { timing, cpu } = await this.#timed(["producer", "worker"], tasks, async () => {
      const acked = this.#worker.ask({ do: "acked", tasks });
      const [submits, done] = await Promise.all([this.#submitAll(durability, command), acked]);
      startedAt = submits.startedAt;
      return timed(done);
    });
    await this.#worker.ask({ do: "rest" });
    const sample = throughput(timing, startedAt, cpu, timing);
    if (figure !== "latency_200") return sample;
    return { ...sample, value: timing.p50 ?? Number.NaN, unit: "ms" as const };
  }

  async #submitAll(durability: Durability, command: Submit): Promise<Timing> {
    const timing = timed(await this.#producer.ask({ ...command, durability }));
    this.#submitted.set(durability, (this.#submitted.get(durability) ?? 0) + command.tasks);
    return timing;
  }

  /** The work that acknowledged tasks leave behind is in the CPU, not in the time. */
  async #timed(ends: readonly End[], tasks: number, run: () => Promise<Timing>) {
    const before = cpuOf(this.#pids);
    const timing = await run();
    await this.#servers.settled();
    const after = cpuOf(this.#pids);
    const idle = (["producer", "worker"] as const).filter((end) => !ends.includes(end));
    const names = Object.keys(this.#pids).filter((name) => !(idle as string[]).includes(name));
    const perTask = (name: string): number => (after[name]! - before[name]!) / tasks;
    const cpu = Object.fromEntries(names.map((name) => [name, perTask(name)]));
    return { timing, cpu };
  }

  async verify(): Promise<void> {
    await this.#servers.settled();
    for (const [durability, submitted] of this.#submitted) {
      const completed = (await this.#servers.completed(durability)) ?? submitted;
      const live = await this.#servers.live(durability);
      if (completed === submitted && live === 0) continue;
      throw new Error(
        `${this.system.name} ${durability}: ${submitted} tasks submitted, ` +
          `${completed} completed, ${live} live: the figures count for nothing`,
      );
    }
  }

  stop(): Promise<void> {
    this.#stopping ??= Promise.allSettled([this.#producer.stop(), this.#worker.stop()]).then(() =>
      this.#servers.stop(),
    );
    return this.#stopping;
  }
}

type Submit =
  | { do: "single"; tasks: number; inFlight: number }
  | { do: "bulk"; tasks: number; batch: number; inFlight: number }
  | { do: "rate"; tasks: number; perSecond: number };

function submitOf(figure: Figure, load: Load): Submit {
  const { tasks, batch, perSecond } = load;
  if (figure === "latency_200") {
    return { do: "rate", tasks: perSecond * load.latencySeconds, perSecond };
  }
  if (figure.endsWith("_bulk")) return { do: "bulk", tasks, batch, inFlight: load.batchesInFlight };
  return { do: "single", tasks, inFlight: load.singlesInFlight };
}

function timed(timing: Timing | undefined): Timing {
  if (timing) return timing;
  throw new Error("the process gave no times");
}

function throughput(
  { count, endedAt }: Timing,
  startedAt: number,
  cpu_us: Record<string, number>,
  { p50, p99 }: Pick<Timing, "p50" | "p99">,
) {
  const value = count / ((endedAt - startedAt) / 1e6);
  return { tasks: count, value, unit: "tasks/s" as const, p50, p99, cpu_us };
}
