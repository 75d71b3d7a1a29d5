import { formTaskId, slotOfQueue } from "../task/ids.js";
import type { Schedule } from "../task/schedule/schedule.js";
import { defaultQueue, type Task } from "../task/task.js";
import { toSpec } from "../task/validate.js";
import type { Parts } from "./parts.js";
import type { QueueBook } from "./queue-book.js";
import { newTask } from "./submitter.js";

/** Makes the tasks of ticks. */
export class TickTasks {
  readonly #parts: Parts;
  readonly #queues: QueueBook;

  constructor(parts: Parts, queues: QueueBook) {
    this.#parts = parts;
    this.#queues = queues;
  }

  /**
   * The task of one tick, with what its queue says now. Throws a DroverError if no valid one can be
   * made. Always DURABLE: its row is the tick's.
   */
  async taskOf(schedule: Schedule, at: number): Promise<Task> {
    const { namespace, task: draft, name } = schedule;
    const { clock, random, carrier } = this.#parts;
    const queueName = draft.queue ?? defaultQueue;
    const queue = await this.#queues.settings(namespace, queueName);
    const now = clock.now();
    const spec = toSpec(draft, { namespace, queue, now });
    const terms = { ...draft.terms, schedule: name, scheduledFor: at };
    // Not spread into a literal: so wide an object made that way costs 90 us.
    Object.assign(spec, { terms, durability: "durable" });
    const id = formTaskId(now, slotOfQueue(namespace, queueName), random.bytes(8));
    this.#queues.touch(namespace, queueName);
    return newTask(id, spec, carrier?.atSubmit(id, spec.traceContext));
  }
}
