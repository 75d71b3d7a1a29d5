import type { Lane, Lease, LeaseReply, LeaseRequest } from "../broker/broker.js";
import { limits } from "../limits.js";
import { partitionOfSlot, slotOfQueue } from "../task/ids.js";
import type { Task } from "../task/task.js";
import { Crew, type CrewPartition, isHungry, requestFor, type Reserved } from "./crew.js";
import type { Parts } from "./parts.js";
import { laneKey } from "./lanes.js";
import type { Demand, Reservation } from "./enqueuer.js";
import { fewResults, type NextLeases } from "./next-leases.js";
import type { WorkerSession } from "./worker-session.js";

/** After a refusal or an error of the broker, in ms. */
const pauseMs = 250;

/** A lease call under way: the slots kept free for it, and when it was asked (monotonic ms). */
interface Asked extends Reservation {
  readonly reserved: Reserved;
  readonly at: number;
}

/** All that a crew can be given in a partition. */
interface AskedAll extends Asked {
  readonly crew: Crew;
  readonly part: CrewPartition;
}

/**
 * Worker credit -> lease calls -> leases pushed to streams. One call under way per crew and
 * partition.
 */
export class Dispatcher implements Demand<Asked>, NextLeases {
  readonly #parts: Parts;
  readonly #crews = new Map<string, Crew>();
  readonly #crewOf = new Map<WorkerSession, Crew>();
  /** They ask with the settlements that are about to be sent. */
  readonly #riders = new Map<CrewPartition, Crew>();
  readonly #riding = new Map<LeaseRequest, AskedAll>();
  #unsubscribe: (() => void) | undefined;
  #timer: { cancel(): void } | undefined;
  /** Asked again when the timer ends. */
  readonly #later = new Map<CrewPartition, Crew>();
  /** Called when a partition has unmet demand on lanes that were found empty. */
  onUnmet: (partition: number) => void = () => undefined;
  onLostSession: (session: WorkerSession) => void = () => undefined;
  /** Settlements that are about to be sent: `ride` or `walk` will be called. */
  settling: () => number = () => 0;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  start(): void {
    this.#unsubscribe ??= this.#parts.broker.onHint((hint) => {
      if (hint.kind === "lanes") this.#discoverIn(hint.namespace, hint.queue);
      if (hint.kind === "queue") this.#pumpQueue(hint.namespace, hint.queue);
    });
  }

  stop(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /**
   * Puts a session where its subscriptions and labels belong; call again when its offer changed.
   */
  join(session: WorkerSession): void {
    const key = Crew.keyOf(session);
    const before = this.#crewOf.get(session);
    if (before && before.key !== key) this.leave(session);
    let crew = this.#crews.get(key);
    if (!crew) {
      crew = new Crew(key, session, this.#parts.broker.partitions);
      this.#crews.set(key, crew);
      if (crew.labelled) void this.#discover(crew);
    }
    crew.sessions.add(session);
    this.#crewOf.set(session, crew);
    this.demandChanged(session);
  }

  leave(session: WorkerSession): void {
    const crew = this.#crewOf.get(session);
    this.#crewOf.delete(session);
    crew?.sessions.delete(session);
    session.standby.clear();
    if (crew?.sessions.size === 0) this.#crews.delete(crew.key);
  }

  /**
   * A slot came free: ask again, unless the lanes were found empty, for then a wake-up will come.
   */
  demandChanged(session: WorkerSession): void {
    const crew = this.#crewOf.get(session);
    if (!crew?.wants(session)) return;
    for (const part of crew.inTurn()) {
      if (part.empty) this.onUnmet(part.partition);
      else this.#pump(crew, part);
    }
  }

  nudge(lanes: readonly Lane[]): void {
    for (const lane of lanes) this.woken(lane);
  }

  /** True if somebody here could use work in this lane. */
  woken(lane: Lane): boolean {
    const key = laneKey(lane);
    const partition = this.#partitionOf(lane);
    let usable = false;
    for (const crew of this.#crews.values()) {
      const part = crew.partitions.get(partition);
      if (!part?.byKey.has(key)) continue;
      part.empty = false;
      if (!part.leasing && !crew.hasFree) continue;
      usable = true;
      this.#pump(crew, part);
    }
    return usable;
  }

  /** Lanes of a partition that have free slots waiting for them by their keys, at most 128. */
  wantedLanes(partition: number): Map<string, Lane> {
    const wanted = new Map<string, Lane>();
    for (const crew of this.#crews.values()) {
      const part = crew.partitions.get(partition);
      if (!part || !part.empty || !crew.hasFree) continue;
      for (const [key, lane] of part.byKey) {
        if (wanted.size < limits.wakeLanes) wanted.set(key, lane);
      }
    }
    return wanted;
  }

  /**
   * The sure way behind every hint and wake-up: labelled lanes are looked for, partitions with
   * demand asked again.
   */
  async refresh(): Promise<void> {
    const labelled = [...this.#crews.values()].filter((crew) => crew.labelled);
    await Promise.all(labelled.map((crew) => this.#discover(crew)));
  }

  #partitionOf({ namespace, queue }: Lane): number {
    const { partitions } = this.#parts.broker;
    return partitions === 1 ? 0 : partitionOfSlot(slotOfQueue(namespace, queue), partitions);
  }

  reserve(lane: Lane, tasks: number): Asked | undefined {
    const key = laneKey(lane);
    const partition = this.#partitionOf(lane);
    for (const crew of this.#crews.values()) {
      const part = crew.partitions.get(partition);
      // Only where everything else is known to be empty: eager leases must not overtake waiting
      // tasks.
      if (!part?.byKey.has(key) || !part.empty || part.leasing) continue;
      const reserved = crew.reserve(Math.min(tasks, limits.leaseBatch));
      if (reserved.length === 0) continue;
      const request = requestFor(partition, [lane], reserved);
      return { request, reserved, at: this.#parts.clock.monotonic() };
    }
    return undefined;
  }

  took(asked: Asked, leases: readonly Lease[] | undefined): void {
    if (!leases) markUnsure(asked.reserved);
    this.#deliver(asked, leases ?? [], true);
    const crew = this.#crewOf.get(asked.reserved[0]!.session);
    if (crew && crew.partitions.size > 1) this.#pumpHungry(crew);
  }

  ride(partition: number): LeaseRequest | undefined {
    for (const [part, crew] of this.#riders) {
      if (part.partition !== partition) continue;
      this.#riders.delete(part);
      if (part.leasing) part.again = true;
      const asked = part.leasing ? undefined : this.#ask(crew, part);
      if (!asked) continue;
      this.#riding.set(asked.request, asked);
      return asked.request;
    }
    return undefined;
  }

  rode(request: LeaseRequest, reply: LeaseReply | undefined): void {
    const asked = this.#riding.get(request);
    this.#riding.delete(request);
    if (asked) this.#leased(asked, reply, true);
  }

  get stocked(): boolean {
    for (const crew of this.#crews.values()) if (crew.stocked) return true;
    return false;
  }

  walk(): void {
    if (this.#riders.size === 0) return;
    const riders = [...this.#riders];
    this.#riders.clear();
    for (const [part, crew] of riders) this.#pump(crew, part);
  }

  /** Slots came back from a call: those that found none before may have them. */
  #pumpHungry(crew: Crew): void {
    for (const part of crew.inTurn()) if (isHungry(part)) this.#pump(crew, part);
  }

  #pump(crew: Crew, part: CrewPartition): void {
    if (part.leasing) {
      part.again = true;
      return;
    }
    if (part.lanes.length === 0) return;
    part.away = false;
    // What is reserved for a store that is away is missing where there is work.
    if (!this.#parts.broker.serves(part.partition)) return this.#pumpLater(crew, part);
    const settling = crew.partitions.size === 1 ? this.settling() : 0;
    if (settling > 0 && settling <= fewResults) {
      this.#riders.set(part, crew);
      return;
    }
    const asked = this.#ask(crew, part);
    if (asked) void this.#lease(asked);
  }

  /** Undefined: nobody has a free slot. */
  #ask(crew: Crew, part: CrewPartition): AskedAll | undefined {
    const reserved = crew.reserve(crew.share(part), part);
    if (reserved.length === 0) return undefined;
    crew.served(part);
    part.leasing = true;
    part.again = false;
    const lanes = crew.nextLanes(part, () => this.#parts.random.next());
    const request = requestFor(part.partition, lanes, reserved);
    return { crew, part, request, reserved, at: this.#parts.clock.monotonic() };
  }

  async #lease(asked: AskedAll): Promise<void> {
    let reply: LeaseReply | undefined;
    try {
      reply = await this.#parts.broker.lease(asked.request);
    } catch {
      // Reported by the broker's connection; demand asks again below.
    }
    this.#leased(asked, reply);
  }

  /** Undefined: the answer got lost. */
  #leased(asked: AskedAll, reply: LeaseReply | undefined, atOnce = false): void {
    const { crew, part, reserved } = asked;
    if (!reply) markUnsure(reserved);
    part.leasing = false;
    part.more = reply?.more ?? false;
    this.#deliver(asked, reply?.leases ?? [], atOnce);
    if (reply) this.#tellLost(reply.lostSessions, reserved);
    if (!reply || reply.kind !== "ok" || reply.lostSessions.length > 0) {
      this.#pumpLater(crew, part);
      this.#pumpHungry(crew);
      return;
    }
    const slots = reserved.reduce((sum, one) => sum + one.slots, 0);
    const windowed = part.lanes.length > limits.laneBatch && reply.leases.length > 0;
    const goesOn = reply.more || part.again || windowed || reply.leases.length >= slots;
    if (!goesOn) {
      part.empty = true;
      if (crew.hasFree) this.onUnmet(part.partition);
    }
    if (crew.partitions.size > 1) this.#pumpHungry(crew);
    else if (goesOn) this.#pump(crew, part);
  }

  #tellLost(sessionIds: readonly string[], reserved: Reserved): void {
    for (const sessionId of sessionIds) {
      const lost = reserved.find(({ session }) => session.sessionId === sessionId);
      if (lost) this.onLostSession(lost.session);
    }
  }

  /** On their way first; then whoever else wants to know hears of them. */
  #deliver({ reserved, at }: Asked, leases: readonly Lease[], atOnce = false): void {
    const dispatchMs = this.#parts.clock.monotonic() - at;
    for (const { session, slots } of reserved) session.reserved -= slots;
    // Nearly always: those of one crew are few.
    if (reserved.length === 1) {
      const { session } = reserved[0]!;
      const { carrier } = this.#parts;
      const granted = carrier ? leases.map((lease) => this.#traced(lease)) : leases;
      if (leases.length > 0) session.deliver(granted, atOnce);
    } else this.#share(reserved, leases, atOnce);
    const tell = (): void => {
      for (const lease of leases) this.#granted(lease, dispatchMs);
    };
    // What goes at once is on the wire by the end of the turn, and whoever counts can wait for it.
    if (atOnce) setImmediate(tell);
    else tell();
  }

  #share(reserved: Reserved, leases: readonly Lease[], atOnce: boolean): void {
    const bySession = new Map<string, Lease[]>();
    for (const lease of leases) {
      const list = bySession.get(lease.sessionId);
      const traced = this.#traced(lease);
      if (list) list.push(traced);
      else bySession.set(lease.sessionId, [traced]);
    }
    for (const { session } of reserved) {
      const granted = bySession.get(session.sessionId);
      if (granted) session.deliver(granted, atOnce);
      bySession.delete(session.sessionId);
    }
  }

  #traced(lease: Lease): Lease {
    const { task } = lease;
    const traceContext = this.#parts.carrier?.atLease(task) ?? task.traceContext;
    return traceContext === task.traceContext ? lease : { ...lease, traceContext };
  }

  #granted(lease: Lease, dispatchMs: number): void {
    const { task } = lease;
    this.#parts.recorder.running(task);
    this.#parts.events.emit("task.leased", {
      namespace: task.namespace,
      queue: task.queue,
      type: task.type,
      taskId: task.id,
      attempt: task.attempt,
      sessionId: lease.sessionId,
      traceContext: task.traceContext,
      waitedMs: waitOf(task),
      dispatchMs,
    });
  }

  #pumpLater(crew: Crew, part: CrewPartition): void {
    part.away = true;
    this.#later.set(part, crew);
    this.#timer ??= this.#parts.clock.after(pauseMs, () => {
      this.#timer = undefined;
      const later = [...this.#later];
      this.#later.clear();
      for (const [waiting, owner] of later) this.#pump(owner, waiting);
    });
  }

  #pumpQueue(namespace: string, queue: string): void {
    for (const crew of this.#crews.values()) {
      if (crew.namespace !== namespace || !crew.queues.includes(queue)) continue;
      for (const part of crew.partitions.values()) this.#pump(crew, part);
    }
  }

  #discoverIn(namespace: string, queue: string): void {
    for (const crew of this.#crews.values()) {
      if (!crew.labelled || crew.namespace !== namespace || !crew.queues.includes(queue)) continue;
      void this.#discover(crew);
    }
  }

  async #discover(crew: Crew): Promise<void> {
    try {
      const found = await Promise.all(
        crew.queues.map((queue) => this.#parts.broker.lanes(crew.namespace, queue)),
      );
      const before = [...crew.partitions.values()].reduce(
        (sum, part) => sum + part.lanes.length,
        0,
      );
      crew.setLanes(found.flat());
      const after = [...crew.partitions.values()].reduce((sum, part) => sum + part.lanes.length, 0);
      if (after === before) return;
      for (const part of crew.partitions.values()) this.#pump(crew, part);
    } catch {
      // The next refresh looks again.
    }
  }
}

function markUnsure(reserved: Reserved): void {
  for (const { session } of reserved) session.unsure = true;
}

/** Of a task that was retried after its end nobody knows since when it waits. */
function waitOf({ startedAt = 0, readyAt, createdAt, run }: Task): number {
  const since = readyAt ?? (run > 1 ? startedAt : createdAt);
  return Math.max(0, startedAt - since);
}
