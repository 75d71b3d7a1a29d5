import { limits } from "../../limits.js";
import type { Priority } from "../../task/task.js";
import type { Lane } from "../broker.js";
import { Heap, type HeapNode } from "./heap.js";
import type { TaskRecord } from "./record.js";

/** Highest first. */
export const levels: readonly Priority[] = [3, 2, 1, 0];

/**
 * Tasks of one group, or the ungrouped ones, at one level. Its key is the tag of start-time fair
 * queueing.
 */
export interface Flow extends HeapNode {
  readonly name: string;
  readonly tasks: Heap<TaskRecord>;
}

/** A flow whose tasks go to a session one at a time: see P10. */
export const quarantineFlow = "q";

export const flowNameOf = (record: Pick<TaskRecord, "task" | "quarantined">): string => {
  if (record.quarantined) return quarantineFlow;
  return record.task.groupKey === "" ? "u" : `g:${record.task.groupKey}`;
};

/**
 * One priority of a lane. The flow with the smallest tag is served; its tag then rises by one
 * stride. A flow that comes back starts at the tag last served: no debt, no hoarded credit.
 */
class Level {
  private readonly flows = new Map<string, Flow>();
  private readonly active = new Heap<Flow>();
  /** Empty flows whose tag is still ahead of the clock: forgotten as soon as it no longer is. */
  private readonly idle = new Heap<Flow>();
  private clock = 0;
  private arrivals = 0;

  get empty(): boolean {
    return this.active.size === 0;
  }

  /** Flows remembered: those with work, and those that may still owe a turn. */
  get groups(): number {
    return this.flows.size;
  }

  add(record: TaskRecord): void {
    const name = flowNameOf(record);
    const flow = this.flows.get(name) ?? this.newFlow(name);
    flow.tasks.push(record);
    if (flow.tasks.size === 1) this.activate(flow);
  }

  /** The flow to serve next, other than `skipped`. */
  head(skipped?: Flow): Flow | undefined {
    const first = this.active.peek();
    if (!first || first !== skipped) return first;
    this.active.remove(skipped);
    const second = this.active.peek();
    this.active.push(skipped);
    return second;
  }

  /** Takes the flow's first task and charges the flow for it. */
  serve(flow: Flow): TaskRecord {
    const record = flow.tasks.pop()!;
    this.active.remove(flow);
    this.clock = Math.max(this.clock, flow.key);
    flow.key += limits.groupStride;
    if (flow.tasks.size > 0) this.activate(flow);
    else this.rest(flow);
    this.forgetIdle();
    return record;
  }

  remove(record: TaskRecord): boolean {
    const flow = this.flows.get(flowNameOf(record));
    if (!flow?.tasks.remove(record)) return false;
    if (flow.tasks.size === 0) {
      this.active.remove(flow);
      this.rest(flow);
      this.forgetIdle();
    }
    return true;
  }

  *records(): Generator<TaskRecord> {
    for (const flow of this.flows.values()) yield* flow.tasks.values();
  }

  private newFlow(name: string): Flow {
    const flow: Flow = { name, tasks: new Heap(), key: this.clock, tie: 0, heapAt: -1 };
    this.flows.set(name, flow);
    return flow;
  }

  private activate(flow: Flow): void {
    this.idle.remove(flow);
    flow.key = Math.max(this.clock, flow.key);
    flow.tie = this.arrivals++;
    this.active.push(flow);
  }

  private rest(flow: Flow): void {
    this.idle.push(flow);
  }

  private forgetIdle(): void {
    for (let flow = this.idle.peek(); flow; flow = this.idle.peek()) {
      if (flow.key > this.clock && !this.empty) return;
      this.idle.pop();
      this.clock = Math.max(this.clock, flow.key);
      this.flows.delete(flow.name);
    }
  }
}

/** The ready tasks of a lane, and how many live ones belong to it. */
export class LaneState {
  readonly lane: Lane;
  readonly key: string;
  readonly queue: QueueState;
  ready = 0;
  live = 0;
  private readonly levels = [new Level(), new Level(), new Level(), new Level()] as const;

  constructor(lane: Lane, key: string, queue: QueueState) {
    this.lane = lane;
    this.key = key;
    this.queue = queue;
  }

  level(priority: Priority): Level {
    return this.levels[priority];
  }

  add(record: TaskRecord): void {
    this.level(record.task.priority).add(record);
    this.ready += 1;
  }

  serve(flow: Flow, priority: Priority): TaskRecord {
    this.ready -= 1;
    return this.level(priority).serve(flow);
  }

  remove(record: TaskRecord): void {
    if (this.level(record.task.priority).remove(record)) this.ready -= 1;
  }

  *records(): Generator<TaskRecord> {
    for (const level of this.levels) yield* level.records();
  }
}

export interface QueueState {
  readonly namespace: string;
  readonly queue: string;
  paused: boolean;
  grants: number;
  readonly lanes: Map<string, LaneState>;
}

export const laneKeyOf = (lane: Lane): string =>
  JSON.stringify([
    lane.namespace,
    lane.queue,
    lane.type,
    Object.entries(lane.requiredLabels).sort(([a], [b]) => (a < b ? -1 : 1)),
  ]);

export const queueKeyOf = (namespace: string, queue: string): string => `${namespace}\0${queue}`;
