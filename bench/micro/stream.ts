/**
 * What frames and streams cost without stores: producer, worker and a stub coordinator, a process
 * each, over loopback. `npx tsx bench/micro/stream.ts [--builds dist,other] [--tasks 20000]`:
 * with two builds, each figure of the second is measured beside that of the first, as a ratio.
 */
import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { median } from "../summary.js";
import { type Order, type Report, roles, type Usage } from "./role.js";

const { values: flags } = parseArgs({
  options: {
    builds: { type: "string", default: "dist" },
    tasks: { type: "string", default: "20000" },
    rounds: { type: "string", default: "3" },
    rate: { type: "string", default: "200" },
    figures: { type: "string", default: "submit_bulk,submit_single,unary,e2e_bulk,rate" },
    profile: { type: "string" },
  },
});

class Peer {
  readonly #child: ChildProcess;

  constructor(role: string, build: string, address: string) {
    this.#child = fork(fileURLToPath(new URL("role.ts", import.meta.url)), [role, build, address], {
      execArgv: [
        "--import",
        "tsx",
        ...(flags.profile ? ["--cpu-prof", "--cpu-prof-dir", `${flags.profile}/${role}`] : []),
      ],
    });
  }

  ask(order: Order): Promise<Report> {
    return new Promise((resolve, reject) => {
      this.#child.once("message", (report: Report) => resolve(report));
      this.#child.once("exit", () => reject(new Error("a process ended")));
      this.#child.send(order);
    });
  }

  async end(): Promise<void> {
    await this.ask({ do: "end" }).catch(() => undefined);
  }
}

interface Rig {
  readonly build: string;
  readonly peers: Readonly<Record<(typeof roles)[number], Peer>>;
}

async function startRig(build: string): Promise<Rig> {
  const coordinator = new Peer("coordinator", build, "");
  const { address } = await coordinator.ask({ do: "start" });
  const producer = new Peer("producer", build, address!);
  const worker = new Peer("worker", build, address!);
  await producer.ask({ do: "start" });
  return { build, peers: { coordinator, producer, worker } };
}

type Sample = Record<string, number>;

/** All is counted from before the first submit until every result is acked, and a rest after. */
async function measure(rig: Rig, figure: string, tasks: number): Promise<Sample> {
  const { coordinator, producer, worker } = rig.peers;
  const submitsOnly = figure.startsWith("submit") || figure === "unary";
  if (!submitsOnly) await worker.ask({ do: "work" });
  const drained = submitsOnly ? 0 : tasks;
  const used = () =>
    Promise.all(roles.map(async (role) => (await rig.peers[role].ask({ do: "usage" })).usage!));
  const before = await used();
  const done = coordinator.ask({ do: "until", tasks: drained });
  const { tookMs } = await producer.ask({ do: "submit", figure, tasks, rate: Number(flags.rate) });
  await done;
  const after = await used();
  const sample: Sample = { [figure === "rate" ? "p50 ms" : "ms"]: tookMs! };
  for (const [index, role] of roles.entries()) {
    for (const key of ["us", "reads", "writes"] as const) {
      sample[`${role} ${key}`] = difference(before[index]!, after[index]!, key) / tasks;
    }
  }
  const frames = difference(before[0]!, after[0]!, "frames");
  sample["frames in"] = frames / tasks;
  if (drained === 0) await coordinator.ask({ do: "forget" });
  return sample;
}

const difference = (before: Usage, after: Usage, key: keyof Usage): number =>
  after[key] - before[key];

const builds = flags.builds.split(",");
const rigs = await Promise.all(builds.map(startRig));
for (const figure of flags.figures.split(",")) {
  const tasks = figure === "rate" ? Number(flags.rate) * 3 : Number(flags.tasks);
  const samples = rigs.map((): Sample[] => []);
  for (const rig of rigs) await measure(rig, figure, Math.ceil(tasks / 4));
  for (let round = 0; round < Number(flags.rounds); round += 1) {
    for (const [index, rig] of rigs.entries()) {
      samples[index]!.push(await measure(rig, figure, tasks));
    }
  }
  console.log(`\n${figure}, ${tasks} tasks, a task`);
  for (const name of Object.keys(samples[0]![0]!)) {
    const medians = samples.map((list) => median(list.map((sample) => sample[name]!)));
    const ratio = medians.length === 2 ? `  x${(medians[1]! / medians[0]!).toFixed(2)}` : "";
    const cells = medians.map((value) => value.toFixed(2).padStart(10)).join("");
    console.log(`${name.padEnd(20)}${cells}${ratio}`);
  }
}
await Promise.all(rigs.flatMap(({ peers }) => Object.values(peers).map((peer) => peer.end())));
