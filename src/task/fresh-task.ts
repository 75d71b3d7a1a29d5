import { newTask } from "./new-task.js";
import type { Payload, Task, TaskSpec } from "./task.js";

/**
 * A new task among many of one spec, which differ in id and payload alone: what stands in their
 * place until somebody wants a whole Task, as most are packed and forgotten without one. The
 * payload of `spec` has its content type, and no data.
 */
export class FreshTask {
  readonly id: string;
  readonly spec: TaskSpec;
  /** Holds the payload's data, between two places. */
  readonly frame: Buffer;
  readonly from: number;
  readonly to: number;
  private made: Task | undefined = undefined;

  constructor(id: string, spec: TaskSpec, frame: Buffer, from: number, to: number) {
    this.id = id;
    this.spec = spec;
    this.frame = frame;
    this.from = from;
    this.to = to;
  }

  get origin(): "submit" {
    return "submit";
  }

  /** The same one each time. */
  get task(): Task {
    const { spec, frame, from, to } = this;
    const payload = payloadIn(spec.payload, frame, from, to);
    return (this.made ??= newTask(this.id, spec, spec.traceContext, payload));
  }
}

export type NewTask = Task | FreshTask;

export const wholeOf = (task: NewTask): Task => (task instanceof FreshTask ? task.task : task);

/** Without making a whole task for it. */
export const newSpecOf = (task: NewTask): TaskSpec =>
  task instanceof FreshTask ? task.spec : task;

/** Whether fresh or a whole task: asked of the latter, the former would be made one. */
export const idOf = (item: Asked): string => (item instanceof FreshTask ? item.id : item.task.id);

/** The same of what was asked for; a whole task holds it. */
export const specOf = (item: Asked): TaskSpec =>
  item instanceof FreshTask ? item.spec : item.task;

type Asked = FreshTask | { readonly task: Task };

/** As `like`, with the data between two places of a frame. */
export const payloadIn = (
  like: Payload | undefined,
  frame: Buffer,
  from: number,
  to: number,
): Payload | undefined => like && { contentType: like.contentType, data: frame.subarray(from, to) };
