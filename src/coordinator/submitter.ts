import { hash } from "node:crypto";
import type { EnqueueItem, EnqueueOutcome } from "../broker/broker.js";
import { DroverError } from "../errors.js";
import type { InsertOutcome } from "../history/history.js";
import { limits } from "../limits.js";
import {
  deriveTaskId,
  formTaskId,
  partitionOfSlot,
  slotOfId,
  slotOfQueue,
  timeOfId,
} from "../task/ids.js";
import { defaultQueue, type QueueSettings, type Task, type TaskSpec } from "../task/task.js";
import { sameSpec } from "../task/same-spec.js";
import { toSpec } from "../task/validate.js";
import { barred } from "./batch-errors.js";
import { Batcher, emptyPlaces, Failed } from "./batcher.js";
import type { Submission, SubmitOutcome } from "./coordinator.js";
import { type Demand, Enqueuer } from "./enqueuer.js";
import { tooManyLanes } from "./lane-guard.js";
import { newTask } from "./new-task.js";
import type { Parts } from "./parts.js";
import type { QueueBook } from "./queue-book.js";
import { requestIdOf } from "./request-id.js";
import { outboxFull, UniqueDesk } from "./unique.js";

export { newTask } from "./new-task.js";

/** Tasks of one request that go the same way, each with its place in the request. */
interface Accepted {
  readonly tasks: Task[];
  readonly places: number[];
}

/** A queue of a request, and what all its tasks there share. */
interface Target {
  readonly queue: QueueSettings;
  readonly slot: number;
}

type Answer = SubmitOutcome | Promise<SubmitOutcome>;

/**
 * Submission: judged, given an id, committed (DURABLE) or enqueued (RELAXED), and only then
 * acknowledged.
 */
export class Submitter {
  readonly #parts: Parts;
  readonly #queues: QueueBook;
  readonly #enqueuer: Enqueuer;
  readonly #commits: Batcher<Task, InsertOutcome>;
  readonly #unique: UniqueDesk;

