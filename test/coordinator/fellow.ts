import type { Lease, LeaseRequest } from "../../src/broker/broker.js";
import { bytesKey } from "../../src/short-text.js";
import { draft, type FakeWorker, type Node, offer, type World } from "./world.js";

export const slots = 10;

/** What runs at this worker, and what stands by for anybody. */
export class Watched {
  readonly done = new Set<Lease>();
  readonly worker: FakeWorker;
  mostHeld = 0;

  constructor(worker: FakeWorker) {
    this.worker = worker;
    const send = worker.send.bind(worker);
    worker.send = (frame) => {
      send(frame);
      this.mostHeld = Math.max(this.mostHeld, this.held.length);
    };
  }

  get held(): Lease[] {
    return this.worker.leases.filter((lease) => !this.done.has(lease));
  }

  /** These, or all that it holds, in one frame; says how many came in the same turn. */
  finish(leases = this.held): number {
    const { worker } = this;
    const before = worker.leases.length;
    for (const lease of leases) this.done.add(lease);
    const outcome = { kind: "success", result: undefined } as const;
    worker.frame({ results: leases.map(({ token }) => ({ key: bytesKey(token), outcome })) });
    return worker.leases.length - before;
  }
}

interface Calls {
  /** Slots of each that leases. */
  asked: number[];
  /** Settlements of each that settles. */
  settled: number[];
  /** Leases of all of them. */
  granted: number;
}

/** Of the broker, from now on. */
export function callsOf({ broker }: Node): Calls {
  const calls: Calls = { asked: [], settled: [], granted: 0 };
  const ask = ({ sessions }: LeaseRequest): void =>
    void calls.asked.push(sessions.reduce((sum, session) => sum + session.slots, 0));
  const lease = broker.lease.bind(broker);
  const settle = broker.settle.bind(broker);
  const settleAndLease = broker.settleAndLease.bind(broker);
  broker.lease = async (request) => {
    ask(request);
    const reply = await lease(request);
    calls.granted += reply.leases.length;
    return reply;
  };
  broker.settle = (settlements) => {
    calls.settled.push(settlements.length);
    return settle(settlements);
  };
  broker.settleAndLease = async (settlements, request) => {
    calls.settled.push(settlements.length);
    ask(request);
    const both = await settleAndLease(settlements, request);
    calls.granted += both.leased?.leases.length ?? 0;
    return both;
  };
  return calls;
}

export async function running(world: World, node: Node): Promise<number> {
  const counts = await world.wait("counts", node.broker.counts("default"));
  return counts
    .filter(({ status }) => status === "running")
    .reduce((sum, { tasks }) => sum + tasks, 0);
}

export async function openAt(
  world: World,
  node: Node,
  worker = world.worker(),
  held: readonly Lease[] = [],
): Promise<Watched> {
  const watched = new Watched(worker);
  const heldTokens = held.map(({ token }) => token);
  await world.open(node, worker, { offer: offer(slots), heldTokens });
  return watched;
}

interface Fast {
  readonly node: Node;
  readonly ids: string[];
  readonly fellow: Watched;
}

/** A worker that has been fast, with a full standby behind it. */
export async function fast(world: World, tasks: number): Promise<Fast> {
  const node = await world.node();
  const drafts = Array.from({ length: tasks }, () => draft());
  const ids = await world.submit(node, ...drafts);
  const fellow = await openAt(world, node);
  await world.until("leased", () => fellow.held.length === slots);
  fellow.finish();
  await world.until("leased", () => fellow.held.length === slots);
  while ((await running(world, node)) < 2 * slots) await world.clock.advance(1);
  return { node, ids, fellow };
}
