import { limits } from "../../limits.js";
import { isOver } from "../../task/times.js";
import { encodeLeaseToken, slotOfId } from "../../task/ids.js";
import type { Priority } from "../../task/task.js";
import type { Lease, LeaseReply, LeaseRequest } from "../broker.js";
import { levels, quarantineFlow, type Flow, type LaneState, type QueueState } from "./lanes.js";
import { recordBytes } from "./outbox.js";
import type { Partition } from "./partition.js";
import { leaseOf, type TaskRecord } from "./record.js";
import type { Session } from "./sessions.js";

interface Taker {
  readonly session: Session;
  slots: number;
}

interface Pick {
  readonly lane: LaneState;
  readonly priority: Priority;
  readonly flow: Flow;
}

/** One call of the lease decision over some lanes of a partition. */
export class Leasing {
  private readonly partition: Partition;
  private readonly secret: () => Uint8Array;
  private readonly request: LeaseRequest;
  private readonly lanes: LaneState[];
  private readonly takers: Taker[] = [];
  private readonly lostSessions: string[] = [];
  private readonly leases: Lease[] = [];
  private bytes = 0;
  private cursor = 0;
  private takerCursor = 0;
  private readonly now: number;

  constructor(
    partition: Partition,
    secret: () => Uint8Array,
    request: LeaseRequest,
    lanes: readonly LaneState[],
  ) {
    this.partition = partition;
    this.secret = secret;
    this.request = request;
    this.lanes = lanes.filter((lane) => !lane.queue.paused && lane.ready > 0);
    const now = partition.now();
    this.now = now;
    for (const { sessionId, generation, slots } of request.sessions) {
      const session = partition.sessions.get(sessionId);
      if (!partition.sessions.isLive(session, now) || session.generation !== generation) {
        this.lostSessions.push(sessionId);
      } else if (slots > 0) {
        this.takers.push({ session, slots });
      }
    }
  }

  run(): LeaseReply {
    for (let pick = this.choose(); pick && this.hasRoom(pick); pick = this.choose()) {
      this.grant(pick);
    }
    const more = this.rearm();
    return { kind: "ok", leases: this.leases, more, lostSessions: this.lostSessions };
  }

  /** The first grant always fits: a task larger than the bytes left would else never be leased. */
  private hasRoom(pick: Pick): boolean {
    if (this.leases.length >= limits.leaseBatch) return false;
    return this.leases.length === 0 || this.bytes + bytesOf(pick) <= this.request.maxBytes;
  }

  private choose(): Pick | undefined {
    if (this.takers.every((taker) => taker.slots === 0)) return undefined;
    for (const priority of levels) {
      for (let step = 0; step < this.lanes.length; step += 1) {
        const at = (this.cursor + step) % this.lanes.length;
        const lane = this.lanes[at]!;
        const flow = this.headOf(lane, priority);
        if (!flow) continue;
        this.cursor = at + 1;
        const top = { lane, priority, flow };
        if (!this.partition.owesLowerLevels(lane.queue)) return top;
        return this.chooseBelow(lane.queue, priority) ?? top;
      }
    }
    return undefined;
  }

  /** The levels below take turns, so that each of them has a floor. */
  private chooseBelow(queue: QueueState, top: Priority): Pick | undefined {
    const below = levels.filter((priority) => priority < top);
    const picks: Pick[] = [];
    for (const priority of below) {
      for (const lane of this.lanes) {
        const flow = lane.queue === queue ? this.headOf(lane, priority) : undefined;
        if (!flow) continue;
        picks.push({ lane, priority, flow });
        break;
      }
    }
    return picks[Math.floor(queue.grants / limits.starvationEvery) % Math.max(1, picks.length)];
  }

  /** What must not be leased any more goes out of the way; a sweep ends it. */
  private liveHead(lane: LaneState, priority: Priority, skipped?: Flow): Flow | undefined {
    const level = lane.level(priority);
    for (let flow = level.head(skipped); flow; flow = level.head(skipped)) {
      const record = flow.tasks.peek()!;
      if (!isOver(record.task, this.now)) return flow;
      this.partition.setAside(record);
    }
    return undefined;
  }

  /** The flow to serve; the quarantine only if a session with room holds none of its tasks. */
  private headOf(lane: LaneState, priority: Priority): Flow | undefined {
    const flow = this.liveHead(lane, priority);
    if (flow?.name !== quarantineFlow || this.takerFor(lane, true)) return flow;
    return this.liveHead(lane, priority, flow);
  }

  private takerFor(lane: LaneState, quarantined: boolean): Taker | undefined {
    for (let step = 0; step < this.takers.length; step += 1) {
      const taker = this.takers[(this.takerCursor + step) % this.takers.length]!;
      if (taker.slots > 0 && !(quarantined && taker.session.quarantine.has(lane))) return taker;
    }
    return undefined;
  }

  private grant(pick: Pick): void {
    const { lane, priority, flow } = pick;
    this.bytes += bytesOf(pick);
    const taker = this.takerFor(lane, flow.name === quarantineFlow)!;
    taker.slots -= 1;
    this.takerCursor = this.takers.indexOf(taker) + 1;
    const record = lane.serve(flow, priority);
    lane.queue.grants += 1;
    this.start(record, taker.session);
    this.leases.push(leaseOf(record, this.partition.now()));
  }

  private start(record: TaskRecord, session: Session): void {
    const { partition } = this;
    const { id, attempt } = record.task;
    const fencingToken = partition.nextFencing();
    const slot = slotOfId(id);
    const secret = this.secret();
    record.token = encodeLeaseToken({ slot, taskId: id, fencingToken, secret });
    record.ended = undefined;
    partition.move(record, "grant", {
      attempt: attempt + 1,
      fencingToken,
      sessionId: session.id,
      workerId: session.info.workerId,
      startedAt: partition.now(),
      cancelRequestedAt: undefined,
      progress: undefined,
    });
  }

  /** Markers stay only for lanes that were left with work for want of room. */
  private rearm(): boolean {
    let more = false;
    for (const lane of this.lanes) {
      this.partition.wakeups.clear(lane);
      if (!levels.some((priority) => this.leftFor(lane, priority))) continue;
      more = true;
      this.partition.wake(lane);
    }
    return more;
  }

  private leftFor(lane: LaneState, priority: Priority): boolean {
    const head = this.liveHead(lane, priority);
    if (head?.name !== quarantineFlow) return head !== undefined;
    if (this.liveHead(lane, priority, head)) return true;
    return this.takers.every((taker) => !taker.session.quarantine.has(lane));
  }
}

const bytesOf = ({ flow }: Pick): number =>
  recordBytes + (flow.tasks.peek()?.task.payload?.data.length ?? 0);