  constructor(parts: Parts, queues: QueueBook, demand: Demand) {
    this.#parts = parts;
    this.#queues = queues;
    this.#enqueuer = new Enqueuer(parts, demand);
    this.#commits = new Batcher({
      run: (tasks) => this.#commit(tasks),
      maxItems: limits.submitItems,
      maxInFlight: 2,
      maxWaiting: limits.pendingSubmits,
    });
    this.#unique = new UniqueDesk(parts, {
      insert: (task) => this.#commits.push(task),
      committed: (task, marker) => this.#enqueuer.committed([task], marker),
    });
  }

  async drained(): Promise<void> {
    await this.#commits.drained();
    await this.#enqueuer.drained();
  }

  async submit(namespace: string, items: readonly Submission[]): Promise<SubmitOutcome[]> {
    const now = this.#parts.clock.now();
    const outcomes = emptyPlaces<SubmitOutcome>(items.length);
    const durable: Accepted = { tasks: [], places: [] };
    const relaxed: Accepted = { tasks: [], places: [] };
    const reading = this.#readQueues(namespace, items);
    if (reading) await reading;
    let target: Target | undefined;
    for (let place = 0; place < items.length; place += 1) {
      const item = items[place]!;
      try {
        const name = item.draft.queue ?? defaultQueue;
        if (target?.queue.name !== name) {
          const queue = this.#queues.known(namespace, name);
          target = targetOf(queue ?? (await this.#queues.settings(namespace, name)));
        }
        const task = this.#accept(namespace, item, target, now);
        const { tasks, places } = task.durability === "durable" ? durable : relaxed;
        tasks.push(task);
        places.push(place);
      } catch (error) {
        outcomes[place] = { kind: "refused", error: DroverError.from(error) };
      }
    }
    if (durable.tasks.length === 0) await this.#relaxed(relaxed, outcomes);
    else await Promise.all([this.#durable(durable, outcomes), this.#relaxed(relaxed, outcomes)]);
    this.#emitTaken(durable, outcomes, now);
    this.#emitTaken(relaxed, outcomes, now);
    return outcomes;
  }

  /** Those that are not known, side by side; what fails is read, and fails, again for its tasks. */
  #readQueues(namespace: string, items: readonly Submission[]): Promise<unknown> | undefined {
    let unknown: Set<string> | undefined;
    let last: string | undefined;
    for (const { draft } of items) {
      const name = draft.queue ?? defaultQueue;
      if (name === last) continue;
      last = name;
      if (!this.#queues.known(namespace, name)) (unknown ??= new Set()).add(name);
    }
    if (!unknown) return undefined;
    const reads = [...unknown].map((name) => this.#queues.settings(namespace, name));
    return Promise.allSettled(reads);
  }

  #accept(
    namespace: string,
    { draft, requestId }: Submission,
    { queue, slot }: Target,
    now: number,
  ): Task {
    const spec = toSpec(draft, { namespace, queue, now });
    const id = this.#formId(spec, slot, requestId, now);
    const traceContext = this.#parts.carrier?.atSubmit(id, spec.traceContext);
    const task = newTask(id, spec, traceContext);
    this.#queues.touch(namespace, spec.queue);
    if (task.durability === "durable") this.#enqueuer.requireRoom(task);
    return task;
  }

  /** What the broker or history answered for each -> its outcome. */
  async #settleAll(
    { places }: Accepted,
    outcomes: SubmitOutcome[],
    answerOf: (nth: number) => Answer,
  ): Promise<void> {
    const later: Promise<void>[] = [];
    for (let nth = 0; nth < places.length; nth += 1) {
      const place = places[nth]!;
      const answer = answerOf(nth);
      if (answer instanceof Promise) {
        later.push(answer.then((outcome) => void (outcomes[place] = outcome)));
      } else outcomes[place] = answer;
    }
    if (later.length > 0) await Promise.all(later);
  }

  /**
   * P2: the id itself is the check, so a client's repeat of an unknown outcome needs no stored key.
   */
  #formId(spec: TaskSpec, slot: number, requestId: string, now: number): string {
    const id = requestIdOf(requestId, now);
    if (id === undefined) return formTaskId(now, slot, this.#parts.random.bytes(8));
    // As hex: a Buffer for each costs more than the digest.
    const chance = hash("sha256", `${spec.namespace}\0${spec.queue}\0${id}`, "hex");
    return deriveTaskId(timeOfId(id), slot, chance);
  }

  async #durable(accepted: Accepted, outcomes: SubmitOutcome[]): Promise<void> {
    const { tasks } = accepted;
    if (tasks.length === 0) return;
    const replies = await this.#commits.pushAll(tasks);
    await this.#settleAll(accepted, outcomes, (nth) => {
      const task = tasks[nth]!;
      const outcome = replies[nth]!;
      if (outcome instanceof Failed) return refused(outcome.error);
      if (outcome.kind === "inserted") return { kind: "submitted", taskId: task.id };
      if (outcome.kind === "barred") return refused(barred(task, outcome.why));
      if (outcome.kind === "unique_taken") return this.#unique.resolve(task, outcome.taskId);
      const holder = outcome.kind === "known" ? task.id : outcome.taskId;
      return this.#existing(task, holder, outcome.kind);
    });
  }

  async #commit(tasks: Task[]): Promise<InsertOutcome[]> {
    const { outcomes, marker } = await this.#parts.history.insert(tasks);
    const inserted = tasks.filter((_, index) => outcomes[index]?.kind === "inserted");
    // OK does not wait for Redis: the row is what was promised, and the marker finds it should this
    // process die now.
    if (inserted.length > 0) void this.#enqueuer.committed(inserted, marker);
    return outcomes;
  }

  /** Tasks whose rows another statement has committed, under this marker. */
  enqueueTaken(tasks: readonly Task[], marker: string | undefined): void {
    if (tasks.length === 0) return;
    void this.#enqueuer.committed([...tasks], marker);
    const now = this.#parts.clock.now();
    for (const task of tasks) this.#emit(task, Math.max(0, now - task.createdAt));
  }

  async #relaxed(accepted: Accepted, outcomes: SubmitOutcome[]): Promise<void> {
    const { tasks } = accepted;
    if (tasks.length === 0) return;
    const replies = await this.#enqueuer.enqueue(tasks.map(asItem));
    await this.#settleAll(accepted, outcomes, (nth) => {
      const reply = replies[nth]!;
      return reply instanceof Failed ? refused(reply.error) : this.#taken(tasks[nth]!, reply);
    });
  }

  #taken(task: Task, outcome: EnqueueOutcome): Answer {
    switch (outcome.kind) {
      case "enqueued":
        if (!outcome.born) this.#record(task, outcome.outboxId);
        return { kind: "submitted", taskId: task.id };
      case "known":
        return this.#existing(task, task.id, "known");
      case "key_taken":
        return this.#existing(task, outcome.taskId, "key_taken");
      case "outbox_full":
        return refused(outboxFull());
      case "too_many_lanes":
        return refused(tooManyLanes(task.queue));
      case "too_old":
        return refused(new DroverError("internal", "a new task was refused as too old"));
    }
  }

  #record(task: Task, outboxId: string | undefined): void {
    const partition = partitionOfSlot(slotOfId(task.id), this.#parts.broker.partitions);
    const attempt = undefined;
    this.#parts.recorder.keep({ partition, outboxId, task, payloadOmitted: false, attempt });
  }

  async #existing(task: Task, holder: string, why: "known" | "key_taken"): Promise<SubmitOutcome> {
    try {
      const [live] = await this.#parts.broker.get([holder]).catch(() => [undefined]);
      const [stored] = live ? [live] : await this.#parts.history.get(task.namespace, [holder]);
      if (stored && !sameSpec(stored, task, this.#parts.decodePayload)) throw conflict(holder, why);
      return { kind: "existing", taskId: holder };
    } catch (error) {
      return refused(error);
    }
  }

  #emitTaken({ tasks, places }: Accepted, outcomes: readonly SubmitOutcome[], since: number): void {
    const tookMs = Math.max(0, this.#parts.clock.now() - since);
    for (let nth = 0; nth < tasks.length; nth += 1) {
      const { kind } = outcomes[places[nth]!]!;
      if (kind === "submitted" || kind === "replaced" || kind === "debounced") {
        this.#emit(tasks[nth]!, tookMs);
      }
    }
  }

  #emit(task: Task, tookMs: number): void {
    const { namespace, queue, type, priority, traceContext } = task;
    const taskId = task.id;
    const fields = { namespace, queue, type, priority, taskId, traceContext, tookMs };
    this.#parts.events.emit("task.submitted", fields);
  }
}

const targetOf = (queue: QueueSettings): Target => {
  return { queue, slot: slotOfQueue(queue.namespace, queue.name) };
};

const asItem = (task: Task): EnqueueItem => {
  return { task, origin: "submit", claimKey: task.idempotencyKey !== "" };
};

const refused = (error: unknown): SubmitOutcome => ({
  kind: "refused",
  error: DroverError.from(error),
});

function conflict(holder: string, why: "known" | "key_taken"): DroverError {
  const [id, field] =
    why === "known"
      ? (["submit_id_conflict", "request_id"] as const)
      : (["idempotency_conflict", "task.idempotency_key"] as const);
  const message = `task ${holder} was submitted with it, and differs from this one`;
  return new DroverError(id, message, { field });
}
