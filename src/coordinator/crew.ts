import type { Lane, LeaseRequest } from "../broker/broker.js";
import { limits } from "../limits.js";
import { partitionOfSlot, slotOfQueue } from "../task/ids.js";
import type { Offer } from "./frames.js";
import { carries } from "./reader.js";
import { laneKey } from "./lanes.js";
import type { WorkerSession } from "./worker-session.js";

/** Lease calls of one crew in one partition: at most one under way. */
export interface CrewPartition {
  readonly partition: number;
  lanes: Lane[];
  /** The same by their keys. */
  readonly byKey: Map<string, Lane>;
  leasing: boolean;
  /** Something changed while a call was under way. */
  again: boolean;
  /** The last call found nothing more: a wake-up, not a freed slot, is the reason to ask again. */
  empty: boolean;
  /** The last call left work behind. */
  more: boolean;
  /** The last call failed, and the next one waits a while. */
  away: boolean;
  /** Where the next call starts in `lanes`. */
  start: number;
}

/** It has, or may have, work, and no call for it is under way: it found no free slot. */
export const isHungry = (part: CrewPartition): boolean =>
  !part.empty && !part.leasing && !part.away && part.lanes.length > 0;

/** Of larger crews somebody's lease call is always under way, and to ask each session is dear. */
const standbySessions = 16;

export type Reserved = readonly { readonly session: WorkerSession; readonly slots: number }[];

export function requestFor(
  partition: number,
  lanes: readonly Lane[],
  reserved: Reserved,
): LeaseRequest {
  const sessions = reserved.map(({ session, slots }) => ({
    sessionId: session.sessionId,
    generation: session.generation,
    slots,
  }));
  const bytes = reserved.map(({ session }) => session.roomBytes);
  return { partition, lanes, sessions, maxBytes: Math.min(limits.leaseBatchBytes, ...bytes) };
}

/**
 * Sessions that can run the same things (equal subscriptions and labels) share their lease calls.
 */
export class Crew {
  readonly key: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly sessions = new Set<WorkerSession>();
  /** Those served last stand last. */
  readonly partitions = new Map<number, CrewPartition>();
  readonly queues: readonly string[];
  readonly #subscriptions: Offer["subscriptions"];
  readonly #partitionCount: number;
  #turn = 0;

  constructor(key: string, session: WorkerSession, partitionCount: number) {
    this.key = key;
    this.namespace = session.namespace;
    this.labels = session.hello.labels;
    this.#subscriptions = session.offer.subscriptions;
    this.#partitionCount = partitionCount;
    this.queues = [...new Set(this.#subscriptions.map((subscription) => subscription.queue))];
    this.setLanes([]);
  }

  static keyOf(session: WorkerSession): string {
    const labels = Object.entries(session.hello.labels).sort(([a], [b]) => (a < b ? -1 : 1));
    const wanted = session.offer.subscriptions.map(({ queue, types, weight }) => [
      queue,
      [...types].sort(),
      weight,
    ]);
    return JSON.stringify([session.namespace, wanted, labels]);
  }

  get labelled(): boolean {
    return Object.keys(this.labels).length > 0;
  }

  /** Lanes without labels follow from the subscriptions; those with labels must be discovered. */
  setLanes(discovered: readonly Lane[]): void {
    const lanes = new Map<string, Lane>();
    for (const { queue, types } of this.#subscriptions) {
      for (const type of types) {
        const lane = { namespace: this.namespace, queue, type, requiredLabels: {} };
        lanes.set(laneKey(lane), lane);
      }
    }
    for (const lane of discovered) {
      if (this.#subscribes(lane) && carries(this.labels, lane.requiredLabels))
        lanes.set(laneKey(lane), lane);
    }
    for (const part of this.partitions.values()) {
      part.lanes = [];
      part.byKey.clear();
    }
    for (const [key, lane] of lanes) {
      const part = this.#part(
        partitionOfSlot(slotOfQueue(lane.namespace, lane.queue), this.#partitionCount),
      );
      part.lanes.push(lane);
      part.byKey.set(key, lane);
    }
  }

  #subscribes(lane: Lane): boolean {
    return this.#subscriptions.some(
      (subscription) => subscription.queue === lane.queue && subscription.types.includes(lane.type),
    );
  }

  #part(partition: number): CrewPartition {
    let part = this.partitions.get(partition);
    if (!part) {
      const none = {
        lanes: [],
        byKey: new Map<string, Lane>(),
        leasing: false,
        again: false,
        empty: false,
        more: false,
        away: false,
      };
      part = { partition, start: 0, ...none };
      this.partitions.set(partition, part);
    }
    return part;
  }

