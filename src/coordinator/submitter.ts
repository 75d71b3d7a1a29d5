import { hash } from "node:crypto";
import type { EnqueueOutcome } from "../broker/broker.js";
import { DroverError } from "../errors.js";
import type { InsertOutcome } from "../history/history.js";
import { limits } from "../limits.js";
import { formTaskId, partitionOfSlot, slotOfId, slotOfQueue, timeOfId } from "../task/ids.js";
import { defaultQueue, type QueueSettings, type Task, type TaskSpec } from "../task/task.js";
import { sameSpec } from "../task/same-spec.js";
import { toSpec } from "../task/validate.js";
import { barred } from "./batch-errors.js";
import { Batcher, Failed } from "./batcher.js";
import type { Submission, SubmitOutcome } from "./coordinator.js";
import { type Demand, Enqueuer } from "./enqueuer.js";
import { tooManyLanes } from "./lane-guard.js";
import { newTask } from "./new-task.js";
import type { Parts } from "./parts.js";
import type { QueueBook } from "./queue-book.js";
import { requestIdOf } from "./request-id.js";
import { outboxFull, UniqueDesk } from "./unique.js";

export { newTask } from "./new-task.js";

/** Judged, with its place in the request. */
interface Accepted {
  readonly task: Task;
  readonly index: number;
}

type Answers = (SubmitOutcome | Promise<SubmitOutcome>)[];

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
    const outcomes = Array.from<SubmitOutcome>({ length: items.length });
    const durable: Accepted[] = [];
    const relaxed: Accepted[] = [];
    await this.#readQueues(namespace, items);
    for (const [index, item] of items.entries()) {
      try {
        const name = item.draft.queue ?? defaultQueue;
        const queue =
          this.#queues.known(namespace, name) ?? (await this.#queues.settings(namespace, name));
        const task = this.#accept(namespace, item, queue, now);
        (task.durability === "durable" ? durable : relaxed).push({ task, index });
      } catch (error) {
        outcomes[index] = { kind: "refused", error: DroverError.from(error) };
      }
    }
    await Promise.all([
      this.#settleAll(durable, outcomes, this.#durable(durable)),
      this.#settleAll(relaxed, outcomes, this.#relaxed(relaxed)),
    ]);
    for (const { task, index } of durable) this.#emitIf(outcomes[index]!, task, now);
    for (const { task, index } of relaxed) this.#emitIf(outcomes[index]!, task, now);
    return outcomes;
  }

  /** Those that are not known, side by side; what fails is read, and fails, again for its tasks. */
  async #readQueues(namespace: string, items: readonly Submission[]): Promise<void> {
    const unknown = new Set<string>();
    for (const { draft } of items) {
      const name = draft.queue ?? defaultQueue;
      if (!this.#queues.known(namespace, name)) unknown.add(name);
    }
    if (unknown.size === 0) return;
    const reads = [...unknown].map((name) => this.#queues.settings(namespace, name));
    await Promise.allSettled(reads);
  }

  #accept(
    namespace: string,
    { draft, requestId }: Submission,
    queue: QueueSettings,
    now: number,
  ): Task {
    const spec = toSpec(draft, { namespace, queue, now });
    const id = this.#formId(spec, requestId, now);
    const traceContext = this.#parts.carrier?.atSubmit(id, spec.traceContext);
    const task = newTask(id, spec, traceContext);
    this.#queues.touch(namespace, spec.queue);
    if (task.durability === "durable") this.#enqueuer.requireRoom(task);
    return task;
  }

  /** What the broker or history answered for each -> its outcome. */
  async #settleAll(
    accepted: readonly Accepted[],
    outcomes: SubmitOutcome[],
    answered: Promise<readonly (SubmitOutcome | Promise<SubmitOutcome>)[]>,
  ): Promise<void> {
    const answers = await answered;
    for (const [nth, { index }] of accepted.entries()) {
      const answer = answers[nth]!;
      outcomes[index] = answer instanceof Promise ? await answer : answer;
    }
  }

  /**
   * P2: the id itself is the check, so a client's repeat of an unknown outcome needs no stored key.
   */
  #formId(spec: TaskSpec, requestId: string, now: number): string {
    const slot = slotOfQueue(spec.namespace, spec.queue);
    const id = requestIdOf(requestId, now);
    if (id === undefined) return formTaskId(now, slot, this.#parts.random.bytes(8));
    const chance = hash("sha256", `${spec.namespace}\0${spec.queue}\0${id}`, "buffer");
    return formTaskId(timeOfId(id), slot, chance);
  }

  async #durable(accepted: readonly Accepted[]): Promise<Answers> {
    const replies = await this.#commits.pushAll(accepted.map(({ task }) => task));
    return replies.map((outcome, nth) => {
      const { task } = accepted[nth]!;
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
    for (const task of tasks) this.#emit(task, task.createdAt);
  }

  async #relaxed(accepted: readonly Accepted[]): Promise<Answers> {
    const replies = await this.#enqueuer.enqueue(
      accepted.map(
        ({ task }) => ({ task, origin: "submit", claimKey: task.idempotencyKey !== "" }) as const,
      ),
    );
    return replies.map((reply, nth) => {
      const { task } = accepted[nth]!;
      if (reply instanceof Failed) return refused(reply.error);
      return this.#taken(task, reply);
    });
  }

  #taken(task: Task, outcome: EnqueueOutcome): SubmitOutcome | Promise<SubmitOutcome> {
    switch (outcome.kind) {
      case "enqueued":
        this.#record(task, outcome.outboxId);
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

  #emitIf({ kind }: SubmitOutcome, task: Task, since: number): void {
    if (kind === "submitted" || kind === "replaced" || kind === "debounced") {
      this.#emit(task, since);
    }
  }

  #emit(task: Task, since: number): void {
    const { namespace, queue, type, priority, traceContext } = task;
    this.#parts.events.emit("task.submitted", {
      namespace,
      queue,
      type,
      priority,
      taskId: task.id,
      traceContext,
      tookMs: Math.max(0, this.#parts.clock.now() - since),
    });
  }
}

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
