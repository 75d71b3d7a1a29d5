import type { TaskDraft } from "../task/draft.js";
import { formTaskId, slotOfQueue } from "../task/ids.js";
import { defaultQueue, type Task, type TaskTerms } from "../task/task.js";
import { toSpec } from "../task/validate.js";
import { newTask } from "../task/new-task.js";
import type { Parts } from "./parts.js";
import type { QueueBook } from "./queue-book.js";

/** Makes the tasks that nobody submits: those of ticks, and the callbacks of batches. */
export class TaskMaker {
  readonly #parts: Parts;
  readonly #queues: QueueBook;

  constructor(parts: Parts, queues: QueueBook) {
    this.#parts = parts;
    this.#queues = queues;
  }

  /**
   * A task from a template, with what its queue says now. Throws a DroverError if no valid one can
   * be made. Always DURABLE: its row is part of another commit. `idIn`: its id, by slot; default a
   * new one.
   */
  async make(
    namespace: string,
    draft: TaskDraft,
    own: TaskTerms,
    idIn = (slot: number): string => this.#newId(slot),
  ): Promise<Task> {
    const { clock, carrier } = this.#parts;
    const queueName = draft.queue ?? defaultQueue;
    const queue = await this.#queues.settings(namespace, queueName);
    const now = clock.now();
    const spec = toSpec(draft, { namespace, queue, now });
    const terms = { ...draft.terms, ...own };
    // Not spread into a literal: so wide an object made that way costs 90 us.
    Object.assign(spec, { terms, durability: "durable" });
    const id = idIn(slotOfQueue(namespace, queueName));
    this.#queues.touch(namespace, queueName);
    return newTask(id, spec, carrier?.atSubmit(id, spec.traceContext));
  }

  #newId(slot: number): string {
    const { clock, random } = this.#parts;
    return formTaskId(clock.now(), slot, random.bytes(8));
  }
}
