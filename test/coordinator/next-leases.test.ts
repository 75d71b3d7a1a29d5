import { afterEach, beforeEach, expect, it } from "vitest";
import type { Broker } from "../../src/broker/broker.js";
import { fewResults } from "../../src/coordinator/next-leases.js";
import { DroverError } from "../../src/errors.js";
import { bytesKey } from "../../src/short-text.js";
import { createWorld, draft, type FakeWorker, type Node, offer, type World } from "./world.js";

let world: World;
beforeEach(() => {
  world = createWorld();
});
afterEach(async () => {
  await world.stop();
});

type Call = "lease" | "settle" | "settleAndLease";

/** The calls of a broker from now on, in order. */
function watch(broker: Broker): Call[] {
  const calls: Call[] = [];
  for (const name of ["lease", "settle", "settleAndLease"] as const) {
    const real = broker[name].bind(broker) as (...args: unknown[]) => Promise<unknown>;
    const noted = (...args: unknown[]) => {
      calls.push(name);
      return real(...args);
    };
    Object.assign(broker, { [name]: noted });
  }
  return calls;
}

const drafts = (count: number, queue?: string) =>
  Array.from({ length: count }, () => draft({ queue }));

async function busy(slots: number, tasks: number): Promise<{ node: Node; worker: FakeWorker }> {
  const node = await world.node();
  await world.submit(node, ...drafts(tasks));
  const worker = await world.open(node, world.worker(), { offer: offer(slots) });
  await world.until("leased", () => worker.leases.length === slots);
  return { node, worker };
}

function succeedAll(worker: FakeWorker, from: number, to: number): void {
  const outcome = { kind: "success", result: undefined } as const;
  const leases = worker.leases.slice(from, to);
  worker.frame({ results: leases.map(({ token }) => ({ key: bytesKey(token), outcome })) });
}

it("settles a result and leases the next task by one call", async () => {
  const { node, worker } = await busy(2, 10);
  const calls = watch(node.broker);
  for (let n = 0; n < 8; n += 1) {
    worker.succeed(worker.leases[n]!);
    await world.until("the next one", () => worker.leases.length === n + 3);
  }
  expect(calls).toEqual(calls.map(() => "settleAndLease"));
  expect(calls).toHaveLength(8);
  await world.until("acked", () => worker.acks.length === 8);
});

it("sends leases before the acks of what made room for them", async () => {
  const { worker } = await busy(1, 2);
  let acksThen = -1;
  const send = worker.send.bind(worker);
  worker.send = (frame) => {
    if (frame.leases) acksThen = worker.acks.length;
    send(frame);
  };
  worker.succeed(worker.leases[0]!);
  await world.until("acked", () => worker.acks.length === 1);
  expect(worker.leases).toHaveLength(2);
  expect(acksThen).toBe(0);
});

it("gathers the results that come in while such a call is under way for the next one", async () => {
  const { node, worker } = await busy(8, 40);
  const real = node.broker.settleAndLease.bind(node.broker);
  const waiting: (() => void)[] = [];
  node.broker.settleAndLease = async (settlements, request) => {
    await new Promise<void>((resolve) => waiting.push(resolve));
    return real(settlements, request);
  };
  const calls = watch(node.broker);
  for (let n = 0; n < 8; n += 1) {
    worker.succeed(worker.leases[n]!);
    await world.clock.advance(1);
  }
  expect(calls).toEqual(["settleAndLease"]);
  waiting.shift()!();
  await world.until("the second call", () => waiting.length === 1);
  waiting.shift()!();
  await world.until("all again", () => worker.leases.length === 16);
  expect(calls).toEqual(["settleAndLease", "settleAndLease"]);
});

it("leases first where many results come, as the leases would wait for their settling", async () => {
  const many = fewResults + 1;
  const { node, worker } = await busy(many, many * 3);
  const calls = watch(node.broker);
  succeedAll(worker, 0, many);
  await world.until("the next ones", () => worker.leases.length === many * 2);
  await world.until("acked", () => worker.acks.length === many);
  expect(calls).toEqual(["lease", "settle"]);
});

it("asks for no lease where nothing waits, and is woken when something does", async () => {
  const { node, worker } = await busy(2, 2);
  worker.succeed(worker.leases[0]!);
  await world.until("acked", () => worker.acks.length === 1);
  const calls = watch(node.broker);
  worker.succeed(worker.leases[1]!);
  await world.until("acked", () => worker.acks.length === 2);
  expect(calls).toEqual(["settle"]);
  await world.submit(node, ...drafts(3));
  await world.until("leased", () => worker.leases.length === 4);
  worker.succeed(worker.leases[2]!);
  await world.until("the last", () => worker.leases.length === 5);
});

it("loses nothing when the answer to such a call gets lost", async () => {
  const { node, worker } = await busy(2, 6);
  const real = node.broker.settleAndLease.bind(node.broker);
  node.broker.settleAndLease = async (settlements, request) => {
    await real(settlements, request);
    node.broker.settleAndLease = real;
    throw new DroverError("broker_unavailable", "no answer");
  };
  worker.succeed(worker.leases[0]!);
  await world.until("acked", () => worker.acks.length === 1);
  expect(worker.acks[0]!.verdict).toBe("duplicate");
  // The store has granted one that never came: the next heartbeat finds it.
  const done = new Set([0]);
  const ids = () => new Set(worker.leases.map(({ task }) => task.id));
  for (let beats = 0; beats < 60 && worker.acks.length < 6; beats += 1) {
    const held = worker.leases.filter((_, n) => !done.has(n));
    worker.beat(held);
    await world.clock.advance(1_000);
    worker.leases.forEach((lease, n) => {
      if (!done.has(n)) worker.succeed(lease);
      done.add(n);
    });
    await world.clock.advance(100);
  }
  expect(ids().size).toBe(6);
  expect(worker.acks).toHaveLength(6);
});

it("asks by itself where the results are of another partition", async () => {
  await world.stop();
  world = createWorld({}, 4);
  const node = await world.node();
  const queues = Array.from({ length: 12 }, (_, n) => `q${n}`);
  for (const queue of queues) await world.submit(node, ...drafts(2, queue));
  const worker = await world.open(node, world.worker(), {
    offer: offer(1, ["send_email"], queues[0]),
  });
  for (const [n, queue] of queues.entries()) {
    await world.until(`leased of ${queue}`, () => worker.leases.length === n + 1);
    expect(worker.leases[n]!.task.queue).toBe(queue);
    const [lease] = worker.leases.slice(-1);
    const outcome = { kind: "success", result: undefined } as const;
    worker.frame({
      results: [{ key: bytesKey(lease!.token), outcome }],
      offer: offer(1, ["send_email"], queues[n + 1] ?? "none"),
    });
  }
  await world.until("acked", () => worker.acks.length === queues.length);
});