  /** Whether any session could take a lease; looks no further than the first one. */
  get hasFree(): boolean {
    for (const session of this.sessions) if (session.free > 0) return true;
    return false;
  }

  #free(): number {
    let free = 0;
    for (const session of this.sessions) free += session.free;
    return free;
  }

  /** All partitions, whoever was served longest ago first: none takes every free slot. */
  inTurn(): CrewPartition[] {
    return [...this.partitions.values()];
  }

  /** It has taken slots: the others come before it now. */
  served(part: CrewPartition): void {
    if (this.partitions.size === 1) return;
    this.partitions.delete(part.partition);
    this.partitions.set(part.partition, part);
  }

  /** Slots that a partition may take: they share what is free with those that wait for some. */
  share(part: CrewPartition): number {
    if (this.partitions.size === 1) return limits.leaseBatch;
    let hungry = 1;
    for (const other of this.partitions.values()) {
      if (other !== part && isHungry(other)) hungry += 1;
    }
    return Math.max(1, Math.ceil(Math.min(limits.leaseBatch, this.#free()) / hungry));
  }

  /**
   * The partition has work that could stand by, and nobody is idle: a task must not wait for one
   * session while another could run it. With several partitions the next free slots may be the
   * turn of another one.
   */
  #standsBy({ more }: CrewPartition): boolean {
    if (!more || this.partitions.size > 1 || this.sessions.size > standbySessions) return false;
    return this.sessions.size === 1 || !this.hasFree;
  }

  /** Whether a session has leases standing by for all its slots. */
  get stocked(): boolean {
    if (this.sessions.size > standbySessions) return false;
    for (const { standby, offer } of this.sessions) {
      if (standby.size > 0 && standby.size >= offer.slots) return true;
    }
    return false;
  }

  /** Whether there is reason to ask on behalf of this session. */
  wants(session: WorkerSession): boolean {
    if (session.free > 0) return true;
    if (session.room === 0) return false;
    const [part] = this.partitions.values();
    return part !== undefined && this.#standsBy(part);
  }

  /**
   * Takes up to `limit` free slots, beginning with another session each time; the caller gives them
   * back. Where work may stand by, it takes the room for it as well.
   */
  reserve(limit: number, part?: CrewPartition): Reserved {
    const standsBy = part !== undefined && this.#standsBy(part);
    const roomOf = (session: WorkerSession) => (standsBy ? session.room : session.free);
    const sessions = [...this.sessions];
    const taken: Reserved[number][] = [];
    const fair = Math.max(1, Math.ceil(limit / Math.max(1, sessions.length)));
    let left = limit;
    let free = standsBy ? sessions.reduce((sum, session) => sum + session.room, 0) : this.#free();
    this.#turn += 1;
    for (let index = 0; index < sessions.length && left > 0; index += 1) {
      const session = sessions[(index + this.#turn) % sessions.length]!;
      const slots = Math.min(roomOf(session), left, free > limit ? fair : left);
      if (slots <= 0) continue;
      session.reserved += slots;
      left -= slots;
      free -= slots;
      taken.push({ session, slots });
    }
    return taken;
  }

  /**
   * At most 64 lanes, from a start that moves, so that no lane is always asked last; weights move
   * it unevenly.
   */
  nextLanes(part: CrewPartition, chance: () => number): Lane[] {
    if (part.lanes.length <= 1) return part.lanes;
    part.start = this.#drawStart(part, chance);
    const rotated = [...part.lanes.slice(part.start), ...part.lanes.slice(0, part.start)];
    return rotated.slice(0, limits.laneBatch);
  }

  #drawStart(part: CrewPartition, chance: () => number): number {
    const weights = part.lanes.map((lane) => this.#weightOf(lane));
    if (weights.every((weight) => weight === weights[0]))
      return (part.start + 1) % part.lanes.length;
    let point = chance() * weights.reduce((sum, weight) => sum + weight, 0);
    const drawn = weights.findIndex((weight) => (point -= weight) < 0);
    return Math.max(0, drawn);
  }

  #weightOf(lane: Lane): number {
    const found = this.#subscriptions.find(
      (subscription) => subscription.queue === lane.queue && subscription.types.includes(lane.type),
    );
    return Math.max(1, found?.weight ?? 1);
  }
}
