/**
 * The producer or the worker of one system, in a process of its own: does what run.ts asks over
 * IPC, and ends with it.
 */
import { systemClock } from "../src/clock.js";
import { percentile } from "./summary.js";
import type { Answer, Command, Request, Timing } from "./protocol.js";
import type { Durability, Payload, Producer, Work } from "./systems/system.js";
import { systemNamed } from "./systems/index.js";

const found = systemNamed(process.argv[2] ?? "");
if (!("produce" in found)) throw new Error(`${found.name} is not of Node`);
const system = found;

/** Microseconds of CLOCK_MONOTONIC, which all processes of this machine share. */
const now = (): number => Number(process.hrtime.bigint()) / 1_000;

const payloadBytes = 100;
const frame = JSON.stringify({ p: "" }).length;

function stamped(): Payload {
  const at = `${Math.round(now())}|`;
  return { p: at.padEnd(payloadBytes - frame, "x") };
}
const stampOf = ({ p }: Payload): number => Number.parseInt(p, 10);

function timing(count: number, startedAt: number, endedAt: number, us: number[]): Timing {
  const ms = us.map((value) => value / 1_000);
  return { count, startedAt, endedAt, p50: percentile(ms, 0.5), p99: percentile(ms, 0.99) };
}

const producers = new Map<Durability, Producer>();

async function producerOf(durability: Durability): Promise<Producer> {
  const known = producers.get(durability);
  if (known) return known;
  const made = await system.produce(process.env, durability);
  producers.set(durability, made);
  return made;
}

type Submit = Extract<Command, { do: "single" | "bulk" | "rate" }>;

async function submitAll(command: Submit, producer: Producer): Promise<Timing> {
  const took: number[] = [];
  let sent = 0;
  const size = command.do === "bulk" ? command.batch : 1;
  const next = async (): Promise<void> => {
    const count = Math.min(size, command.tasks - sent);
    sent += count;
    const at = now();
    if (command.do === "bulk") await producer.submitBulk(Array.from({ length: count }, stamped));
    else await producer.submit(stamped());
    took.push(now() - at);
  };
  const loop = async (): Promise<void> => {
    while (sent < command.tasks) await next();
  };
  const startedAt = now();
  if (command.do === "rate") await pace(command, next);
  else await Promise.all(Array.from({ length: command.inFlight }, loop));
  return timing(command.tasks, startedAt, now(), took);
}

/** Submits at the given rate whether or not earlier ones are answered. */
async function pace(
  { tasks, perSecond }: { tasks: number; perSecond: number },
  submit: () => Promise<void>,
) {
  const startedAt = now();
  const underWay: Promise<void>[] = [];
  while (underWay.length < tasks) {
    const due = ((now() - startedAt) / 1e6) * perSecond;
    while (underWay.length < Math.min(due, tasks)) underWay.push(submit());
    await systemClock.sleep(1);
  }
  await Promise.all(underWay);
}

let work: Work | undefined;
let starts = 0;
let firstAt = 0;
let latencies: number[] = [];

function started(payload: Payload): void {
  const at = now();
  if (starts === 0) firstAt = at;
  starts += 1;
  latencies.push(at - stampOf(payload));
}

/** Looks only once every handler has started, so that waiting costs the measured time nothing. */
async function untilAcked(tasks: number): Promise<Timing> {
  while (starts < tasks) await systemClock.sleep(2);
  while (work && work.acked(starts) < tasks) await systemClock.sleep(1);
  return timing(starts, firstAt, now(), latencies);
}

async function obey(command: Command): Promise<Answer> {
  switch (command.do) {
    case "single":
    case "bulk":
    case "rate":
      return submitAll(command, await producerOf(command.durability));
    case "work":
      starts = 0;
      latencies = [];
      work = await system.work(process.env, command, { started });
      return undefined;
    case "acked":
      return untilAcked(command.tasks);
    case "rest":
      await work?.stop();
      work = undefined;
      return undefined;
    case "end":
      await work?.stop();
      await Promise.all([...producers.values()].map((producer) => producer.close()));
      return undefined;
  }
}

process.on("disconnect", () => process.exit(0));
process.on("message", ({ id, command }: Request) => {
  obey(command).then(
    (answer) => process.send!({ id, answer }),
    (error: unknown) => process.send!({ id, error: String(error) }),
  );
});
process.send!({ id: 0 });
