import { limits } from "../../limits.js";
import type { SessionInfo } from "../broker.js";
import { Heap, type HeapNode } from "./heap.js";
import type { LaneState } from "./lanes.js";
import type { TaskRecord } from "./record.js";

/** As a heap node it stands among the live ones, its key the end of its lease. */
export interface Session extends HeapNode {
  readonly id: string;
  generation: number;
  info: SessionInfo;
  /** It said goodbye. */
  left: boolean;
  readonly leases: Set<TaskRecord>;
  /** The one quarantined task that it may hold of each lane. */
  readonly quarantine: Map<LaneState, TaskRecord>;
}

/**
 * The sessions of one partition: alive until their lease ends, then kept until nothing of theirs is
 * left to settle.
 */
export class Sessions {
  private readonly all = new Map<string, Session>();
  private readonly alive = new Heap<Session>();
  private readonly ending = new Set<Session>();
  /**
   * Dead and without leases; kept a while so that no older generation can come back. Oldest first.
   */
  private readonly ended = new Set<Session>();
  private opened = 0;

  get(id: string): Session | undefined {
    return this.all.get(id);
  }

  /** Whether it may act now, whatever the sweeps have seen. */
  isLive(session: Session | undefined, now: number): session is Session {
    return session !== undefined && !session.left && session.key > now;
  }

  /** When the first lease of a session ends, or has ended and was not reaped yet. */
  get firstEnd(): number | undefined {
    return this.alive.peek()?.key;
  }

  open(id: string, generation: number, info: SessionInfo, endsAt: number): Session {
    const session = this.all.get(id) ?? this.create(id, info);
    this.ending.delete(session);
    this.ended.delete(session);
    session.generation = generation;
    session.info = info;
    session.left = false;
    this.setEnd(session, endsAt);
    return session;
  }

  setEnd(session: Session, endsAt: number): void {
    this.alive.remove(session);
    session.key = endsAt;
    this.alive.push(session);
  }

  leave(session: Session): void {
    session.left = true;
    this.alive.remove(session);
    this.bury(session);
  }

  attach(session: Session, record: TaskRecord): void {
    session.leases.add(record);
    if (record.quarantined) session.quarantine.set(record.lane, record);
  }

  detach(record: TaskRecord): void {
    const session = this.all.get(record.task.sessionId);
    if (!session?.leases.delete(record)) return;
    if (session.quarantine.get(record.lane) === record) session.quarantine.delete(record.lane);
    if (session.leases.size === 0 && this.ending.delete(session)) this.ended.add(session);
  }

  /** Finds who died meanwhile, and forgets who has been dead for long. */
  reap(now: number): void {
    for (let first = this.alive.peek(); first && first.key <= now; first = this.alive.peek()) {
      this.alive.pop();
      this.bury(first);
    }
    for (const session of this.ended) {
      if (session.key + limits.tombstoneMs > now) break;
      this.ended.delete(session);
      this.all.delete(session.id);
    }
  }

  /** Leases of those that died or left, at most `limit` of each kind. */
  endingLeases(left: boolean, limit: number): TaskRecord[] {
    const found: TaskRecord[] = [];
    for (const session of this.ending) {
      if (session.left !== left) continue;
      for (const record of session.leases) {
        if (found.length >= limit) return found;
        found.push(record);
      }
    }
    return found;
  }

  live(now: number): Session[] {
    return [...this.all.values()].filter((session) => this.isLive(session, now));
  }

  private create(id: string, info: SessionInfo): Session {
    const session: Session = {
      id,
      info,
      generation: 0,
      left: false,
      leases: new Set(),
      quarantine: new Map(),
      key: 0,
      tie: this.opened++,
      heapAt: -1,
    };
    this.all.set(id, session);
    return session;
  }

  private bury(session: Session): void {
    if (session.leases.size > 0) this.ending.add(session);
    else this.ended.add(session);
  }
}
